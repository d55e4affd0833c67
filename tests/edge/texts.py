"""Texts of records, most of them plain, some wrong in a way. C has to read them as Python does."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator, Sequence
from random import Random

from edge.inference.protocol import BadRequest
from edge.inference.rows import rows

_ODD = (
    "null", "true", '"7"', "[]", "{}", "NaN", "Infinity", "-Infinity", "-0", "-0.0", "0", "0e5",
    "0e99999", "00", "01", "-", "1.", ".5", "1e", "1e+", "+1", "1E5", "1e-400", "1e400", "0x10",
    "3.4028235e38", "-3.4028235e38", "3.4028234663852886e38", "3.4028236e38", "1e-45", "7e-46",
    "340282346638528859811704183484516925440", "9007199254740993", "18446744073709551615",
    "18446744073709551616", "9223372036854775807", "0.1000000000000000055511151231257827", "nul",
    "1e23", "8.5e22", "9007199254740993e-3", "1.00000005960464477539062", "1.0000000596046448",
    "0.000000000000000000000000000000012345678901234567", "5e-324", "2.2250738585072014e-308",
)  # fmt: skip
_SPACES = ("", "", "", "", " ", "\n", "\t\r ", "\x0b", "\xa0", "\x00")


def texts(names: Sequence[str], seed: int) -> Iterator[str]:
    """The texts. The iterator never ends."""
    random = Random(seed)  # noqa: S311  # repeatable, not secret
    while True:
        wrong = random.choice((0.0, 0.0, 0.01, 0.1))
        text = _list(random, names, wrong)
        if wrong and random.random() < 0.3:
            text = _damaged(random, text)
        yield text


def same(ours: Sequence[float] | None, theirs: Sequence[float] | None) -> bool:
    """Whether the float32s are the same bit for bit.

    A text that C doesn't read is no difference.
    """
    if ours is None:
        return True
    return theirs is not None and _bits(ours) == _bits(theirs)


def by_python(
    text: str, names: Sequence[str], *, missing_allowed: bool, most: int
) -> list[float] | None:
    """The float32s of all rows in a row, or None if the text is refused."""
    try:
        found = [*rows(text, names, missing_allowed=missing_allowed, most=most)]
    except BadRequest:
        return None
    return [value for row in found for value in row]


def _bits(values: Sequence[float]) -> bytes:
    quiet = [math.nan if math.isnan(value) else value for value in values]
    return struct.pack(f"{len(quiet)}f", *quiet)


def _list(random: Random, names: Sequence[str], wrong: float) -> str:
    def space() -> str:
        return random.choice(_SPACES) if random.random() < wrong else ""

    records = []
    for _ in range(random.choice((1, 1, 1, 2))):
        columns = list(names)
        if random.random() < 0.3:
            random.shuffle(columns)
        if random.random() < wrong:
            columns.append(random.choice([*names, "stranger", ""]))
        if random.random() < wrong:
            columns.pop()
        pairs = [
            f"{space()}{_name(random, name)}{space()}:{space()}{_number(random, wrong)}{space()}"
            for name in columns
        ]
        records.append(f"{space()}{{{','.join(pairs)}}}{space()}")
    return f"{space()}[{', '.join(records)}]{space()}"


def _name(random: Random, name: str) -> str:
    return json.dumps(name, ensure_ascii=random.random() < 0.5)


def _number(random: Random, wrong: float) -> str:
    return random.choice(_ODD) if random.random() < wrong else random.choice(_KINDS)(random)


def _integer(random: Random) -> str:
    return str(random.randint(-(10 ** random.randint(0, 20)), 10 ** random.randint(0, 20)))


def _of_floats(random: Random) -> str:
    """A float32, or a number between two of them."""
    bits = random.getrandbits(32) & 0x7F7FFFFF
    below, above = struct.unpack("2f", struct.pack("2I", bits, bits + 1))
    return repr(random.choice([below, (below + above) / 2]))


def _of_doubles(random: Random) -> str:
    return repr(math.ldexp(random.random(), random.randint(-160, 127)))


def _between_doubles(random: Random) -> str:
    number = random.getrandbits(54) | 1
    return str(number * 2 ** random.randint(0, 9) + random.randint(-1, 1))


def _fraction(random: Random) -> str:
    return f"{random.getrandbits(random.randint(1, 30))}.{random.getrandbits(30):09}"


def _power(random: Random) -> str:
    return f"{random.getrandbits(63)}e{random.randint(-70, 30)}"


def _fraction_and_power(random: Random) -> str:
    return f"{random.randint(0, 9)}.{random.getrandbits(40)}E{random.randint(-50, 40):+}"


_KINDS = (
    _integer, _of_floats, _of_doubles, _between_doubles, _fraction, _power, _fraction_and_power,
    lambda random: repr(random.uniform(-1000, 1000)),
)  # fmt: skip


def _damaged(random: Random, text: str) -> str:
    letters = list(text)
    for _ in range(random.randint(1, 3)):
        at = random.randrange(len(letters))
        match random.randrange(4):
            case 0:
                letters[at] = random.choice('{}[]:,"\\ 0123456789eE.-+nul\x00é\ud800')
            case 1:
                del letters[at : at + random.randint(1, 10)]
            case 2:
                letters[at:at] = random.choice('{}[]:,"\\ 0123456789eE.-+nul\x00é')
            case _:
                letters[at:at] = letters[at : at + 20]
        if not letters:
            break
    return "".join(letters)
