"""Writes the text of a pull request's comment: the plans of all changed stacks, checked and joined.

`make ci-comment` passes it to gh, which overwrites the comment of the previous push. The pull
request's own code made the pages and the stacks' names, so they aren't trusted. A name that no
stack can have is refused. A page must be a plain file of that name; links aren't followed.

It uses the standard library only. The job that may write to pull requests installs nothing and runs
the base branch's copy of this file. Its inputs are the variables RUN_URL, STACKS (a JSON list) and
PLANS (a folder with a Markdown page for each stack).
"""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Sequence
from pathlib import Path

from infra.name_patterns import stack_trouble
from infra.printable import printable

MOST = 65_536  # In characters: GitHub's limit for a comment.
_REST = 1000  # In characters, for the text around the pages.
_LEAST = 400  # For one stack: room for the reason of a missing page. Further stacks are counted.


class Hostile(Exception):
    """The job's input can't come from our plans. The message names it."""


def named(text: str) -> list[str]:
    """The stacks in a JSON list. Raises Hostile for no list, or a name that no stack can have."""
    try:
        stacks = json.loads(text)
    except ValueError as error:
        raise Hostile(f"STACKS is no JSON: {error}") from error
    if not isinstance(stacks, list) or not all(isinstance(one, str) for one in stacks):
        raise Hostile("STACKS is no list of names")
    for one in stacks:
        if trouble := stack_trouble(one):
            raise Hostile(trouble)
    return stacks


def body(stacks: Sequence[str], plans: Path, run: str) -> str:
    """The comment, at most MOST characters: each stack by name, cut to its share."""
    if not stacks:
        return "This pull request changes no stack.\n"
    shown = stacks[: (MOST - _REST) // _LEAST]
    room = (MOST - _REST) // len(shown)
    pages = [_page(name, plans, run, room) for name in shown]
    if left := len(stacks) - len(shown):
        pages.append(f"And {left} more stacks, for which there is no room: [the run]({run}).\n")
    return "\n".join([*pages, f"[How these plans were made]({run})", ""])


def _page(name: str, plans: Path, run: str, room: int) -> str:
    try:
        text = _read(plans / f"{name}.md", 4 * room)  # UTF-8 has at most four bytes per character.
    except OSError as error:
        return f"## {name}\n\nNo plan ({error.strerror}): [the run]({run}) says why.\n"
    if not text:
        return f"## {name}\n\nNo plan: [the run]({run}) says why.\n"
    if len(text) < room:
        return text
    kept = text[: room - 250].rpartition("\n")[0]  # A page begins with rights and findings.
    return (
        f"{kept}\n\n… cut here: `make plan STACK={name}` prints all, [the run]({run}) keeps it.\n"
    )


def _read(path: Path, most: int) -> str:
    """The beginning of a plain file. Raises OSError for a link, a pipe, a folder or no file."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:  # noqa: PTH123  # Path.open follows links
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(0, "it is no plain file")
        text = file.read(most).decode(errors="replace")
    return "\n".join(printable(line) for line in text.splitlines()) + ("\n" if text else "")


def main() -> int:
    env = os.environ
    try:
        sys.stdout.write(body(named(env["STACKS"]), Path(env["PLANS"]), env["RUN_URL"]))
    except Hostile as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
