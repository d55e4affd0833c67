"""From a model file to what answers, whoever made the file."""

from __future__ import annotations

import bz2
import tracemalloc
from pathlib import Path

import pytest

from inference import engine
from inference.files import UnusableFile
from inference.forest import ModelRefused


def test_a_model_is_itself_packed_or_not() -> None:
    for model in (b'{"learner": {}}', b""):
        assert engine.unpacked(model) == engine.unpacked(bz2.compress(model)) == model


def test_a_small_file_of_gigabytes_ends_in_a_refusal_at_the_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bomb = bz2.compress(bytes(2**25))
    assert len(bomb) < 100
    monkeypatch.setattr(engine, "MAX_MODEL", 2**20)
    tracemalloc.start()
    try:
        with pytest.raises(ModelRefused, match="more than 1048576 bytes"):
            engine.unpacked(bomb)
        assert tracemalloc.get_traced_memory()[1] < 2**24, (
            "what is too much was unpacked all the same"
        )
    finally:
        tracemalloc.stop()


def test_a_model_as_large_as_the_bound_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "MAX_MODEL", 2**20)
    assert engine.unpacked(bz2.compress(bytes(2**20))) == bytes(2**20)


def test_a_huge_file_is_refused_by_its_size_and_not_read(tmp_path: Path) -> None:
    model = tmp_path / "model.json"
    with model.open("wb") as file:
        file.truncate(engine.MAX_MODEL + 1)  # sparse: it takes no room
    tracemalloc.start()
    try:
        with pytest.raises(UnusableFile, match=rf"model\.json has {engine.MAX_MODEL + 1} bytes"):
            engine.load(model)
        assert tracemalloc.get_traced_memory()[1] < 2**24, "what is too much was read all the same"
    finally:
        tracemalloc.stop()
