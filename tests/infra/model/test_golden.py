"""The golden answers are XGBoost's own, and a device could give them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost

from edge.inference import files
from edge.inference.engines import loader
from edge.inference.model import model_id
from edge.inference.settings import Engine
from infra.model.golden import golden
from infra.names import ENGINES
from infra.publish.versions_from_content import canonical
from infra.settings import Misconfigured

MODEL, SAMPLES = Path("edge/models/wine-quality.json"), Path("edge/consumer/samples.json")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose features are not in alphabetical order."""
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
        "by name, in the model's order, for any order of a record"
    )
    assert answers.predictions == np.array(answers.predictions, dtype=np.float32).tolist(), (
        "the float64 of a float32: JSON brings it back to the very bits"
    )


def test_the_shipped_model_and_samples_are_golden() -> None:
    answers = golden(MODEL, SAMPLES)
    assert len(answers.predictions) == len(answers.samples) > 0
    assert answers.model == hashlib.sha256(answers.file).hexdigest()[:12]


def test_the_device_s_check_reads_what_is_stored(tmp_path: Path) -> None:
    answers = golden(MODEL, SAMPLES)
    document = tmp_path / "golden.json"
    document.write_bytes(canonical(answers.document()))
    assert files.read_golden(document) == files.Golden(
        model=answers.model, predictions=answers.predictions
    )
    assert model_id(answers.file) == answers.model, (
        "the check waits for answers from this very model"
    )
    stored = tmp_path / "samples.json"
    stored.write_bytes(canonical(answers.samples))
    read = [record for batch in files.read_samples(stored) for record in batch]
    assert read == answers.samples, "row by row, or the golden answers belong to other questions"


@pytest.mark.parametrize("key", ["model", "samples", "predictions"])
def test_a_file_that_gives_nothing_is_refused_in_one_line_that_names_it(key: str) -> None:
    """A regular file by its kind, which no process can read from its start."""
    files = {
        "model": MODEL,
        "samples": SAMPLES,
        "predictions": SAMPLES,
        key: Path("/proc/self/mem"),
    }
    with pytest.raises(Misconfigured, match=f"{key} '/proc/self/mem' can't be read") as refused:
        golden(files["model"], files["samples"], predictions=files["predictions"])
    assert str(refused.value).count("\n") < 4, "three parts, where Pulumi shows it"


GOOD = {"width": 1, "age": 2, "mass": 3.5}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[{", "is not JSON"),
        ("\x00", "is not JSON"),
        ({}, "is not a list of at least one record"),
        ([], "is not a list of at least one record"),
        ([GOOD, 3], "row 1: not a record but 3"),
        ([GOOD, GOOD, {"width": 1, "age": 2}], r"row 2: .*missing: mass; .*: none"),
        (
            [GOOD | {"colour": 1}],
            r"row 0: .*missing: none; not in the model: colour\)\.\nName the columns",
        ),
        ([GOOD, GOOD | {"age": "old"}], "row 1: age is 'old', not a number"),
        (
            [GOOD, GOOD | {"age": None}],
            r"row 1: age is null\.\n.*\n.*set_attr\(missing_values='allowed'",
        ),
        ([GOOD | {"mass": True}], r"row 0: mass is true\.\n.*write 1 or 0"),
        ([GOOD | {"mass": float("nan")}], "row 0: mass is NaN, .*\npandas writes null"),
        ([[1, 2, 3.5], [1, 2]], "row 1: 2 values for the model's 3 features"),
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


def boosted(
    path: Path, *, features: int = 2, feature_types: list[str] | None = None, **parameters: Any
) -> Path:
    """A model of three trees, saved in the format that XGBoost's own suffixes name."""
    rows = np.random.default_rng(5).integers(0, 4, (100, features)).astype(np.float32)
    matrix = xgboost.DMatrix(
        rows,
        label=rows[:, 0] > 1,
        feature_names=[f"f{number}" for number in range(features)],
        feature_types=feature_types,
        enable_categorical=True,
    )
    asked = {"nthread": 1, "verbosity": 0, "max_depth": 2, **parameters}
    with xgboost.config_context(verbosity=0):  # It warns that gblinear is deprecated.
        xgboost.train(asked, matrix, 3).save_model(path)
    return path


def test_a_model_that_only_xgboost_can_answer_for_works_with_the_engine_in_the_refusal(
    tmp_path: Path,
) -> None:
    samples = written(tmp_path, [{"f0": 1.0, "f1": 2.0}])
    for parameters in ({"booster": "gblinear"}, {"base_score": 2e38}):
        model = boosted(tmp_path / "model.ubj", **parameters)
        with pytest.raises(Misconfigured, match="pulumi config set engine xgboost") as refused:
            golden(model, samples)
        assert f"'{model}'" in str(refused.value)
        with xgboost.config_context(verbosity=0):
            expected = xgboost.Booster(model_file=model).predict(
                xgboost.DMatrix(np.array([[1.0, 2.0]]), feature_names=["f0", "f1"])
            )
        assert golden(model, samples, "xgboost").predictions == expected.tolist()


def test_a_sample_whose_answer_is_infinite_is_refused_by_its_row(tmp_path: Path) -> None:
    rows = np.random.default_rng(5).random((100, 1)).astype(np.float32)
    matrix = xgboost.DMatrix(rows, label=10 * rows[:, 0], feature_names=["width"])
    parameters = {"booster": "gblinear", "objective": "count:poisson", "nthread": 1}
    model = tmp_path / "model.json"
    xgboost.train(parameters, matrix, 3).save_model(model)
    samples = written(tmp_path, [{"width": 1.0}, {"width": 1e6}])
    with pytest.raises(Misconfigured, match="row 1: XGBoost answers inf"):
        golden(model, samples, "xgboost")


def test_the_engines_have_the_device_s_own_names() -> None:
    assert list(ENGINES) == [str(engine) for engine in Engine]


def test_a_model_larger_than_the_device_takes_is_refused_when_it_is_published(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size, samples = trained.stat().st_size, written(tmp_path, [GOOD])
    monkeypatch.setattr(loader, "MAX_MODEL", size)
    assert golden(trained, samples).predictions
    monkeypatch.setattr(loader, "MAX_MODEL", size - 1)
    with pytest.raises(Misconfigured, match=f"{size} bytes; a release takes {size - 1}"):
        golden(trained, samples)
