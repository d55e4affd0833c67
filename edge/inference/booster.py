"""XGBoost itself, by its C library alone, for every model that the evaluator refuses.

XGBoost's Python package would bring numpy and scipy: 180 MB and two seconds until the first answer,
to hand a few floats over. The C functions that it calls are documented and stable
(https://xgboost.readthedocs.io/en/stable/c.html); a prediction by them is `Booster.predict`'s.
"""

from __future__ import annotations

import ctypes
import json
import sys
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from .forest import MISSING_ATTRIBUTE, ModelRefused, missing_allowed, model_id

LIBRARY = Path("xgboost/lib/libxgboost.so")  # below a folder of sys.path, as its wheel has it
_SHORTEST = 2  # bytes: of less, XGBoost 3.2 ends the process
_DENSE = b'{"missing": NaN, "nthread": 1}'
_PREDICT = json.dumps(
    {"type": 0, "training": False, "iteration_begin": 0, "iteration_end": 0, "strict_shape": False}
).encode()


@dataclass(frozen=True, kw_only=True)
class Model:
    """What the model's users have to know."""

    id: str  # the first 12 hex digits of the file's sha256
    feature_names: tuple[str, ...]
    missing_allowed: bool
    trees: int


class Booster:
    """Rows in, one number for each out, as XGBoost's float32. One call at a time."""

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
        self.model = Model(
            id=model_id(data),
            feature_names=self._feature_names(),
            missing_allowed=missing_allowed(self._attributes()),
            trees=self._trees(),
        )
        self._refuse_more_than_a_number()

    def predict(self, rows: Sequence[Sequence[float]]) -> list[float]:
        """The answers to rows of values in the features' order, each as float64 of a float32."""
        width = len(self.model.feature_names)
        for number, row in enumerate(rows):
            if len(row) != width:
                raise ValueError(f"row {number} has {len(row)} values instead of {width}")
        if not rows:
            return []  # of which XGBoost would warn, in a line that isn't JSON
        return self._predicted(array("f", chain.from_iterable(rows)), len(rows), width)

    def _predicted(self, values: array[float], rows: int, width: int) -> list[float]:
        address, _ = values.buffer_info()
        dense = {"data": [address, True], "shape": [rows, width], "typestr": "<f4", "version": 3}
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
                _PREDICT,
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

    def _refuse_more_than_a_number(self) -> None:
        width = len(self.model.feature_names)
        answers = len(self._predicted(array("f", bytes(4 * width)), 1, width))
        if answers != 1:
            raise ModelRefused(
                f"the model answers a row with {answers} numbers, and an answer has room for one."
                " Train it with an objective of one output, as multi:softmax in place of"
                " multi:softprob"
            )

    def _feature_names(self) -> tuple[str, ...]:
        count, names = ctypes.c_uint64(), ctypes.POINTER(ctypes.c_char_p)()
        self._call(
            "XGBoosterGetStrFeatureInfo",
            self._handle,
            b"feature_name",
            ctypes.byref(count),
            ctypes.byref(names),
        )
        found = tuple(str(name, "utf-8") for name in names[: count.value])
        if not found:
            raise ModelRefused(
                "the model names no features, and requests name theirs. Train it on a DataFrame, or"
                " with feature_names"
            )
        return found

    def _attributes(self) -> dict[str, str]:
        value, there = ctypes.c_char_p(), ctypes.c_int()
        name = MISSING_ATTRIBUTE.encode()
        self._call("XGBoosterGetAttr", self._handle, name, ctypes.byref(value), ctypes.byref(there))
        return {MISSING_ATTRIBUTE: str(value.value or b"", "utf-8")} if there.value else {}

    def _trees(self) -> int:
        """As the booster's configuration says; none in a linear one."""
        length, text = ctypes.c_uint64(), ctypes.c_char_p()
        self._call(
            "XGBoosterSaveJsonConfig", self._handle, ctypes.byref(length), ctypes.byref(text)
        )
        config = json.loads(text.value or b"{}")
        return sum(int(value) for value in _named("num_trees", config))

    def _call(self, function: str, *arguments: Any) -> None:
        if getattr(self._lib, function)(*arguments) != 0:
            said = self._lib.XGBGetLastError().decode(errors="replace")
            # its first line is the reason, the others are a stack of its own
            raise ModelRefused(f"XGBoost refuses the model: {said.strip().splitlines()[0]}")


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
