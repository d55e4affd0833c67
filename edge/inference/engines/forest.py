"""Evaluates a compiled forest with a small C library, equal to XGBoost bit for bit.

The preview made the file from an XGBoost model (docs/model-format.md). C checks every bound of it
once, because the evaluation checks none. The file isn't copied: the nodes are read from the mapped
file.
"""

from __future__ import annotations

import ctypes
import struct
from array import array
from collections.abc import Iterator
from enum import IntEnum, IntFlag
from functools import partial
from mmap import mmap
from pathlib import Path

from edge.inference.engines.json_rows import Names
from edge.inference.model import Answers, Model, ModelRefused, model_id

LIBRARY = Path(__file__).with_name("libforest.so")

MAGIC, FORMAT = b"\x93FOREST\n", 1
HEADER = struct.Struct("<8sIIQ16s8I")  # The same as forest.h's Header.
LENGTH = struct.Struct("<I")  # It precedes each text.
MAX_NEAR_FEATURES, MAX_NEAR_OFFSET = 4096, 2**15 - 1
MISSING_LEFT, BY_CATEGORY = 1 << 31, 1 << 30  # They are bits of a far node's feature.

_WRONG = {  # The keys are forest_open's results.
    1: "it is no compiled forest",
    2: "it is of another format than this image's",
    3: "it is cut off, or longer than it says",
    4: "its header is broken",
    5: "a number in it is not finite",
    6: "a tree in it is broken",
    7: "a node in it is broken",
    8: "a split by category in it is broken",
}


class Flag(IntFlag):
    """Bits of the header."""

    FAR = 1
    MISSING_ALLOWED = 2


class Transform(IntEnum):
    """The transform of the sums, with forest.h's numbers."""

    SUM = 0
    SIGMOID = 1
    EXPONENTIAL = 2
    HINGE = 3
    SOFTMAX = 4
    SOFTPROB = 5
    EXPONENTIAL_OF_DOUBLE = 6


class _Forest(ctypes.Structure):
    """forest.h's Forest."""

    _fields_ = (
        ("header", ctypes.c_void_p),
        ("base_scores", ctypes.c_void_p),
        ("trees", ctypes.c_void_p),
        ("nodes", ctypes.c_void_p),
        ("categories", ctypes.c_void_p),
        ("text", ctypes.c_void_p),
        ("steps", ctypes.c_int64),
        ("at_once", ctypes.c_int64),
        ("slots", ctypes.c_void_p),
        ("rows", ctypes.c_void_p),
        ("sums", ctypes.c_void_p),
    )


class Evaluator:
    """Maps rows to float32 answers. One call at a time, because calls share memory."""

    def __init__(self, data: mmap | bytearray, library: Path = LIBRARY) -> None:
        """Check a file that must not change. Raises ModelRefused, and OSError for the library."""
        functions = ctypes.PyDLL(str(library))  # It holds the GIL. C releases it for long walks.
        self._file = (ctypes.c_char * len(data)).from_buffer(data) if len(data) else None
        self._forest = _Forest()
        forest = ctypes.c_void_p(ctypes.addressof(self._forest))
        start = ctypes.c_void_p(ctypes.addressof(self._file) if self._file else None)
        wrong = functions.forest_open(forest, start, ctypes.c_int64(len(data)))
        if wrong:
            raise _refused(_WRONG[wrong])
        self.model, sums = _facts(data)
        functions.forest_slots.restype = ctypes.c_int64
        at_once = self._forest.at_once
        room = functions.forest_slots(forest), at_once * len(self.model.feature_names)
        self._room = [array("f", bytes(4 * count)) for count in (*room, at_once * sums)]
        for field, part in zip(("slots", "rows", "sums"), self._room, strict=True):
            setattr(self._forest, field, part.buffer_info()[0])
        self._names = Names(self.model, functions)
        names = ctypes.c_void_p(ctypes.addressof(self._names.table))
        functions.answers_to_lists.restype = functions.answers_to_text.restype = ctypes.py_object
        functions.answers_to_lists.argtypes = [ctypes.c_void_p, ctypes.py_object]
        # It is made once, because converting arguments takes a tenth of a call.
        self._to_lists = partial(functions.answers_to_lists, forest)
        self._to_text = partial(functions.answers_to_text, forest, names)

    def predict(self, rows: list[list[float]]) -> Answers:
        """The answers to rows of values in the features' order, each as float64 of a float32."""
        answers: Answers = self._to_lists(rows)
        return answers

    def answered(self, records: str, most: int) -> Answers | None:
        """The answers to a JSON text of plain records; None for any other text."""
        answers: Answers | None = self._to_text(ctypes.py_object(records), ctypes.c_int64(most))
        return answers


def _facts(data: mmap | bytearray) -> tuple[Model, int]:
    """The facts in a file that C has checked, and the number of sums per row."""
    _, _, flags, size, _, *counts = HEADER.unpack_from(data)
    features, sums, trees, _, _, transform, text, _ = counts
    found = list(_texts(bytes(data[size - text : size])))
    if len(found) != 1 + 2 * features:
        raise _refused(f"it has {len(found)} texts instead of {1 + 2 * features}")
    objective, *columns = found
    return Model(
        id=model_id(data),
        feature_names=tuple(columns[:features]),
        feature_types=tuple(columns[features:]),
        missing_allowed=bool(flags & Flag.MISSING_ALLOWED),
        outputs=1 if transform == Transform.SOFTMAX else sums,
        trees=trees,
        objective=objective,
    ), sums


def _texts(packed: bytes) -> Iterator[str]:
    """The texts, each after its length."""
    at = 0
    while at < len(packed):
        try:
            (length,) = LENGTH.unpack_from(packed, at)
            (text,) = struct.unpack_from(f"{length}s", packed, at + LENGTH.size)
            at += LENGTH.size + length
            yield str(text, "utf-8")
        except (struct.error, UnicodeDecodeError) as exc:
            raise _refused(f"its names are broken ({exc})") from exc


def _refused(why: str) -> ModelRefused:
    return ModelRefused(
        f"not a model that this device can load: {why}. Publish it again, and copy it whole"
    )
