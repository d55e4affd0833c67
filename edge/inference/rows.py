"""Turns a request's records into rows of floats, or raises an error that says what is wrong.

The forest reads plain records from their text itself (json_rows.c). This module is for other
evaluators, and for every other text.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from .model import FLOAT32_MAX
from .protocol import MAX_NAMES, BadRequest, Code, Record, cut, display, read_json


def rows(
    text: str, features: Sequence[str], *, missing_allowed: bool, most: int
) -> Iterator[list[float]]:
    """Values in the features' order, NaN for an allowed missing value. Raises BadRequest."""
    found = read_json(text, "body")
    if not isinstance(found, list):
        raise BadRequest(
            Code.NOT_RECORDS, f"body is a list of records, found {display(found)}", field="body"
        )
    if len(found) > most:
        raise BadRequest(
            Code.TOO_LARGE,
            f"body has {len(found)} rows, at most {most} can be answered in a message",
            row=most,
        )
    return _rows(found, features, missing_allowed)


def _rows(
    records: list[Any], features: Sequence[str], missing_allowed: bool
) -> Iterator[list[float]]:
    for number, record in enumerate(records):
        if not isinstance(record, dict):
            raise BadRequest(
                Code.NOT_RECORDS,
                f"row {number} is a record, feature name to number; found {display(record)}",
                row=number,
            )
        row, absent = [], 0
        for name in features:
            value = record.get(name)
            if value is None and missing_allowed:
                absent += name not in record
                value = math.nan
            elif type(value) is not float and type(value) is not int:  # A bool is also an int.
                raise _not_a_number(number, name, record)
            elif not -FLOAT32_MAX <= value <= FLOAT32_MAX:  # It is also false for NaN.
                raise _out_of_range(number, name, value, missing_allowed)
            row.append(value)
        if len(record) > len(features) - absent:
            raise _unknown(number, min(record.keys() - set(features)), features)
        yield row


def _out_of_range(number: int, name: str, value: float, missing_allowed: bool) -> BadRequest:
    shown = cut(name, MAX_NAMES)
    said = f"{shown!r} is a finite float32 of at most {FLOAT32_MAX:.8g}, found {display(value)}"
    if isinstance(value, float) and math.isnan(value):
        said = f"{shown!r} is NaN, which JSON doesn't have"
        if missing_allowed:
            said += "; where a value is missing, write null"
    return BadRequest(Code.OUT_OF_RANGE, f"row {number}: {said}", row=number, field=shown)


def _not_a_number(number: int, name: str, record: Record) -> BadRequest:
    shown = cut(name, MAX_NAMES)
    value = record.get(name)
    if value is None:
        code = Code.MISSING_FEATURE
        message = (
            f"lacks {shown!r}, and this model isn't marked for missing values. If it was trained"
            " with some, its author marks it: booster.set_attr(missing_values='allowed')"
        )
    else:
        code = Code.NOT_A_NUMBER
        message = f"has {display(value)} for {shown!r}, which is a number"
    return BadRequest(code, f"row {number} {message}", row=number, field=shown)


def _unknown(number: int, name: str, features: Sequence[str]) -> BadRequest:
    return BadRequest(
        Code.UNKNOWN_FEATURE,
        f"row {number}: the model has no feature {display(name)}; it has"
        f" {cut(', '.join(features), MAX_NAMES)}",
        row=number,
        field=cut(name, MAX_NAMES),
    )
