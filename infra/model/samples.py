"""Rows that a data scientist hands over, as the records that a device is asked for.

JSON as `df.to_json(orient="records")` or `X.tolist()` writes it, or CSV as `df.to_csv()` does. A
value is a number, true or false for a column of that type, or missing where the model allows it.
"""

from __future__ import annotations

import csv
import io
import json
import math
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edge.inference.model import FLOAT32_MAX, MISSING_ATTRIBUTE, Model
from edge.inference.protocol import batches
from infra.settings import Misconfigured

Record = dict[str, float | None]

# https://pandas.pydata.org/docs/reference/api/pandas.read_csv.html: what it reads as missing
_MISSING = {
    *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN"),
    *("<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"),
}
_TRUTHS = {"True": True, "TRUE": True, "true": True, "False": False, "FALSE": False, "false": False}
_BOOLEAN = "i"  # XGBoost's type for a column of them, which it gets as 1 and 0


def read(path: Path, model: Model) -> list[Record]:
    """The records, each with the model's features in its order; raises Misconfigured."""
    said = f"samples '{path}'"
    rows = _rows(path, said)
    if not isinstance(rows, list) or not rows:
        raise Misconfigured(f"{said} is not a list of at least one record")
    records = [_record(f"{said}, row {number}", row, model) for number, row in enumerate(rows)]
    try:
        list(batches(records))
    except ValueError as error:
        raise Misconfigured(
            f"{said}: {error}, and a device is asked in messages. Shorten the features' names, or"
            " leave out those that no tree asks for"
        ) from error
    return records


def packed(records: Sequence[Record]) -> bytes:
    """The rows as float32, one after the other, NaN where a value is missing."""
    values = (math.nan if v is None else v for record in records for v in record.values())
    return array("f", values).tobytes()


def _rows(path: Path, said: str) -> Any:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise Misconfigured(f"{said} can't be read: {error.strerror}") from error
    if data.startswith(b"PAR1"):
        raise Misconfigured(
            f"{said} is in Parquet, which this program has no library for. Write it as JSON:"
            " pandas.read_parquet(…).head(100).to_json('samples.json', orient='records')"
        )
    try:
        if path.suffix.lower() == ".csv":
            return _csv(str(data, "utf-8-sig"))
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        kind = "CSV" if path.suffix.lower() == ".csv" else "JSON"
        raise Misconfigured(f"{said} is not {kind}: {error}") from error


def _csv(text: str) -> list[dict[str, Any]]:
    """Its rows; the index that pandas writes as a first column without a name is left out."""
    head, *rows = list(csv.reader(io.StringIO(text), strict=True)) or [[]]
    if len(set(head)) != len(head):
        raise ValueError("two columns have one name")
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


def _record(said: str, row: Any, model: Model) -> Record:
    names = model.feature_names
    if isinstance(row, list):
        if len(row) != len(names):
            raise Misconfigured(f"{said}: {len(row)} values for the model's {len(names)} features")
        row = dict(zip(names, row, strict=True))
    if not isinstance(row, dict):
        raise Misconfigured(f"{said}: not a record but {row!r}")
    if row.keys() != set(names):
        missing = sorted(set(names) - row.keys())
        strange = sorted(row.keys() - set(names))
        raise Misconfigured(
            f"{said}: not the model's features"
            f" (missing: {missing or 'none'}; not in the model: {strange or 'none'})"
        )
    types = zip(names, model.feature_types, strict=True)
    return {name: _value(said, name, kind, row, model) for name, kind in types}


def _value(said: str, name: str, kind: str, row: Mapping[str, Any], model: Model) -> float | None:
    value = row[name]
    if value is None:
        if not model.missing_allowed:
            raise Misconfigured(
                f"{said}: {name} is null, and the model isn't marked for missing values. If it was"
                f" trained with some: booster.set_attr({MISSING_ATTRIBUTE}='allowed'), and save it"
            )
        return None
    if isinstance(value, bool):
        if kind != _BOOLEAN:
            raise Misconfigured(
                f"{said}: {name} is {str(value).lower()}, and its column is no boolean one: write"
                " 1 or 0"
            )
        return int(value)
    if isinstance(value, float) and math.isnan(value):
        raise Misconfigured(f"{said}: {name} is NaN, which JSON doesn't have: write null")
    if not isinstance(value, int | float) or not abs(value) <= FLOAT32_MAX:
        raise Misconfigured(f"{said}: {name} is {value!r}, not a number that a float32 can hold")
    return value
