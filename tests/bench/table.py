"""The table: each measurement with its reference, and with the bound that it keeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass

from rich.console import Console
from rich.table import Table

HEADINGS = ("what", "ours", "compared with", "hard rows that differ", "relation", "bound", "met")
FLEET_HEADING = "\n## Reads at fleet scale\n"  # It begins what fleet/reads.py writes.


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line. `met` is None if it has no bound."""

    what: str
    ours: str
    reference: str = ""
    differ: str = ""  # Of a million hard rows, if the reference is another evaluator.
    relation: str = ""
    bound: str = ""
    met: bool | None = None

    def cells(self) -> list[str]:
        *texts, met = astuple(self)
        return [*texts, {True: "yes", False: "NO", None: ""}[met]]


def show(rows: Sequence[Row], console: Console) -> None:
    table = Table(*HEADINGS, highlight=False)
    for row in rows:
        style = "red" if row.met is False else None
        table.add_row(*row.cells(), style=style)
    console.print(table)


def markdown(rows: Sequence[Row]) -> str:
    lines = [HEADINGS, ("---",) * len(HEADINGS), *(row.cells() for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def microseconds(seconds: float) -> str:
    return f"{seconds * 1e6:,.{0 if seconds > 1e-4 else 2 if seconds < 1e-5 else 1}f} µs"


def megabytes(size: float) -> str:
    return f"{size / 1e6:.1f} MB"


def kilobytes(size: float) -> str:
    return f"{size / 1e3:,.1f} kB"
