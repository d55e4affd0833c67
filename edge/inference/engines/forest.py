"""A compiled forest, mapped and walked by a small C library, equal to XGBoost bit for bit.

The file is what a preview made of an XGBoost model (docs/model-format.md). C checks every bound of
it once, before the first walk, since the walk checks none. Nothing of it is copied: the nodes are
read where the file was mapped.
"""

from __future__ import annotations

import ctypes
import hashlib
import struct
from array import array
from collections.abc import Iterator, Sequence
from enum import IntEnum, IntFlag
from itertools import chain
from mmap import mmap
from pathlib import Path
from typing import Any

from edge.inference.model import Answers, Model, ModelRefused

LIBRARY = Path(__file__).with_name("libforest.so")

MAGIC, FORMAT = b"\x93FOREST\n", 1
HEADER = struct.Struct("<8sIIQ16s8I")  # forest.c's Header
LENGTH = struct.Struct("<I")  # before each text
MAX_NEAR_FEATURES, MAX_NEAR_OFFSET = 4096, 2**15 - 1
MISSING_LEFT, BY_CATEGORY = 1 << 31, 1 << 30  # beside a far node's feature

_BRIEF_STEPS = 100_000  # of walks through the trees, node to node: 0.2 ms (2026-11-23)
_WRONG = {  # by what forest_open returns
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
    """What becomes of the sums: forest.c has the same numbers."""

    SUM = 0
    SIGMOID = 1
    EXPONENTIAL = 2
    HINGE = 3
    SOFTMAX = 4
    SOFTPROB = 5
    EXPONENTIAL_OF_DOUBLE = 6


class _Forest(ctypes.Structure):
    """forest.c's Forest."""

    _fields_ = (
        ("header", ctypes.c_void_p),
        ("base_scores", ctypes.c_void_p),
        ("trees", ctypes.c_void_p),
        ("nodes", ctypes.c_void_p),
        ("categories", ctypes.c_void_p),
        ("text", ctypes.c_void_p),
        ("slots", ctypes.c_void_p),
        ("steps", ctypes.c_int64),
    )


class Evaluator:
    """Rows in, float32 answers out. One call at a time: they share the slots and the single row."""

    def __init__(self, data: mmap | bytearray, library: Path = LIBRARY) -> None:
        """Check a file that stays as it is; raises ModelRefused, and OSError for the library."""
        # Giving the GIL away costs more than a brief walk, keeping it in a long one holds up the
        # threads beside it: PyDLL keeps it, CDLL gives it away.
        keeping, giving = ctypes.PyDLL(str(library)), ctypes.CDLL(str(library))
        self._brief, self._long = keeping.forest_predict, giving.forest_predict
        self._brief.restype = self._long.restype = None
        keeping.forest_slots.restype = ctypes.c_int64
        self._file = (ctypes.c_char * len(data)).from_buffer(data) if len(data) else None
        self._forest = _Forest()
        self._address = ctypes.c_void_p(ctypes.addressof(self._forest))
        start = ctypes.c_void_p(ctypes.addressof(self._file) if self._file else None)
        wrong = giving.forest_open(self._address, start, ctypes.c_int64(len(data)))
        if wrong:
            raise ModelRefused(
                f"not a model that this device can load: {_WRONG[wrong]}. Publish it again, and"
                " copy it whole"
            )
        self._slots = (ctypes.c_float * keeping.forest_slots(self._address))()
        self._forest.slots = ctypes.addressof(self._slots)
        self.model, self._sums = _facts(data)
        self._width, self._steps = len(self.model.feature_names), self._forest.steps
        # a single row's buffers are kept, as making them would take half of the call
        self._row, self._sum = (ctypes.c_float * self._width)(), array("f", bytes(4 * self._sums))
        self._pack = struct.Struct(f"{self._width}f").pack_into  # rounds as array does
        self._single = self._arguments(ctypes.addressof(self._row), self._sum.buffer_info()[0], 1)
        self._walk_single = self._walk(1)

    def predict(self, rows: Sequence[Sequence[float]]) -> Answers:
        """The answers to rows of values in the features' order, each as float64 of a float32."""
        if len(rows) == 1:
            try:
                self._pack(self._row, 0, *rows[0])
            except struct.error:
                pass  # told below, where every row is
            else:
                self._walk_single(*self._single)
                return self._answers(self._sum, 1)
        for number, row in enumerate(rows):
            if len(row) != self._width:
                raise ValueError(f"row {number} has {len(row)} values instead of {self._width}")
        values = array("f", chain.from_iterable(rows))
        sums = array("f", bytes(4 * self._sums * len(rows)))
        self._walk(len(rows))(
            *self._arguments(values.buffer_info()[0], sums.buffer_info()[0], len(rows))
        )
        return self._answers(sums, len(rows))

    def _answers(self, sums: array[float], rows: int) -> Answers:
        """A class is one number, though it was found among several sums."""
        outputs = self.model.outputs
        found = sums.tolist()
        if outputs > 1:
            return [found[at : at + outputs] for at in range(0, len(found), outputs)]
        return found if self._sums == 1 else found[:rows]

    def _walk(self, rows: int) -> Any:
        """forest.c's forest_predict, which keeps the GIL or gives it away."""
        return self._brief if rows * self._steps <= _BRIEF_STEPS else self._long

    def _arguments(self, rows: int, sums: int, count: int) -> tuple[Any, ...]:
        """forest_predict's, in C's types already: converting them anew is a tenth of a call."""
        addresses = (ctypes.c_void_p(rows), ctypes.c_void_p(sums))
        return (self._address, *addresses, ctypes.c_int64(count))


def _facts(data: mmap | bytearray) -> tuple[Model, int]:
    """What a file says of itself, whose sizes C has checked, and how many sums it has for a row."""
    _, _, flags, size, _, *counts = HEADER.unpack_from(data)
    features, sums, trees, _, _, transform, text, _ = counts
    found = list(_texts(bytes(data[size - text : size])))
    if len(found) != 1 + 2 * features:
        raise ModelRefused(f"not a model that this device can load: it names {len(found)} texts")
    objective, *columns = found
    return Model(
        id=hashlib.sha256(data).hexdigest()[:12],
        feature_names=tuple(columns[:features]),
        feature_types=tuple(columns[features:]),
        missing_allowed=bool(flags & Flag.MISSING_ALLOWED),
        outputs=1 if transform == Transform.SOFTMAX else sums,
        trees=trees,
        objective=objective,
    ), sums


def _texts(packed: bytes) -> Iterator[str]:
    """Each with its length before it."""
    at = 0
    while at < len(packed):
        try:
            (length,) = LENGTH.unpack_from(packed, at)
            at += LENGTH.size + length
            yield str(packed[at - length : at], "utf-8")
        except (struct.error, UnicodeDecodeError) as exc:
            raise ModelRefused(
                f"not a model that this device can load: its names are broken ({exc})"
            ) from exc
