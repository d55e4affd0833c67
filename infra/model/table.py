"""Reads rows from a file, with the model's features by name. It doesn't check the values.

JSON as `df.to_json(orient="records")` or `X.tolist()` writes it, CSV as `df.to_csv()` does, and
Parquet as `df.to_parquet()` does.
"""

from __future__ import annotations

import csv
import io
import json
import shlex
from collections.abc import Collection, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from infra.printable import printable
from infra.settings import OF_A_RELEASE, Misconfigured

# Pandas reads these as missing: https://pandas.pydata.org/docs/reference/api/pandas.read_csv.html
_MISSING = {
    *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN"),
    *("<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"),
}
_TRUTHS = {"True": True, "TRUE": True, "true": True, "False": False, "FALSE": False, "false": False}
# Pandas names a stored index that is no range so: https://arrow.apache.org/docs/python/pandas.html
_INDEX = "__index_level_"
WRITE = "df.to_json(PATH, orient='records', double_precision=15)"
_BY_NAME = "pandas writes each row with the features' names:"


def read(path: Path, said: str, names: Sequence[str]) -> list[dict[str, Any]]:
    """Each row's values by the model's names, in any order. Raises Misconfigured."""
    rows = _rows(path, said)
    if not isinstance(rows, list) or not rows:
        raise Misconfigured(
            f"{said} is not a list of at least one record.",
            "pandas writes it:",
            WRITE,
        )
    return [_named(f"{said}, row {number}", row, names, path) for number, row in enumerate(rows)]


def _rows(path: Path, said: str) -> Any:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise Misconfigured(
            f"{said} can't be read: {error.strerror}.", "", f"ls -l {shlex.quote(str(path))}"
        ) from error
    if data.startswith(b"PAR1"):
        return _parquet(data, said)
    try:
        if path.suffix.lower() == ".csv":
            return _csv(str(data, "utf-8-sig"))
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        kind, write = (
            ("CSV", "pandas.DataFrame(X).to_csv(PATH)")
            if path.suffix.lower() == ".csv"
            else ("JSON", "json.dump(X.tolist(), file)")
        )
        raise Misconfigured(f"{said} is not {kind}: {error}", "Python writes it:", write) from error


def _parquet(data: bytes, said: str) -> list[dict[str, Any]]:
    try:
        arrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError as error:
        raise Misconfigured(
            f"{said} is in Parquet, for which .venv lacks pyarrow.",
            "Install it, or write the rows as JSON in Python:",
            ".venv/bin/pip install pyarrow",
            "pandas.read_parquet(PATH).head(100)"
            ".to_json('samples.json', orient='records', double_precision=15)",
        ) from error
    try:
        table = parquet.read_table(arrow.BufferReader(data))
        names = [name for name in table.column_names if not name.startswith(_INDEX)]
        rows: list[dict[str, Any]] = table.select(names).to_pylist()
    except (arrow.ArrowException, OSError) as error:  # Two columns with one name raise it too.
        why = str(error).partition("\n")[0]
        raise Misconfigured(
            f"{said} is not Parquet that pyarrow reads.", f"{why}\npandas writes JSON:", WRITE
        ) from error
    return rows


def _csv(text: str) -> list[dict[str, Any]]:
    """The rows, without the index that pandas writes as a first column without a name."""
    head, *rows = list(csv.reader(io.StringIO(text), strict=True)) or [[]]
    if len(set(head)) != len(head):
        raise ValueError("two columns have one name in its first line")
    for number, row in enumerate(rows):
        if row and len(row) != len(head):
            raise ValueError(f"row {number} has {len(row)} values for {len(head)} columns")
    start = 1 if head and not head[0] else 0
    return [
        {name: _cell(cell) for name, cell in zip(head[start:], row[start:], strict=True)}
        for row in rows
        if row
    ]


def _cell(text: str) -> Any:
    text = text.strip()
    if text in _MISSING:
        return None
    if text in _TRUTHS:
        return _TRUTHS[text]
    try:
        return float(text)
    except ValueError:
        return text


def _named(said: str, row: Any, names: Sequence[str], path: Path) -> dict[str, Any]:
    if isinstance(row, list):
        if len(row) != len(names):
            raise Misconfigured(
                f"{said}: {len(row)} values for the model's {len(names)} features.",
                _BY_NAME,
                WRITE,
            )
        return dict(zip(names, row, strict=True))
    if not isinstance(row, dict):
        raise Misconfigured(f"{said}: not a record but {row!r}.", _BY_NAME, WRITE)
    if row.keys() == set(names):
        return row
    if _nameless(names) and row.keys() == {str(place) for place in range(len(names))}:
        return {name: row[str(place)] for place, name in enumerate(names)}
    missing = sorted(set(names) - row.keys())
    strange = sorted(row.keys() - set(names))
    raise Misconfigured(
        f"{said}: not the model's features"
        f" (missing: {_listed(missing)}; not in the model: {_listed(strange)}).",
        *_remedy(row, names, path),
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(printable, names)) or "none"


def _nameless(names: Sequence[str]) -> bool:
    """Whether the model was trained on an array, whose columns pandas calls 0, 1 and so on."""
    return all(name == f"f{place}" for place, name in enumerate(names))


def _remedy(columns: Collection[str], names: Sequence[str], path: Path) -> tuple[str, ...]:
    """Why the columns may be others, and what to type."""
    if path == OF_A_RELEASE["samples"]:
        return "They are the shipped model's. Name your own:", "pulumi config set samples PATH"
    if columns and all(isinstance(_cell(column), float) for column in columns):
        return (
            "Are those numbers of a row? The first line of a CSV names the columns. pandas writes"
            " it:",
            "pandas.DataFrame(X).to_csv(PATH)",
        )
    if _nameless(names):
        return (
            "The model was trained on an array, so its columns have no names. Write the rows in"
            " the array's order:",
            "json.dump(X.to_numpy().tolist(), file)",
        )
    return (
        "Name the columns as the model does, or name other samples:",
        "pulumi config set samples PATH",
    )
