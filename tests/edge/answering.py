"""Answers with the Python and library that run it, as digests: python3 answering.py FOLDER.

It needs only edge.inference, so an image of either architecture can run it. FOLDER has compiled
forests, each with rows of float32 beside it, and texts of records.
"""

from __future__ import annotations

import json
import os
import sys
from array import array
from collections.abc import Iterable, Iterator
from hashlib import sha256
from itertools import chain
from pathlib import Path

from edge.inference.engines.forest import FORMAT, HEADER, LENGTH, MAGIC, Evaluator, Transform
from edge.inference.model import Answers

AT_ONCE = 1 << 15  # Numbers for a forest without trees.
INFINITY = 0x7F800000  # Its bits.
# Every 4,001st number, and every 173rd of those whose exponential is neither 1, infinite nor 0.
RANGES = ((0, INFINITY, 4_001), (0x33000000, 0x42D80000, 173))
# Only these two numbers, with either sign, would have other exponentials without fma().
HARDEST = (0x4202422F, 0x427C65D9)
SAMPLES = [
    bits
    for sign in (0, 1 << 31)
    for bits in (
        *(range(sign + first, sign + last, step) for first, last, step in RANGES),
        [sign + bits for bits in HARDEST],
    )
]


def main(folder: Path) -> None:
    """Print a line of JSON: the machine, and for each thing a digest and its number of answers."""
    forests = {path.stem: bytearray(path.read_bytes()) for path in folder.glob("*.forest")}
    found = {name: _rows(file, folder / f"{name}.rows") for name, file in forests.items()}
    for transform in (Transform.SIGMOID, Transform.EXPONENTIAL, Transform.EXPONENTIAL_OF_DOUBLE):
        found[transform.name] = _digest(_transformed(transform))
    texts = json.loads((folder / "texts.json").read_text())
    found["texts"] = _texts(forests["of texts"], texts)
    print(json.dumps({"machine": os.uname().machine, "found": found}))


def _digest(parts: Iterable[bytes]) -> tuple[str, int]:
    whole, count = sha256(), 0
    for part in parts:
        whole.update(part)
        count += len(part) // 4
    return whole.hexdigest(), count


def _packed(answers: Answers) -> bytes:
    numbers = [answer if isinstance(answer, list) else [answer] for answer in answers]
    return array("f", chain.from_iterable(numbers)).tobytes()


def _rows(file: bytearray, path: Path) -> tuple[str, int]:
    """All rows in a batch, and the first rows alone, which takes another walk."""
    evaluator = Evaluator(file)
    values, width = array("f", path.read_bytes()), len(evaluator.model.feature_names)
    rows = [values[at : at + width].tolist() for at in range(0, len(values), width)]
    alone = [_packed(evaluator.predict([row])) for row in rows[:50]]
    return _digest([_packed(evaluator.predict(rows)), *alone])


def _texts(file: bytearray, texts: list[str]) -> tuple[str, int]:
    """The floats that C reads in each text, and the answers as they are sent."""
    evaluator, whole, read = Evaluator(file), sha256(), 0
    rows = evaluator._room[1]
    for text in texts:
        answers = evaluator.answered(text, 64)
        whole.update(json.dumps(answers).encode())
        if answers is not None:
            read += 1
            whole.update(rows[: len(answers) * len(evaluator.model.feature_names)].tobytes())
    return whole.hexdigest(), read


def _transformed(transform: Transform) -> Iterator[bytes]:
    """The answers to each sample number: forests without trees answer with their base score."""
    for bits in SAMPLES:
        for at in range(0, len(bits), AT_ONCE):
            file = _bare(transform, array("I", bits[at : at + AT_ONCE]))
            yield _packed(Evaluator(file).predict([[0.0]]))


def _bare(transform: Transform, sums: array[int]) -> bytearray:
    """A forest with one feature and no tree."""
    text = LENGTH.pack(0) * 3
    size = HEADER.size + 4 * len(sums) + len(text)
    counts = 1, len(sums), 0, 0, 0, transform, len(text), 0
    header = HEADER.pack(MAGIC, FORMAT, 0, size, b"", *counts)
    return bytearray(header + sums.tobytes() + text)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
