"""C reads a request's records as the floats that Python makes of them, or refuses them."""

from __future__ import annotations

import ctypes
import json
import math
import subprocess
from array import array
from itertools import islice
from pathlib import Path

import pytest

from edge.inference.engines import forest
from edge.inference.engines.json_rows import Names, powers, written
from edge.inference.model import Model
from edge.inference.protocol import MAX_ROWS, most_rows
from tests.edge.compiling import SHIPPED, compiled, compiled_c
from tests.edge.kinds import KINDS, trained
from tests.edge.texts import by_python, same, texts

NAMES = ("pH", "größe", 'x, y "z"', "temp [C]", "a\\b", "tab\t", "\U0001f377", "p", "")


class Reader:
    """json_rows.c alone, without a forest behind it."""

    def __init__(self, library: Path, names: tuple[str, ...], *, missing_allowed: bool) -> None:
        self._c = ctypes.PyDLL(str(library))
        self._c.records_row.restype = ctypes.c_void_p
        self._names = Names(
            Model(
                id="",
                feature_names=names,
                feature_types=("float",) * len(names),
                missing_allowed=missing_allowed,
                outputs=1,
                trees=0,
            ),
            self._c,
        )
        self._row = array("f", bytes(4 * len(names)))

    def record(self, text: bytes) -> list[float] | None:
        """A record's values, if the text is one record and nothing else."""
        kept = ctypes.create_string_buffer(text)
        start = ctypes.addressof(kept)
        after = self._c.records_row(
            ctypes.c_void_p(ctypes.addressof(self._names.table)),
            ctypes.c_void_p(start),
            ctypes.c_void_p(start + len(text)),
            ctypes.c_void_p(self._row.buffer_info()[0]),
        )
        return self._row.tolist() if after == start + len(text) else None


@pytest.mark.parametrize("missing_allowed", [False, True])
def test_any_text_becomes_the_floats_that_python_makes_of_it(
    library: Path, missing_allowed: bool
) -> None:
    reader = Reader(library, NAMES, missing_allowed=missing_allowed)
    read = refused = 0
    for text in islice(texts(NAMES, seed=7), 6_000):
        if not text.startswith("[{"):
            continue
        try:
            ours = reader.record(text[1:-1].encode())
        except UnicodeEncodeError:
            continue
        theirs = by_python(text, NAMES, missing_allowed=missing_allowed, most=MAX_ROWS)
        assert same(ours, theirs), text
        read += ours is not None
        refused += theirs is None
    assert read > 1_000, "most records are plain"
    assert refused > 500, "and many texts are wrong"


@pytest.mark.parametrize(
    "number",
    [
        "0.1", "1e23", "8.5e22", "9007199254740993", "9007199254740992.5", "16777217", "1e-45",
        "7.006492321624085e-46", "7.0064923216240854e-46", "1.00000005960464477",
        "0.30000000000000004", "179769313486231570e20", "3.4028234e38", "1.17549435e-38",
        "9223372036854775807", "9999999999999999999e-18", "123456789012345678e-35", "-0", "-0.0",
    ],
)  # fmt: skip
def test_a_number_is_rounded_to_a_double_and_that_to_a_float(library: Path, number: str) -> None:
    reader = Reader(library, ("p",), missing_allowed=False)
    ours = reader.record(b'{"p":%s}' % number.encode())
    theirs = by_python(f'[{{"p":{number}}}]', ("p",), missing_allowed=False, most=1)
    assert same(ours, theirs)
    assert ours is not None, "and it isn't left to Python"


def test_decimals_become_the_doubles_of_this_machine_s_c_library(tmp_path: Path) -> None:
    source, program = Path(__file__).with_name("decimals.c"), tmp_path / "decimals"
    compiled_c(program, "-O2", source)
    ten = array("Q", powers()).tobytes()
    said = subprocess.run([program, "500000"], input=ten, check=True, capture_output=True)
    differ, unread = map(int, said.stdout.split())
    assert differ == 0
    assert unread == 0


def test_records_have_names_as_any_program_writes_them(library: Path) -> None:
    reader = Reader(library, NAMES, missing_allowed=False)
    record = {name: float(number) for number, name in enumerate(NAMES)}
    for text in (json.dumps(record), json.dumps(record, ensure_ascii=False)):
        assert reader.record(text.encode()) == list(record.values())
    turned = json.dumps(dict(reversed(record.items())))
    assert reader.record(turned.encode()) == list(record.values())
    assert written("pH") == [b"pH"]
    assert written("größe") == [b"gr\\u00f6\\u00dfe", "größe".encode()]
    assert written('"') == [b'\\"'], "as it is, it would end the name"


def test_a_name_that_comes_twice_or_is_cut_off_is_left_to_python(library: Path) -> None:
    reader = Reader(library, ("pH", "p"), missing_allowed=True)
    for text in ('{"pH":1,"pH":2}', '{"pH', '{"pH":1', '{"p\\', '{"pH":nul', '{"pH":1,}', "{", ""):
        assert reader.record(text.encode()) is None, text
    assert reader.record(b'{"pH":1,"p":2}') == [1, 2], "the reader is as it was"


@pytest.mark.parametrize("name", ["squared error", "class probabilities", "classes", "categories"])
def test_a_text_is_answered_as_its_rows_are(library: Path, name: str) -> None:
    evaluator = forest.Evaluator(compiled(trained(KINDS[name])), library)
    columns, most = evaluator.model.feature_names, most_rows(evaluator.model.outputs)
    for count in (1, 7, 8, 63, 64, 65, 200):
        values = [[0.37 * row - column for column in range(4)] for row in range(count)]
        text = json.dumps([dict(zip(columns, row, strict=True)) for row in values])
        assert evaluator.answered(text, most) == evaluator.predict(values)
        assert evaluator.answered(f" {text}\n", count) == evaluator.predict(values)
        assert evaluator.answered(text, count - 1) is None, "more than can be answered"
        assert evaluator.answered(text + "x", most) is None
        assert evaluator.answered(text[:-1], most) is None


def test_records_can_be_counted_for_longer_than_32_bits_last(library: Path) -> None:
    reader = Reader(library, ("pH", "p"), missing_allowed=True)
    reader._names.table.record = 2**32 - 1
    assert reader.record(b'{"pH":1}') == [1, pytest.approx(math.nan, nan_ok=True)]
    assert reader.record(b'{"pH":1,"p":2}') == [1, 2]


def test_a_text_without_records_or_without_utf8_is_left_to_python(library: Path) -> None:
    evaluator = forest.Evaluator(compiled(SHIPPED.read_bytes()), library)
    for text in ("", "[]", "{}", "7", "[7]", "null", '["\ud800"]', "[[1]]", "\ufeff[]", "[{}]"):
        assert evaluator.answered(text, MAX_ROWS) is None


def test_rows_of_another_length_or_type_are_refused_after_any_good_row(
    library: Path,
) -> None:
    evaluator = forest.Evaluator(compiled(SHIPPED.read_bytes()), library)
    row = [1.0] * len(evaluator.model.feature_names)
    for others in ([], [row], [row] * 64, [row] * 100):
        with pytest.raises(ValueError, match=f"row {len(others)} has 2 values instead of 13"):
            evaluator.predict([*others, row[:2]])
        with pytest.raises(TypeError):
            evaluator.predict([*others, [None, *row[1:]]])  # type: ignore[list-item]
        with pytest.raises(OverflowError):
            evaluator.predict([*others, [10**400, *row[1:]]])
    assert evaluator.predict([row]) == evaluator.predict([row] * 70)[:1], "it answers as before"
    assert evaluator.predict([]) == []
