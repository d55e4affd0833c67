"""From a model file to what answers, whoever made the file."""

from __future__ import annotations

import bz2
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost

from edge.inference import engine
from edge.inference.files import UnusableFile
from edge.inference.forest import Evaluator, ModelRefused, read
from edge.inference.settings import Engine


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
            engine.load(model, Engine.EVALUATOR)
        assert tracemalloc.get_traced_memory()[1] < 2**24, "what is too much was read all the same"
    finally:
        tracemalloc.stop()


# Engine xgboost


def trained(
    kind: dict[str, object], *, rows: np.ndarray[Any, Any], label: np.ndarray[Any, Any], **data: Any
) -> xgboost.Booster:
    names = [f"f{number}" for number in range(rows.shape[1])]
    matrix = xgboost.DMatrix(rows, label=label, feature_names=names, **data)
    return xgboost.train({"nthread": 1, **kind}, matrix, num_boost_round=6)


RANDOM = np.random.default_rng(11)
ROWS = RANDOM.normal(size=(300, 4)).astype(np.float32)
SUM = ROWS.sum(axis=1)
KINDS: dict[str, dict[str, object]] = {
    "dart": {"booster": "dart", "rate_drop": 0.3},
    "linear": {"booster": "gblinear"},
    "logistic": {"objective": "binary:logistic"},
    "counts": {"objective": "count:poisson"},
    "classes": {"objective": "multi:softmax", "num_class": 3},
    "ranks": {"objective": "rank:pairwise"},
    "plain": {"objective": "reg:squarederror"},
}


@pytest.mark.parametrize("form", ["json", "ubj"])
@pytest.mark.parametrize("kind", KINDS)
def test_xgboost_itself_answers_for_every_model_that_has_one_number_to_say(
    tmp_path: Path, kind: str, form: str
) -> None:
    label = {
        "logistic": SUM > 0,
        "counts": np.abs(SUM).round(),
        "classes": np.digitize(SUM, [-1, 1]),
    }
    booster = trained(KINDS[kind], rows=ROWS, label=label.get(kind, SUM))
    path = tmp_path / f"model.{form}"
    booster.save_model(path)
    evaluator = engine.load(path, Engine.XGBOOST)
    asked = ROWS[:50].copy()
    asked[3, 1] = np.nan
    matrix = xgboost.DMatrix(asked, feature_names=booster.feature_names)
    assert evaluator.predict(asked.tolist()) == [float(one) for one in booster.predict(matrix)]
    assert evaluator.model.feature_names == ("f0", "f1", "f2", "f3")
    if kind != "linear":
        assert evaluator.model.trees == 6 * (3 if kind == "classes" else 1)


def test_categories_are_asked_for_by_their_numbers(tmp_path: Path) -> None:
    rows = np.column_stack([RANDOM.integers(0, 5, 300), ROWS[:, 0]]).astype(np.float32)
    label = np.where(rows[:, 0] == 3, 5.0, rows[:, 1])
    types = {"feature_types": ["c", "q"], "enable_categorical": True}
    booster = trained({"max_cat_to_onehot": 1}, rows=rows, label=label, **types)
    booster.save_model(tmp_path / "model.json")
    evaluator = engine.load(tmp_path / "model.json", Engine.XGBOOST)
    matrix = xgboost.DMatrix(rows, feature_names=booster.feature_names, **types)
    assert evaluator.predict(rows.tolist()) == [float(one) for one in booster.predict(matrix)]


def test_both_engines_answer_the_shipped_model_alike(library: Path) -> None:
    path = Path("edge/models/wine-quality.json")
    ours = Evaluator(read(path.read_bytes()), library)
    theirs = engine.load(path, Engine.XGBOOST)
    rows = (RANDOM.normal(size=(500, 13)) * 50).astype(np.float32).tolist()
    assert ours.predict(rows) == theirs.predict(rows)
    for name in ("id", "feature_names", "missing_allowed", "trees"):
        assert getattr(ours.model, name) == getattr(theirs.model, name), name
    with pytest.raises(ValueError, match="row 1 has 2 values instead of 13"):
        theirs.predict([rows[0], [1.0, 2.0]])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "0 bytes: cut off"),
        (b'{"learner": {}}', "XGBoost refuses the model"),
        (Path("edge/models/wine-quality.json").read_bytes()[:5000], "XGBoost refuses the model"),
    ],
)
def test_what_xgboost_does_not_load_is_refused_by_its_first_line(
    tmp_path: Path, content: bytes, says: str
) -> None:
    (tmp_path / "model.json").write_bytes(content)
    with pytest.raises(UnusableFile, match=says) as refused:
        engine.load(tmp_path / "model.json", Engine.XGBOOST)
    assert "\n" not in str(refused.value), "one line of the log"


def test_a_request_without_rows_is_answered_without_a_word_of_xgboost_s(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    trained({}, rows=ROWS, label=SUM).save_model(tmp_path / "model.json")
    evaluator = engine.load(tmp_path / "model.json", Engine.XGBOOST)
    assert evaluator.predict([]) == []
    assert capfd.readouterr() == ("", ""), "whatever isn't JSON spoils the log"


def test_an_answer_of_several_numbers_is_refused_with_the_way_out(tmp_path: Path) -> None:
    label = np.digitize(SUM, [-1, 1])
    booster = trained({"objective": "multi:softprob", "num_class": 3}, rows=ROWS, label=label)
    booster.save_model(tmp_path / "model.json")
    with pytest.raises(UnusableFile, match=r"3 numbers, .*multi:softmax"):
        engine.load(tmp_path / "model.json", Engine.XGBOOST)


def test_a_model_without_names_is_refused(tmp_path: Path) -> None:
    matrix = xgboost.DMatrix(ROWS, label=SUM)
    xgboost.train({"nthread": 1}, matrix, num_boost_round=1).save_model(tmp_path / "model.json")
    with pytest.raises(UnusableFile, match="names no features"):
        engine.load(tmp_path / "model.json", Engine.XGBOOST)


def test_an_image_without_xgboost_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(UnusableFile, match="pulumi config set engine xgboost"):
        engine.load(Path("edge/models/wine-quality.json").resolve(), Engine.XGBOOST)
