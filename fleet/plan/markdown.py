"""Puts foreign text into Markdown code spans, the only inline where GitHub renders nothing.

A backslash isn't enough: GitHub looks for @team and bare links in the finished page.
https://spec.commonmark.org/0.31.2/#code-spans, https://github.github.com/gfm/#tables-extension-
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from infra.printable import printable

_PIPE = re.compile(r"(\\*)\|")


def code(text: str) -> str:
    """A code span of one line with exactly this text; empty for an empty text."""
    shown = printable(text).strip()
    if not shown:
        return ""
    longest = max((len(run) for run in re.findall(r"`+", shown)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if longest else ""
    return f"{fence}{pad}{shown}{pad}{fence}"


def row(cells: Iterable[str]) -> str:
    """A table's row of finished Markdown. A pipe after a backslash is written as an entity."""
    safe = (
        _PIPE.sub(lambda found: found[1] + (r"\x7c" if found[1] else r"\|"), one) for one in cells
    )
    return f"| {' | '.join(safe)} |"
