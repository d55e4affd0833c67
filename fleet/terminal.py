"""Prints for people. Strings are text, never markup, and control characters are escaped."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from infra.printable import printable

_PIPED_COLUMNS = 160  # A log may be wider than 80 columns.


def console(*, stderr: bool = False) -> Console:
    """A console that interprets no markup and no emoji names, not even in tables."""
    made = Console(stderr=stderr, markup=False, emoji=False, highlight=False)
    if not made.is_terminal:
        made.width = _PIPED_COLUMNS
    return made


def words(text: str, style: str = "") -> Text:
    """One line of text exactly as it is."""
    return Text(printable(text), style)
