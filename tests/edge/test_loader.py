"""From a model file to its answers, whoever made the file."""

from __future__ import annotations

import bz2
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest

from edge.inference.engines import loader
from edge.inference.engines.forest import HEADER, MAGIC, Evaluator
from edge.inference.files import UnusableFile
from edge.inference.model import ModelRefused
from edge.inference.settings import Engine
from tests.edge.compiling import SHIPPED, compiled, shipped


def saying(size: int, forest: bytes) -> bytes:
    """The forest with another size in its header."""
    return forest[:16] + size.to_bytes(8, "little") + forest[24:]


def opened(path: Path, content: bytes) -> BinaryIO:
    path.write_bytes(content)
    return path.open("rb")


@pytest.mark.parametrize("packing", [bytes, bz2.compress], ids=["plain", "packed"])
def test_a_model_is_itself_packed_or_not(tmp_path: Path, packing: Callable[[bytes], bytes]) -> None:
    forest = shipped().read_bytes()
    with opened(tmp_path / "model", packing(forest)) as file:
        assert bytes(loader.mapped(file)) == forest
    for model in (b'{"learner": {}}', b"x" * 200_000):
        with opened(tmp_path / "model", packing(model)) as file:
            assert loader.unpacked(file) == model


@pytest.mark.parametrize("read", [loader.unpacked, loader.mapped])
def test_a_small_file_of_gigabytes_ends_in_a_refusal_at_the_bound(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, read: Callable[[BinaryIO], bytes]
) -> None:
    says_so = HEADER.pack(MAGIC, 1, 0, 2**25, b"", *[1] * 8)
    bomb = bz2.compress(says_so + bytes(2**25))
    assert len(bomb) < 200
    monkeypatch.setattr(loader, "MAX_MODEL", 2**20)
    tracemalloc.start()
    try:
        with (
            opened(tmp_path / "bomb", bomb) as file,
            pytest.raises(ModelRefused, match="more than 1048576 bytes"),
        ):
            read(file)
        assert tracemalloc.get_traced_memory()[1] < 2**24, (
            "more than the limit was unpacked all the same"
        )
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda forest: bz2.compress(forest)[:-20], "cut off"),
        (lambda forest: bz2.compress(forest + b"x"), "longer than it says"),
        (lambda forest: bz2.compress(forest[:-1]), "shorter than it says"),
        (lambda forest: bz2.compress(saying(100, forest[:1000])), "longer than it says"),
        (lambda forest: bz2.compress(saying(0, forest[:1000])), "longer than it says"),
        (lambda forest: bz2.compress(forest[:20]), "no compiled forest"),
        (lambda _: bz2.compress(SHIPPED.read_bytes()), "no compiled forest"),
        (lambda forest: bz2.compress(forest)[:900] + bytes(99), "packed, and"),
    ],
)
def test_a_packed_forest_has_just_the_size_that_it_says(
    tmp_path: Path, change: Callable[[bytes], bytes], says: str
) -> None:
    path = tmp_path / "model.bz2"
    path.write_bytes(change(shipped().read_bytes()))
    with pytest.raises(UnusableFile, match=says) as refused:
        loader.load(path, Engine.EVALUATOR)
    assert "model.bz2" in str(refused.value)


def test_a_model_as_large_as_the_bound_is_taken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(loader, "MAX_MODEL", 2**20)
    with opened(tmp_path / "model", bz2.compress(bytes(2**20))) as file:
        assert loader.unpacked(file) == bytes(2**20)


def test_a_huge_file_is_refused_by_its_size_and_not_read(tmp_path: Path) -> None:
    model = tmp_path / "model.json"
    with model.open("wb") as file:
        file.truncate(loader.MAX_MODEL + 1)  # The file is sparse and takes no room.
    tracemalloc.start()
    try:
        with pytest.raises(
            UnusableFile, match=rf"model\.json: the model has more than {loader.MAX_MODEL} bytes"
        ):
            loader.load(model, Engine.EVALUATOR)
        assert tracemalloc.get_traced_memory()[1] < 2**24, (
            "more than the limit was read all the same"
        )
    finally:
        tracemalloc.stop()


# Engine xgboost


def test_both_engines_answer_the_shipped_model_alike(library: Path) -> None:
    ours = Evaluator(compiled(SHIPPED.read_bytes()), library)
    theirs = loader.load(SHIPPED, Engine.XGBOOST)
    rows = (np.random.default_rng(11).normal(size=(500, 13)) * 50).astype(np.float32).tolist()
    assert ours.predict(rows) == theirs.predict(rows)
    for name in ("feature_names", "feature_types", "missing_allowed", "outputs", "trees"):
        assert getattr(ours.model, name) == getattr(theirs.model, name), name
    with pytest.raises(ValueError, match="row 1 has 2 values instead of 13"):
        theirs.predict([rows[0], [1.0, 2.0]])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "0 bytes: cut off"),
        (b'{"learner": {}}', "XGBoost refuses the model"),
        (SHIPPED.read_bytes()[:5000], "XGBoost refuses the model"),
    ],
)
def test_a_file_that_xgboost_does_not_load_is_refused_with_xgboost_s_first_line(
    tmp_path: Path, content: bytes, says: str
) -> None:
    (tmp_path / "model.json").write_bytes(content)
    with pytest.raises(UnusableFile, match=says) as refused:
        loader.load(tmp_path / "model.json", Engine.XGBOOST)
    assert "\n" not in str(refused.value), "one line of the log"


def test_a_request_without_rows_is_answered_without_a_word_of_xgboost_s(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model.json").write_bytes(SHIPPED.read_bytes())
    evaluator = loader.load(tmp_path / "model.json", Engine.XGBOOST)
    assert evaluator.predict([]) == []
    assert capfd.readouterr() == ("", ""), "a line that isn't JSON spoils the log"


def test_an_image_without_xgboost_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(UnusableFile, match="pulumi config set engine xgboost"):
        loader.load(SHIPPED, Engine.XGBOOST)
