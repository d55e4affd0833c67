"""The golden answers are XGBoost's own, and a device could give them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost

from edge.inference import engine, files, forest
from edge.inference.settings import Engine
from infra.names import ENGINES
from infra.publish.golden import check_memory, golden
from infra.publish.versions import canonical
from infra.settings import Misconfigured
from tests.infra.pulumi_yaml import declared

MODEL, SAMPLES = Path("edge/models/wine-quality.json"), Path("edge/consumer/samples.json")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose features stand in another order than the alphabet's."""
    random = np.random.default_rng(7)
    rows = random.normal(size=(200, 3)).astype(np.float32)
    matrix = xgboost.DMatrix(
        rows, label=rows[:, 0] * 3 - rows[:, 2], feature_names=["width", "age", "mass"]
    )
    path = tmp_path_factory.mktemp("model") / "model.json"
    xgboost.train({"max_depth": 3, "nthread": 1}, matrix, num_boost_round=5).save_model(path)
    return path


def written(folder: Path, content: Any) -> Path:
    path = folder / "samples.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_the_answers_are_xgboost_s_bit_for_bit(trained: Path, tmp_path: Path) -> None:
    rows = [(0.1, -2.5, 3.0), (1e-3, 0.0, -1.0), (7.0, 8.0, 9.0)]
    records = [{"mass": mass, "width": width, "age": age} for width, age, mass in rows]
    answers = golden(trained, written(tmp_path, records))
    matrix = xgboost.DMatrix(
        np.array(rows, dtype=np.float32), feature_names=["width", "age", "mass"]
    )
    expected = xgboost.Booster(model_file=trained).predict(matrix)
    assert np.array(answers.predictions, dtype=np.float32).tobytes() == expected.tobytes(), (
        "by name, in the model's order, whatever order a record has"
    )
    assert answers.predictions == [float(np.float32(one)) for one in answers.predictions], (
        "the float64 of a float32: JSON brings it back to the very bits"
    )


def test_the_shipped_model_and_samples_are_golden() -> None:
    answers = golden(MODEL, SAMPLES)
    assert len(answers.predictions) == len(answers.samples) > 0
    assert answers.model == hashlib.sha256(MODEL.read_bytes()).hexdigest()[:12]


def test_what_is_stored_is_what_the_device_s_check_reads(tmp_path: Path) -> None:
    answers = golden(MODEL, SAMPLES)
    document = tmp_path / "golden.json"
    document.write_bytes(canonical(answers.document()))
    assert files.read_golden(document) == files.Golden(
        model=answers.model, predictions=answers.predictions
    )
    assert forest.read(MODEL.read_bytes()).id == answers.model, (
        "the check waits for answers from this very model"
    )
    stored = tmp_path / "samples.json"
    stored.write_bytes(canonical(answers.samples))
    read = [record for batch in files.read_samples(stored) for record in batch]
    assert read == answers.samples, "row by row, or the golden answers belong to other questions"


GOOD = {"width": 1, "age": 2, "mass": 3.5}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[{", "is not JSON"),
        ("\x00", "is not JSON"),
        ({}, "is not a list of at least one record"),
        ([], "is not a list of at least one record"),
        ([GOOD, 3], "row 1: not a record but 3"),
        ([GOOD, GOOD, {"width": 1, "age": 2}], r"row 2: .*missing: \['mass'\]; .*: none"),
        ([GOOD | {"colour": 1}], r"row 0: .*missing: none; not in the model: \['colour'\]"),
        ([GOOD, GOOD | {"age": "old"}], "row 1: age is 'old', not a number"),
        ([GOOD, GOOD | {"age": None}], "row 1: age is None, not a number"),
        ([GOOD | {"mass": True}], "row 0: mass is True, not a number"),
        ([GOOD | {"mass": float("nan")}], "row 0: mass is nan, not a number"),
        ([GOOD | {"mass": float("-inf")}], "row 0: mass is -inf, not a number"),
        ([GOOD, GOOD | {"mass": 1e39}], r"row 1: mass is 1e\+39, not a number"),
        ([GOOD | {"mass": 10**400}], "row 0: mass is 10+, not a number"),
    ],
)
def test_samples_that_nobody_could_answer_are_refused_by_file_row_and_feature(
    trained: Path, tmp_path: Path, content: Any, said: str
) -> None:
    path = written(tmp_path, content)
    with pytest.raises(Misconfigured, match=said) as refused:
        golden(trained, path)
    assert f"'{path}'" in str(refused.value)


