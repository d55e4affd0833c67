"""XGBoost itself, by its C library alone, for every model that the evaluator refuses.

XGBoost's Python package would bring numpy and scipy: 180 MB and two seconds until the first answer,
to hand a few floats over. The C functions that it calls are documented and stable
(https://xgboost.readthedocs.io/en/stable/c.html); a prediction by them is `Booster.predict`'s.
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
    missing_allowed,
    model_id,
)

LIBRARY = Path("xgboost/lib/libxgboost.so")  # below a folder of sys.path, as its wheel has it
_SHORTEST = 2  # bytes: of less, XGBoost 3.2 ends the process
_DENSE = b'{"missing": NaN, "nthread": 1}'
BEST_ATTRIBUTE = "best_iteration"  # of early stopping
_ATTRIBUTES = (MISSING_ATTRIBUTE, BEST_ATTRIBUTE)


class Booster:
    """Rows in, one or more numbers for each out, as XGBoost's float32. One call at a time."""

    def __init__(self, data: bytes) -> None:
        """Load what any `Booster.save_model` wrote; raises ModelRefused."""
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
        """XGBoost reads no records."""

    def predict(self, rows: list[list[float]]) -> Answers:
        """The answers to rows of values in the features' order, each as float64 of a float32."""
        for number, row in enumerate(rows):
            if len(row) != self._width:
                raise ValueError(f"row {number} has {len(row)} values instead of {self._width}")
        if not rows:
            return []  # of which XGBoost would warn, in a line that isn't JSON
        found = self.predicted(array("f", chain.from_iterable(rows)), len(rows))
        outputs = self.model.outputs
        if outputs == 1:
            return found
        return [found[at : at + outputs] for at in range(0, len(found), outputs)]

    def predicted(self, values: array[float], rows: int, *, margins: bool = False) -> list[float]:
        """The answers to rows one after the other, or what they are before the transform."""
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
        """Of boosting: each has a tree for each output, or several; none in a linear model."""
        count = ctypes.c_int()
        self._call("XGBoosterBoostedRounds", self._handle, ctypes.byref(count))
        return count.value

    def saved(self) -> bytes:
        """The model as this XGBoost writes it now, in UBJSON."""
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
        """The model of its first rounds alone, in UBJSON."""
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
        """XGBoost's own names for the columns of a plain array."""
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
            # its first line is a time, a place and the reason, the others are a stack of its own
            reason = re.sub(r"^\[[\d:]+\] \S+:\d+: ", "", said.strip().splitlines()[0])
            raise ModelRefused(f"XGBoost refuses the model: {reason}")


def _named(key: str, config: Any) -> Iterator[str]:
    if isinstance(config, dict):
        for name, value in config.items():
            yield from [value] if name == key else _named(key, value)


def _installed() -> Path:
    """The library of the wheel; raises ModelRefused where the image has none."""
    for folder in sys.path:
        if (path := Path(folder) / LIBRARY).is_file():
            return path
    raise ModelRefused(
        "this image has no XGBoost, it was built for engine evaluator:"
        " pulumi config set engine xgboost"
    )
