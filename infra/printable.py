"""Makes foreign text safe to print: nothing in it moves the cursor or reverses a line."""

from __future__ import annotations


def printable(text: str) -> str:
    """One line, with control, format and separator characters escaped, except space and tab."""
    return "".join(
        one if one.isprintable() or one == "\t" else one.encode("unicode_escape").decode()
        for one in text
    )


def printable_lines(text: str) -> str:
    """The same for several lines. The line breaks stay."""
    return "\n".join(printable(line) for line in text.split("\n"))