def test_a_model_that_the_device_would_refuse_is_refused_in_its_words(
    trained: Path, tmp_path: Path
) -> None:
    document = json.loads(trained.read_text())
    document["learner"]["gradient_booster"]["name"] = "gblinear"
    model = tmp_path / "model.json"
    model.write_text(json.dumps(document))
    with pytest.raises(forest.ModelRefused) as device:
        forest.read(model.read_bytes())
    with pytest.raises(Misconfigured) as refused:
        golden(model, SAMPLES)
    assert str(device.value) in str(refused.value), "the reason and the way out are the reader's"
    assert f"'{model}'" in str(refused.value)


def logistic(folder: Path) -> Path:
    return boosted(folder / "model.json", objective="binary:logistic")


def binary(folder: Path) -> Path:
    return boosted(folder / "model.ubj")


def categorical(folder: Path) -> Path:
    return boosted(folder / "model.json", feature_types=["c", "q"])


def categorical_without_types(folder: Path) -> Path:
    document = json.loads(categorical(folder).read_text())
    document["learner"]["feature_types"] = []
    return rewritten(folder, document)


def of_many_features(folder: Path) -> Path:
    return boosted(folder / "model.json", features=2**15)


def a_complete_tree(folder: Path) -> Path:
    """Of 131,071 nodes: a node of its last but one level is far from its children."""
    document = json.loads(boosted(folder / "model.json").read_text())
    tree, inner = document["learner"]["gradient_booster"]["model"]["trees"][0], 2**16 - 1
    nodes = 2 * inner + 1
    tree["left_children"] = [2 * node + 1 for node in range(inner)] + [-1] * (inner + 1)
    tree["right_children"] = [2 * node + 2 for node in range(inner)] + [-1] * (inner + 1)
    tree["parents"] = [2**31 - 1] + [(node - 1) // 2 for node in range(1, nodes)]
    for key in ("split_indices", "default_left", "split_type"):
        tree[key] = [0] * nodes
    for key in ("split_conditions", "base_weights", "loss_changes", "sum_hessian"):
        tree[key] = [0.0] * nodes
    tree["tree_param"]["num_nodes"] = str(nodes)
    return rewritten(folder, document)


def of_huge_leaves(folder: Path) -> Path:
    return boosted(folder / "model.json", base_score=2e38)


def boosted(
    path: Path, *, features: int = 2, feature_types: list[str] | None = None, **parameters: Any
) -> Path:
    """A model of three trees, saved where XGBoost's own suffixes say in what format."""
    rows = np.random.default_rng(5).integers(0, 4, (100, features)).astype(np.float32)
    matrix = xgboost.DMatrix(
        rows,
        label=rows[:, 0] > 1,
        feature_names=[f"f{number}" for number in range(features)],
        feature_types=feature_types,
        enable_categorical=True,
    )
    xgboost.train({"nthread": 1, "max_depth": 2, **parameters}, matrix, 3).save_model(path)
    return path


def rewritten(folder: Path, document: Any) -> Path:
    path = folder / "model.json"
    path.write_text(json.dumps(document))
    return path


@pytest.mark.parametrize(
    "make",
    [
        logistic,
        binary,
        categorical,
        categorical_without_types,
        of_many_features,
        a_complete_tree,
        of_huge_leaves,
    ],
)
def test_what_only_xgboost_itself_can_answer_goes_with_the_engine_that_the_refusal_names(
    tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    model = make(tmp_path)
    booster = xgboost.Booster(model_file=model)
    names = booster.feature_names or []
    samples = written(tmp_path, [dict.fromkeys(names, 1.0)])
    with pytest.raises(Misconfigured, match="pulumi config set engine xgboost"):
        golden(model, samples)
    with pytest.raises(files.UnusableFile, match="pulumi config set engine xgboost"):
        engine.load(model, Engine.EVALUATOR)  # a device that the model came to by another way
    matrix = xgboost.DMatrix(
        [[1.0] * len(names)],
        feature_names=names,
        feature_types=booster.feature_types,
        enable_categorical=True,
    )
    expected = float(booster.predict(matrix)[0])
    assert golden(model, samples, "xgboost").predictions == [expected]


def test_a_sample_whose_answer_is_infinite_is_refused_by_its_row(tmp_path: Path) -> None:
    rows = np.random.default_rng(5).random((100, 1)).astype(np.float32)
    matrix = xgboost.DMatrix(rows, label=10 * rows[:, 0], feature_names=["width"])
    parameters = {"booster": "gblinear", "objective": "count:poisson", "nthread": 1}
    model = tmp_path / "model.json"
    xgboost.train(parameters, matrix, 3).save_model(model)
    samples = written(tmp_path, [{"width": 1.0}, {"width": 1e6}])
    with pytest.raises(Misconfigured, match="row 1: XGBoost answers inf"):
        golden(model, samples, "xgboost")


def test_what_no_engine_can_answer_is_refused_without_naming_one(tmp_path: Path) -> None:
    rows = np.random.default_rng(5).normal(size=(100, 2)).astype(np.float32)
    model = tmp_path / "model.json"
    matrix = xgboost.DMatrix(rows, label=rows, feature_names=["width", "age"])
    xgboost.train({"nthread": 1}, matrix, 1).save_model(model)
    for name, says in (("evaluator", "2 targets"), ("xgboost", "2 numbers")):
        with pytest.raises(Misconfigured, match=says) as refused:
            golden(model, SAMPLES, name)
        assert "config set engine" not in str(refused.value)


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b'{"learner": {}}', pytest.param(MODEL.read_bytes()[:-1000], id="cut off")],
)
def test_what_is_no_model_is_refused_by_either_engine_without_a_crash(
    tmp_path: Path, content: bytes
) -> None:
    model = tmp_path / "model.json"
    model.write_bytes(content)
    for name in ENGINES:
        with pytest.raises(Misconfigured, match="the device would refuse model") as refused:
            golden(model, SAMPLES, name)
        assert "config set engine" not in str(refused.value), "no engine can load it"


