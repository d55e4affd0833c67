"""Turns a data scientist's rows into records, as clients send them to a device.

A value is a number, true or false for a column of that type, or missing where the model allows it.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edge.inference.model import FLOAT32_MAX, MISSING_ATTRIBUTE, Model
from edge.inference.protocol import batches
from infra.model import table
from infra.settings import Misconfigured

Record = dict[str, float | None]

_BOOLEAN = "i"  # XGBoost's type of a boolean column, whose values are 1 and 0.


def read(path: Path, model: Model, what: str = "samples") -> list[Record]:
    """The records, each with the features in the model's order. Raises Misconfigured."""
    said = f"{what} '{path}'"
    rows = table.read(path, said, model.feature_names)
    records = [_record(f"{said}, row {number}", row, model) for number, row in enumerate(rows)]
    try:
        list(batches(records))
    except ValueError as error:
        raise Misconfigured(
            f"{said}: {error}.",
            "A device is asked in messages. Shorten the features' names, or leave out those that no"
            " tree asks for.",
        ) from error
    return records


def packed(records: Sequence[Record]) -> bytes:
    """The rows as float32, row by row, NaN for a missing value."""
    values = (math.nan if v is None else v for record in records for v in record.values())
    return array("f", values).tobytes()


def _record(said: str, row: Mapping[str, Any], model: Model) -> Record:
    types = zip(model.feature_names, model.feature_types, strict=True)
    return {name: _value(said, name, kind, row, model) for name, kind in types}


def _value(said: str, name: str, kind: str, row: Mapping[str, Any], model: Model) -> float | None:
    value = row[name]
    if value is None:
        if not model.missing_allowed:
            raise Misconfigured(
                f"{said}: {name} is null.",
                "The model isn't marked for missing values. If it was trained with some, mark it"
                " and save it:",
                f"booster.set_attr({MISSING_ATTRIBUTE}='allowed')",
            )
        return None
    if isinstance(value, bool):
        if kind != _BOOLEAN:
            raise Misconfigured(
                f"{said}: {name} is {str(value).lower()}.",
                "Its column holds numbers: write 1 or 0.",
            )
        return int(value)
    if isinstance(value, float) and math.isnan(value):
        raise Misconfigured(
            f"{said}: {name} is NaN, which JSON doesn't have.",
            "pandas writes null instead:",
            table.WRITE,
        )
    if not isinstance(value, int | float) or not abs(value) <= FLOAT32_MAX:
        raise Misconfigured(f"{said}: {name} is {value!r}, not a number that a float32 can hold.")
    return value
