"""Words of others, as they are shown: nothing in them moves a cursor or turns a line around."""

from __future__ import annotations


def printable(text: str) -> str:
    """One line. Control, format and separator characters are spelt out, but for space and tab."""
    return "".join(
        one if one.isprintable() or one == "\t" else one.encode("unicode_escape").decode()
        for one in text
    )


def printable_lines(text: str) -> str:
    """The same for several lines, which stay apart."""
    return "\n".join(printable(line) for line in text.split("\n"))
