"""Calls XGBoost's C library, for models that the forest evaluator can't use.

XGBoost's Python package would need numpy and scipy: 180 MB, and two seconds until the first answer.
The C functions that it calls are documented and stable
(https://xgboost.readthedocs.io/en/stable/c.html). They give `Booster.predict`'s predictions.
"""

from __future__ import annotations

import ctypes
import json
import re
import sys
from array import array
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from edge.inference.model import (
    MISSING_ATTRIBUTE,
    Answers,
    Model,
    ModelRefused,
    by_row,
    missing_allowed,
    model_id,
)

LIBRARY = Path("xgboost/lib/libxgboost.so")  # The path in its wheel, below a folder of sys.path.
_SHORTEST = 2  # In bytes: a shorter file makes XGBoost 3.2 end the process.
_DENSE = b'{"missing": NaN, "nthread": 1}'
BEST_ATTRIBUTE = "best_iteration"  # Early stopping sets it.
_ATTRIBUTES = (MISSING_ATTRIBUTE, BEST_ATTRIBUTE)


class Booster:
    """Maps rows to one or more numbers each, XGBoost's float32. One call at a time."""

    def __init__(self, data: bytes) -> None:
        """Load a file of any version's `Booster.save_model`. Raises ModelRefused."""
        if len(data) < _SHORTEST:
            raise ModelRefused(f"the model has {len(data)} bytes: cut off. Copy it again")
        self._lib = ctypes.CDLL(str(_installed()))
        self._lib.XGBGetLastError.restype = ctypes.c_char_p
        self._handle = ctypes.c_void_p()
        self._call("XGBoosterCreate", None, ctypes.c_uint64(0), ctypes.byref(self._handle))
        self._call("XGBoosterSetParam", self._handle, b"nthread", b"1")
        length = ctypes.c_uint64(len(data))
        self._call("XGBoosterLoadModelFromBuffer", self._handle, data, length)
        config = self._config()
        self.attributes = self._attributes()
        self._width = self._features()
        self.model = Model(
            id=model_id(data),
            feature_names=self._texts("feature_name") or self._numbered(),
            feature_types=self._texts("feature_type") or ("float",) * self._width,
            missing_allowed=missing_allowed(self.attributes),
            outputs=len(self.predicted(array("f", bytes(4 * self._width)), 1)),
            trees=sum(int(value) for value in _named("num_trees", config)),
            objective=config["learner"]["objective"]["name"],
        )

    def answered(self, _records: str, _most: int) -> None:
        """None: XGBoost doesn't read records."""

    def predict(self, rows: list[list[float]]) -> Answers:
        """The answers to rows of values in the features' order, each the float64 of a float32."""
        for number, row in enumerate(rows):
            if len(row) != self._width:
                raise ValueError(f"row {number} has {len(row)} values instead of {self._width}")
        if not rows:
            return []  # XGBoost would print a warning, which isn't JSON.
        found = self.predicted(array("f", chain.from_iterable(rows)), len(rows))
        return by_row(found, self.model.outputs)

    def predicted(self, values: array[float], rows: int, *, margins: bool = False) -> list[float]:
        """The answers to rows in one sequence, or their margins before the transform."""
        address, _ = values.buffer_info()
        dense = {
            "data": [address, True],
            "shape": [rows, self._width],
            "typestr": "<f4",
            "version": 3,
        }
        asked = {"type": int(margins), "training": False, "strict_shape": False}
        asked |= {"iteration_begin": 0, "iteration_end": 0}
        matrix, shape = ctypes.c_void_p(), ctypes.POINTER(ctypes.c_uint64)()
        dimensions, found = ctypes.c_uint64(), ctypes.POINTER(ctypes.c_float)()
        self._call(
            "XGDMatrixCreateFromDense", json.dumps(dense).encode(), _DENSE, ctypes.byref(matrix)
        )
        try:
            self._call(
                "XGBoosterPredictFromDMatrix",
                self._handle,
                matrix,
                json.dumps(asked).encode(),
                ctypes.byref(shape),
                ctypes.byref(dimensions),
                ctypes.byref(found),
            )
            count = 1
            for size in shape[: dimensions.value]:
                count *= size
            return found[:count]
        finally:
            self._call("XGDMatrixFree", matrix)

    def rounds(self) -> int:
        """The rounds of boosting, with one or more trees per output; 0 for a linear model."""
        count = ctypes.c_int()
        self._call("XGBoosterBoostedRounds", self._handle, ctypes.byref(count))
        return count.value

    def saved(self) -> bytes:
        """The model in this XGBoost's own UBJSON."""
        length, data = ctypes.c_uint64(), ctypes.POINTER(ctypes.c_char)()
        self._call(
            "XGBoosterSaveModelToBuffer",
            self._handle,
            b'{"format": "ubj"}',
            ctypes.byref(length),
            ctypes.byref(data),
        )
        return ctypes.string_at(data, length.value)

    def cut(self, rounds: int) -> bytes:
        """The model's first rounds only, in UBJSON."""
        whole, self._handle = self._handle, ctypes.c_void_p()
        end, step = ctypes.c_int(rounds), ctypes.c_int(1)
        try:
            self._call(
                "XGBoosterSlice", whole, ctypes.c_int(0), end, step, ctypes.byref(self._handle)
            )
            return self.saved()
        finally:
            self._handle = whole

    def _features(self) -> int:
        count = ctypes.c_uint64()
        self._call("XGBoosterGetNumFeature", self._handle, ctypes.byref(count))
        if count.value < 1:
            raise ModelRefused("the model has no features. Train it, and save it again")
        return count.value

    def _numbered(self) -> tuple[str, ...]:
        """XGBoost's default names for the columns of an array."""
        return tuple(f"f{number}" for number in range(self._width))

    def _texts(self, field: str) -> tuple[str, ...]:
        count, texts = ctypes.c_uint64(), ctypes.POINTER(ctypes.c_char_p)()
        self._call(
            "XGBoosterGetStrFeatureInfo",
            self._handle,
            field.encode(),
            ctypes.byref(count),
            ctypes.byref(texts),
        )
        try:
            found = tuple(str(text, "utf-8") for text in texts[: count.value])
        except UnicodeDecodeError as exc:
            raise ModelRefused(f"a {field} of the model is not UTF-8: {exc}") from exc
        if found and len(found) != self._width:
            raise ModelRefused(
                f"the model has {self._width} features and {len(found)} of {field}. Set"
                " Booster.feature_names and Booster.feature_types, and save it again"
            )
        if field == "feature_name" and len(set(found)) != len(found):
            raise ModelRefused("two of the model's features have one name, and requests ask by it")
        return found

    def _attributes(self) -> dict[str, str]:
        found, value, there = {}, ctypes.c_char_p(), ctypes.c_int()
        for name in _ATTRIBUTES:
            self._call(
                "XGBoosterGetAttr",
                self._handle,
                name.encode(),
                ctypes.byref(value),
                ctypes.byref(there),
            )
            if there.value:
                found[name] = str(value.value or b"", "utf-8", "replace")
        return found

    def _config(self) -> Any:
        length, text = ctypes.c_uint64(), ctypes.c_char_p()
        self._call(
            "XGBoosterSaveJsonConfig", self._handle, ctypes.byref(length), ctypes.byref(text)
        )
        return json.loads(text.value or b"{}")

    def _call(self, function: str, *arguments: Any) -> None:
        if getattr(self._lib, function)(*arguments) != 0:
            said = self._lib.XGBGetLastError().decode(errors="replace")
            # Its first line has time, place and reason. The others are a stack trace.
            reason = re.sub(r"^\[[\d:]+\] \S+:\d+: ", "", said.strip().splitlines()[0])
            raise ModelRefused(f"XGBoost refuses the model: {reason}")


def _named(key: str, config: Any) -> Iterator[str]:
    if isinstance(config, dict):
        for name, value in config.items():
            yield from [value] if name == key else _named(key, value)


def _installed() -> Path:
    """The wheel's library. Raises ModelRefused if the image has none."""
    for folder in sys.path:
        if (path := Path(folder) / LIBRARY).is_file():
            return path
    raise ModelRefused(
        "this image has no XGBoost, it was built for engine evaluator:"
        " pulumi config set engine xgboost"
    )
