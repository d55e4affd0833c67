"""One comment on a pull request, written again on every push: the plans of all changed stacks.

Standard library alone: the job that may write to pull requests installs nothing and runs the base
branch's copy of this file, never the pull request's. GITHUB_REPOSITORY, PULL_REQUEST, RUN_URL,
STACKS (a JSON list), PLANS (a folder with a Markdown page for each stack) and GITHUB_TOKEN say what
to write where; GITHUB_API_URL is GitHub's own variable.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

MARK = "<!-- edge-inference: device plans -->"
MOST = 65_536  # characters that GitHub takes in a comment
_PAGE = 100
_SECONDS = 30.0


def body(stacks: Sequence[str], plans: Path, run: str) -> str:
    """The comment: every stack by name, each cut to its share of the room with a link to all."""
    if not stacks:
        return f"{MARK}\nThis pull request changes no stack.\n"
    room = (MOST - 1000) // len(stacks)
    pages = [_page(name, plans / f"{name}.md", run, room) for name in stacks]
    return "\n".join([MARK, *pages, f"[How these plans were made]({run})", ""])


def _page(name: str, plan: Path, run: str, room: int) -> str:
    text = plan.read_text() if plan.is_file() else ""
    if not text:
        return f"## {name}\n\nNo plan: [the run]({run}) says why.\n"
    if len(text) <= room:
        return text
    kept = text[: room - 200].rpartition("\n")[0]  # rights and findings: a page begins with them
    return (
        f"{kept}\n\n… cut here: `make plan STACK={name}` prints all, [the run]({run}) keeps it.\n"
    )


def put(api: str, token: str, repository: str, number: str, text: str) -> None:
    """Write over the comment that carries the mark, else add one; urllib's errors pass through."""
    issue = f"{api}/repos/{repository}/issues/{number}/comments"
    for one in _comments(issue, token):
        if str(one["body"]).startswith(MARK) and one["user"]["type"] == "Bot":
            url = f"{api}/repos/{repository}/issues/comments/{one['id']}"
            _ask("PATCH", url, token, {"body": text})
            return
    _ask("POST", issue, token, {"body": text})


def _comments(issue: str, token: str) -> Iterator[Mapping[str, Any]]:
    number = 1
    while page := _ask("GET", f"{issue}?per_page={_PAGE}&page={number}", token):
        yield from page
        number += 1


def _ask(method: str, url: str, token: str, content: Mapping[str, str] | None = None) -> Any:
    request = urllib.request.Request(  # noqa: S310  # GitHub's API, as its runner names it
        url,
        method=method,
        data=json.dumps(content).encode() if content else None,
        headers={
            "Accept": "application/vnd.github+json",
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/json",
        },
    )
    with urllib.request.urlopen(request, timeout=_SECONDS) as answer:  # noqa: S310
        return json.load(answer)


def main() -> int:
    env = os.environ
    stacks = json.loads(env["STACKS"])
    put(
        env.get("GITHUB_API_URL", "https://api.github.com"),
        env["GITHUB_TOKEN"],
        env["GITHUB_REPOSITORY"],
        env["PULL_REQUEST"],
        body(stacks, Path(env["PLANS"]), env["RUN_URL"]),
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