def test_a_file_that_ends_xgboost_s_process_is_refused_all_the_same(tmp_path: Path) -> None:
    document = json.loads(MODEL.read_text())
    document["learner"]["gradient_booster"]["name"] = "gblinear"
    model = tmp_path / "model.json"
    model.write_text(json.dumps(document))
    with pytest.raises(Misconfigured, match="XGBoost crashes on it"):
        golden(model, SAMPLES, "xgboost")


def test_the_engines_have_the_device_s_own_names() -> None:
    assert list(ENGINES) == [str(engine) for engine in Engine]


def test_xgboost_itself_takes_more_memory_to_load_a_model(tmp_path: Path) -> None:
    model = tmp_path / "model.json"
    with model.open("wb") as file:
        file.truncate(int(3.2 * 2**20))
    check_memory(model, 64)
    with pytest.raises(Misconfigured, match="set memory 88"):
        check_memory(model, 64, "xgboost")


def test_a_model_larger_than_the_device_takes_is_refused_when_it_is_published(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size, samples = trained.stat().st_size, written(tmp_path, [GOOD])
    monkeypatch.setattr(engine, "MAX_MODEL", size)
    assert golden(trained, samples).predictions
    monkeypatch.setattr(engine, "MAX_MODEL", size - 1)
    with pytest.raises(Misconfigured, match=f"{size} bytes, the device takes {size - 1} at most"):
        golden(trained, samples)


@pytest.mark.parametrize(
    ("mebibytes", "peak"), [(0.4, 27.1), (3.3, 45.9), (13.0, 109.7), (26.1, 194.8)]
)
def test_a_model_that_the_container_cannot_load_is_refused_with_the_memory_that_it_takes(
    tmp_path: Path, mebibytes: float, peak: float
) -> None:
    model = tmp_path / "model.json"
    with model.open("wb") as file:
        file.truncate(int(mebibytes * 2**20))
    with pytest.raises(
        Misconfigured, match=r"the kernel would kill it.*set memory (\d+)"
    ) as refused:
        check_memory(model, int(peak))
    needed = int(re.findall(r"set memory (\d+)", str(refused.value))[0])
    check_memory(model, needed)
    assert peak <= needed < 1.1 * peak, "as much as was measured, and not much more"


def test_the_shipped_model_loads_in_the_memory_that_a_container_has_unasked() -> None:
    check_memory(MODEL, declared()["memory"]["default"])


def test_a_file_that_is_no_model_is_refused_before_xgboost_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(xgboost, "Booster", None)
    with pytest.raises(Misconfigured, match="the device would refuse model"):
        golden(SAMPLES, SAMPLES)
