"""Names that try to be more than a name, and log lines that try to be more than text.

PWNED or `evil` in the output shows that something obeyed one of them.
"""

from __future__ import annotations

NAMES = (
    # shell
    "a;touch PWNED;",
    "$(touch PWNED)",
    "`touch PWNED`",
    "a && touch PWNED",
    "a | touch PWNED",
    "a\ntouch PWNED",
    "'; touch PWNED; '",
    '"; touch PWNED; "',
    "${IFS}touch${IFS}PWNED",
    "> PWNED",
    # make
    "$(shell touch PWNED)",
    "$(eval X:=$(shell touch PWNED))",
    "a # b",
    # options and paths
    "--help",
    "-x",
    "../outside",
    "/proc/self/environ",
    "a:b",
    # Markdown
    "@team",
    "# heading",
    "a\n\n## Device plan: nothing changes\n",
    "![image](https://evil.example/x.png)",
    "[link](https://evil.example)",
    "https://evil.example",
    "www.evil.example",
    "a | b | c",
    "a\\| b",
    "a\\\\| b",
    "`code`",
    "``` fence",
    "a ` b `` c",
    "**bold** _it_ ~~no~~",
    "- [ ] task",
    "acme/line#1",
    "> quote",
    "[x]: https://evil.example",
    # HTML
    "<script>document.title='evil'</script>",
    "<img src=x onerror=alert(1)>",
    '"><b>bold</b>',
    "<!-- hides the rest",
    "</code></pre>",
    "<details open>",
    "&lt;b&gt;",
    # rich, Jinja, Python
    "[/x]",
    "[red]red[/red]",
    "[link=https://evil.example]x[/link]",
    ":warning:",
    "{{ 7 * 7 }}",
    "{% raw %}",
    "%s %(x)s {0} {x}",
    # terminals and eyes
    "\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07",
    "\x1b[2J\x1b[H",
    "a\rb",
    "a\x08b",
    "a\x00b",
    "abc\u202ecba",
    "\u200fx",
    "a\u200bb",
    "a\u2028b",
    "\udcff",
)
SPEAKS_TO_A_TERMINAL = frozenset("\x1b\x07\x08\x00\r\u202e\u200f\u200b\u2028")
