"""Reads XGBoost's UBJSON into Python values and numpy arrays.

UBJSON keeps each float32's bits, while JSON's decimals would be rounded once more
(https://ubjson.org, https://xgboost.readthedocs.io/en/stable/tutorials/saving_model.html). This
module only reads what XGBoost has just written, never a file from elsewhere.
"""

from __future__ import annotations

from typing import Any

import numpy as np

_NUMBERS = {"i": ">i1", "U": ">u1", "I": ">i2", "l": ">i4", "L": ">i8", "d": ">f4", "D": ">f8"}
_WORDS = {"T": True, "F": False, "Z": None}


def parse(data: bytes) -> Any:
    """The document; a list of numbers of one type is a numpy array."""
    value, _ = _value(data, 0)
    return value


def _value(data: bytes, at: int) -> tuple[Any, int]:
    marker, at = chr(data[at]), at + 1
    if marker == "{":
        return _object(data, at)
    if marker == "[":
        return _list(data, at)
    if marker == "S":
        return _text(data, at)
    if marker in _WORDS:
        return _WORDS[marker], at
    kind = np.dtype(_NUMBERS[marker])
    return np.frombuffer(data, kind, 1, at)[0].item(), at + kind.itemsize


def _object(data: bytes, at: int) -> tuple[dict[str, Any], int]:
    found = {}
    while data[at : at + 1] != b"}":
        key, at = _text(data, at)
        found[key], at = _value(data, at)
    return found, at + 1


def _list(data: bytes, at: int) -> tuple[Any, int]:
    kind = ""
    if data[at : at + 1] == b"$":
        kind, at = chr(data[at + 1]), at + 2
    if data[at : at + 1] != b"#":
        items = []
        while data[at : at + 1] != b"]":
            item, at = _value(data, at)
            items.append(item)
        return items, at + 1
    count, at = _value(data, at + 1)
    if kind:
        dtype = np.dtype(_NUMBERS[kind])
        numbers = np.frombuffer(data, dtype, count, at).astype(dtype.newbyteorder("="))
        return numbers, at + count * dtype.itemsize
    items = []
    for _ in range(count):
        item, at = _value(data, at)
        items.append(item)
    return items, at


def _text(data: bytes, at: int) -> tuple[str, int]:
    length, at = _value(data, at)
    return str(data[at : at + length], "utf-8"), at + length
