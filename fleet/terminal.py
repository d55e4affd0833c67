"""What is printed for people: strings are text, never markup, and words of others are spelt out."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from infra.printable import printable

_PIPED_COLUMNS = 160  # a log has no 80 columns


def console(*, stderr: bool = False) -> Console:
    """A console that reads no markup and no emoji names, in tables neither."""
    made = Console(stderr=stderr, markup=False, emoji=False, highlight=False)
    if not made.is_terminal:
        made.width = _PIPED_COLUMNS
    return made


def words(text: str, style: str = "") -> Text:
    """One line of text as it is, whatever is in it."""
    return Text(printable(text), style)
