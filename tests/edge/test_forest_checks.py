"""C checks a compiled forest once. A walk through an accepted forest stays inside its arrays."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.inference.engines import forest
from edge.inference.model import ModelRefused
from tests.edge.compiling import SHIPPED, compiled
from tests.edge.kinds import KINDS, trained

many = settings(max_examples=1_500, deadline=None, suppress_health_check=list(HealthCheck))
NEAR = bytes(compiled(SHIPPED.read_bytes()))
FAR = bytes(compiled(trained(KINDS["categories"])))
HEADER = forest.HEADER.size


def opened(data: bytes, library: Path) -> forest.Evaluator:
    return forest.Evaluator(bytearray(data), library)


def with_header(place: int, value: object) -> bytes:
    """The shipped forest with one changed field in its header."""
    fields = list(forest.HEADER.unpack_from(NEAR))
    fields[place] = value
    return forest.HEADER.pack(*fields) + NEAR[HEADER:]


def node(number: int) -> int:
    """The offset of a node of the shipped forest, after one base score and 96 trees."""
    return HEADER + 4 + 96 * 12 + 8 * number


def with_node(number: int, value: float, left: int, slot: int) -> bytes:
    packed = struct.pack("<fhH", value, left, slot)
    return NEAR[: node(number)] + packed + NEAR[node(number + 1) :]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "no compiled forest"),
        (b"{}", "no compiled forest"),
        (SHIPPED.read_bytes(), "no compiled forest"),
        (with_header(1, 2), "of another format"),
        (with_header(2, 4), "header is broken"),
        (with_header(3, len(NEAR) + 1), "cut off, or longer"),
        (NEAR[:-1], "cut off, or longer"),
        (NEAR + b"x", "cut off, or longer"),
        (with_header(5, 0), "header is broken"),
        (with_header(5, 2**32 - 1), "header is broken"),
        (with_header(6, 0), "header is broken"),
        (with_header(6, 2**32 - 1), "cut off, or longer"),
        (with_header(7, 95), "cut off, or longer"),
        (with_header(8, 2**32 - 1), "cut off, or longer"),
        (with_header(10, 7), "header is broken"),
        (with_header(12, 1), "header is broken"),
        (NEAR[:HEADER] + struct.pack("<f", float("inf")) + NEAR[HEADER + 4 :], "not finite"),
        (with_node(0, float("nan"), 1, 0), "not finite"),
        (with_node(0, 1.0, 2, 0), "a node in it is broken"),
        (with_node(0, 1.0, 0, 0), "a node in it is broken"),
        (with_node(0, 1.0, -1, 0), "a node in it is broken|a tree in it is broken"),
        (with_node(0, 1.0, 1, 26), "a node in it is broken"),
        (with_node(0, 1.0, 1, 65535), "a node in it is broken"),
        (NEAR[: HEADER + 8] + struct.pack("<I", 7) + NEAR[HEADER + 12 :], "a tree in it"),
        (NEAR[: HEADER + 12] + struct.pack("<I", 1) + NEAR[HEADER + 16 :], "a tree in it"),
    ],
)
def test_everything_that_the_walk_relies_on_is_checked(
    library: Path, data: bytes, says: str
) -> None:
    with pytest.raises(ModelRefused, match=says) as refused:
        opened(data, library)
    assert "Publish it again" in str(refused.value)


def test_names_that_are_no_text_are_refused(library: Path) -> None:
    place = NEAR.index(b"fixed acidity")
    with pytest.raises(ModelRefused, match=r"names are broken .* Publish it again"):
        opened(NEAR[:place] + b"\xff" + NEAR[place + 1 :], library)
    last = NEAR.rindex(b"float")
    for start, length in ((last, len("float") + 1), (place, 2**31)):
        with pytest.raises(ModelRefused, match="names are broken"):
            opened(NEAR[: start - 4] + forest.LENGTH.pack(length) + NEAR[start:], library)
    both = len("fixed acidity") + forest.LENGTH.size + len("volatile acidity")
    with pytest.raises(ModelRefused, match=r"26 texts instead of 27\. Publish it again"):
        opened(NEAR[: place - 4] + forest.LENGTH.pack(both) + NEAR[place:], library)


@pytest.mark.parametrize("file", [NEAR, FAR], ids=["near", "far"])
@many
@given(
    changes=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=4)),
        min_size=1,
        max_size=3,
    )
)
def test_any_bytes_in_any_place_are_refused_or_harmless(
    library: Path, file: bytes, changes: list[tuple[float, bytes]]
) -> None:
    data = bytearray(file)
    for place, value in changes:
        at = int(place * len(data)) & -4 if len(value) == 4 else int(place * len(data))
        data[at : at + len(value)] = value
    del data[len(file) :]
    try:
        evaluator = forest.Evaluator(data, library)
    except ModelRefused:
        return
    width = len(evaluator.model.feature_names)
    rows = [[0.0] * width, [float("nan")] * width, [1e9] * width] * 5
    assert len(evaluator.predict(rows)) == len(rows)
    assert (
        np.array(evaluator.predict(rows[:1])).shape == np.array(evaluator.predict(rows))[:1].shape
    )


def test_many_outputs_take_room_for_few_rows(library: Path) -> None:
    """Room for a whole block of such rows would take 64 times the file."""
    outputs = 2**17
    names = forest.LENGTH.pack(0) * 3
    size = HEADER + 4 * outputs + len(names)
    counts = 1, outputs, 0, 0, 0, forest.Transform.SUM, len(names), 0
    header = forest.HEADER.pack(forest.MAGIC, forest.FORMAT, 0, size, b"", *counts)
    evaluator = opened(header + bytes(4 * outputs) + names, library)
    assert sum(map(len, evaluator._room)) < 2 * outputs
    assert evaluator.predict([[0.0]] * 2) == [[0.0] * outputs] * 2


@pytest.mark.parametrize("file", [NEAR, FAR], ids=["near", "far"])
def test_a_file_cut_off_anywhere_is_refused(library: Path, file: bytes) -> None:
    for end in range(0, len(file), 97):
        with pytest.raises(ModelRefused):
            opened(file[:end], library)
