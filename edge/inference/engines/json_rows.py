"""Prepares what json_rows.c needs to read a model's records: names in JSON, and powers of ten."""

from __future__ import annotations

import ctypes
import json
from array import array

from edge.inference.model import Model

_FIRST_POWER, _LAST_POWER = -65, 38  # Of ten, as in json_rows.c: for float32 with 19 digits.


class _Names(ctypes.Structure):
    """json_rows.h's Names."""

    _fields_ = (
        ("texts", ctypes.c_char_p),
        ("ends", ctypes.c_void_p),
        ("feature", ctypes.c_void_p),
        ("powers", ctypes.c_void_p),
        ("table", ctypes.c_void_p),
        ("met", ctypes.c_void_p),
        ("record", ctypes.c_uint64),
        ("count", ctypes.c_uint32),
        ("places", ctypes.c_uint32),
        ("width", ctypes.c_uint32),
        ("missing_allowed", ctypes.c_uint32),
    )


class Names:
    """A model's Names of json_rows.h, and the memory that they point to."""

    def __init__(self, model: Model, functions: ctypes.PyDLL) -> None:
        texts, ends, feature, size = list[bytes](), array("I"), array("I"), 0
        for number, name in enumerate(model.feature_names):
            for text in written(name):
                texts.append(text)
                size += len(text)
                ends.append(size)
                feature.append(number)
        places = 1 << (2 * len(texts)).bit_length()
        width = len(model.feature_names)
        table, met = array("I", bytes(4 * places)), array("Q", bytes(8 * width))
        parts = [ends, feature, array("Q", powers()), table, met]
        self._parts, self._texts = parts, b"".join(texts)
        self.table = _Names(
            self._texts,
            *(part.buffer_info()[0] for part in parts),
            count=len(texts),
            places=places,
            width=width,
            missing_allowed=model.missing_allowed,
        )
        functions.records_index(ctypes.c_void_p(ctypes.addressof(self.table)))


def written(name: str) -> list[bytes]:
    """A name's JSON texts: as Python writes it, and unchanged if it needs no escape."""
    escaped = json.dumps(name)[1:-1].encode()
    plain = name.encode()
    if plain == escaped or json.dumps(name, ensure_ascii=False)[1:-1] != name:
        return [escaped]
    return [escaped, plain]


def powers() -> list[int]:
    """The leading 128 bits of each power of ten (so of five), in two words.

    A negative power is rounded up if 5^-power fits into 64 bits, as in the algorithm's proof.
    """
    words = []
    for power in range(_FIRST_POWER, _LAST_POWER + 1):
        five = 5 ** abs(power)
        size = five.bit_length()
        rounded_up = (1 << size + 127) // five + (power >= -27)
        bits = rounded_up if power < 0 else five << 128 >> size
        words += [bits >> 64, bits & 2**64 - 1]
    return words
