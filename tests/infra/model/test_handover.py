"""What a data scientist hands over: predictions, early stopping, and rows of each form.

models/ has models that people reported, with the answers of their author's own model (truth.json).
It also has files that XGBoost has never written.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost

from infra.model import model_file
from infra.model.golden import golden
from infra.settings import Misconfigured

MODELS = Path(__file__).parent / "models"
EARLY, MISSING = MODELS / "early-stopped", MODELS / "missing-values"


def loaded(path: Path) -> Any:
    return json.loads(path.read_text())


def written(folder: Path, content: Any, name: str = "handed-over.json") -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def handed_over(case: Path, **options: Any) -> Any:
    return golden(case / "model.json", case / "samples.json", **options).predictions


def refused(*arguments: Any, **options: Any) -> str:
    with pytest.raises(Misconfigured) as caught:
        golden(*arguments, **options)
    said = str(caught.value)
    assert said.count("\n") < 12, "no line of the file, where Pulumi shows it"
    return said


# --- early stopping ---


def test_an_early_stopped_model_is_refused_until_its_author_says_which_trees() -> None:
    said = refused(EARLY / "model.json", EARLY / "samples.json")
    assert "the best of its 10 rounds is number 2" in said
    assert "\n    pulumi config set trees best\n    pulumi config set trees all" in said


def test_best_is_what_the_author_s_predict_says_and_all_is_what_the_booster_says() -> None:
    truth = EARLY / "truth.json"
    assert handed_over(EARLY, trees="best", predictions=truth) == loaded(truth)
    samples = loaded(EARLY / "samples.json")
    booster = xgboost.Booster(model_file=EARLY / "model.json")
    names = list(samples[0])
    assert names == booster.feature_names
    rows = np.array([[row[name] for name in names] for row in samples], np.float32)
    matrix = xgboost.DMatrix(rows, feature_names=names)
    assert handed_over(EARLY, trees="all") == booster.predict(matrix).tolist()


def test_the_other_trees_are_the_first_cause_that_a_difference_names() -> None:
    truth = EARLY / "truth.json"
    said = refused(EARLY / "model.json", EARLY / "samples.json", trees="all", predictions=truth)
    ours = handed_over(EARLY, trees="all")
    assert (
        f"row 0: the author's model says {loaded(truth)[0]!r}, XGBoost says {ours[0]!r} here"
        in said
    )
    assert "5 of 5 rows differ.\nLikely causes, the likeliest first:\n  * early stopping" in said


# --- the author's predictions ---


def test_the_first_row_that_differs_is_named_with_both_values(tmp_path: Path) -> None:
    theirs = loaded(MISSING / "truth.json")
    there = theirs[3]
    theirs[3] = theirs[4] = float(np.nextafter(np.float32(there), np.float32(99)))
    said = refused(
        MISSING / "model.json", MISSING / "samples.json", predictions=written(tmp_path, theirs)
    )
    assert (
        f"row 3: the author's model says {theirs[3]!r}, XGBoost says {there!r} here. 2 of 5" in said
    )
    for cause in ("a missing value other than NaN", "a base_margin", "another version"):
        assert cause in said
    assert "early stopping" not in said, "nothing in this file speaks for it"


def test_predictions_printed_of_a_float32_are_the_same_as_those_of_its_float64(
    tmp_path: Path,
) -> None:
    short = [float(str(np.float32(said))) for said in loaded(MISSING / "truth.json")]
    assert short != loaded(MISSING / "truth.json")
    assert handed_over(MISSING, predictions=written(tmp_path, short))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[1,", "can't be read as JSON"),
        ({}, "is no list, and the samples have 5 rows"),
        ([1.0, 2.0], "is a list of 2, and the samples have 5 rows"),
        (["7.5"] * 5, "row 0: the author's model says '7.5'"),
        ([None] * 5, "row 0: the author's model says None"),
        ([[]] * 5, r"row 0: the author's model says \[\]"),
    ],
)
def test_invalid_predictions_are_refused_in_a_line(tmp_path: Path, content: Any, said: str) -> None:
    with pytest.raises(Misconfigured, match=said):
        handed_over(MISSING, predictions=written(tmp_path, content))


def classifier(folder: Path, classes: int) -> tuple[Path, Path, Any, Any]:
    """A model of plain arrays, its rows, and scikit-learn's two kinds of answers as lists."""
    rows = np.random.default_rng(2).normal(size=(120, 2)).astype(np.float32)
    label = np.digitize(rows[:, 0], np.array([0.0] if classes == 2 else [-0.5, 0.5]))
    objective = {"objective": "binary:logistic"}
    if classes > 2:
        objective = {"objective": "multi:softprob", "num_class": str(classes)}
    matrix = xgboost.DMatrix(rows, label=label, nthread=1)
    booster = xgboost.train({"nthread": 1, "max_depth": 2, **objective}, matrix, 3)
    booster.save_model(folder / "model.ubj")
    found = booster.predict(matrix)
    if classes == 2:
        found = np.stack([1 - found, found], axis=1)
    samples = written(folder, rows.tolist(), "samples.json")
    return folder / "model.ubj", samples, found.argmax(axis=1).tolist(), found.tolist()


@pytest.mark.parametrize("classes", [2, 3])
def test_a_classifier_s_probabilities_are_compared_and_its_classes_refused_by_cause(
    tmp_path: Path, classes: int
) -> None:
    saved, samples, chosen, probabilities = classifier(tmp_path, classes)
    answers = golden(saved, samples, predictions=written(tmp_path, probabilities))
    assert len(answers.predictions) == 120, "a hundred rows and more are compared"
    said = refused(saved, samples, predictions=written(tmp_path, chosen))
    assert "hand over predict_proba(X)" in said


# --- rows ---


def test_null_is_missing_where_the_model_allows_it() -> None:
    answers = golden(
        MISSING / "model.json", MISSING / "samples.json", predictions=MISSING / "truth.json"
    )
    assert answers.samples[2]["load"] is None, "the device is asked for the missing value as well"
    assert answers.predictions == loaded(MISSING / "truth.json")


def test_nan_is_refused_with_what_to_write_also_where_missing_is_allowed(tmp_path: Path) -> None:
    rows = written(tmp_path, '[{"temp": 20.5, "load": NaN, "rpm": 1500}]')
    said = refused(MISSING / "model.json", rows)
    assert "load is NaN, which JSON doesn't have.\npandas writes null instead:" in said


def test_csv_as_pandas_writes_it_gives_the_same_answers_as_json(tmp_path: Path) -> None:
    records = loaded(MISSING / "samples.json")
    names = list(records[0])
    for index in (True, False):
        lines = [("," if index else "") + ",".join(names)]
        for number, record in enumerate(records):
            cells = ["" if record[name] is None else repr(record[name]) for name in names]
            lines.append(",".join([str(number)] * index + cells))
        table = written(tmp_path, "\n".join(lines) + "\n", "samples.csv")
        answers = golden(MISSING / "model.json", table)
        assert answers.samples == golden(MISSING / "model.json", MISSING / "samples.json").samples
        assert answers.predictions == loaded(MISSING / "truth.json")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("temp,load,rpm\n1,2\n", "is not CSV: row 0 has 2 values for 3 columns"),
        ("temp,temp,rpm\n1,2,3\n", "is not CSV: two columns have one name"),
        ("temp,load,rpm\n1,high,3\n", "row 0: load is 'high', not a number"),
        ("", "is not a list of at least one record"),
    ],
)
def test_a_file_that_is_no_table_is_refused_in_a_line(tmp_path: Path, text: str, said: str) -> None:
    assert said in refused(MISSING / "model.json", written(tmp_path, text, "samples.csv"))


def test_lists_of_rows_are_in_the_model_s_order_and_integers_are_numbers(tmp_path: Path) -> None:
    records = golden(MISSING / "model.json", MISSING / "samples.json").samples
    rows = [list(record.values()) for record in records]
    answers = golden(MISSING / "model.json", written(tmp_path, rows))
    assert answers.samples == records
    whole = golden(MISSING / "model.json", written(tmp_path, [[20, 1, 1500]]))
    decimal = golden(MISSING / "model.json", written(tmp_path, [[20.0, 1.0, 1500.0]]))
    assert whole.predictions == decimal.predictions


def test_true_and_false_are_for_columns_of_booleans(tmp_path: Path) -> None:
    rows = np.array([[0, 3.5], [1, 0.5]] * 30, np.float32)
    matrix = xgboost.DMatrix(
        rows, label=rows[:, 0], feature_names=["open", "level"], feature_types=["i", "float"]
    )
    path = tmp_path / "model.json"
    xgboost.train({"nthread": 1, "max_depth": 2}, matrix, 2).save_model(path)
    asked = [{"open": True, "level": 3.5}, {"open": False, "level": 3.5}]
    numbers = [{"open": 1, "level": 3.5}, {"open": 0, "level": 3.5}]
    answers = golden(path, written(tmp_path, asked)).predictions
    assert answers == golden(path, written(tmp_path, numbers)).predictions
    assert answers[0] != answers[1]
    table = written(tmp_path, "open,level\nTrue,3.5\nFalse,3.5\n", "samples.csv")
    assert golden(path, table).predictions == answers


def test_a_row_too_wide_for_a_message_is_refused_with_the_bound() -> None:
    case = MODELS / "many-features"
    said = refused(case / "model.json", case / "samples.json")
    assert "row 0 makes a request of more than 7000 bytes" in said
    assert "Shorten the features' names" in said


@pytest.mark.parametrize(("name", "missing"), [("sentinel", 9999.0), ("sparse", 0.0)])
def test_a_missing_value_that_no_file_says_is_found_by_the_author_s_predictions(
    tmp_path: Path, name: str, missing: float
) -> None:
    case = MODELS / name
    said = refused(case / "model.json", case / "samples.json", predictions=case / "truth.json")
    assert "* a missing value other than NaN, which no file says: write it as null" in said
    # The remedy of the message: null in the value's place, and a model that is marked for it.
    booster = xgboost.Booster(model_file=case / "model.json")
    booster.set_attr(missing_values="allowed")
    booster.save_model(tmp_path / "model.json")
    rows = [
        {name: None if value == missing else value for name, value in row.items()}
        for row in loaded(case / "samples.json")
    ]
    answers = golden(
        tmp_path / "model.json", written(tmp_path, rows), predictions=case / "truth.json"
    )
    assert answers.predictions == loaded(case / "truth.json")


# --- hostile files, and the limits of the process that reads them ---


def test_a_byte_order_mark_is_refused_with_the_remedy() -> None:
    path = MODELS / "byte-order-mark" / "model-bom.json"
    said = refused(path, MISSING / "samples.json")
    assert f"'{path}'" in said
    assert "begins with a byte order mark: save it as UTF-8 without one" in said


@pytest.mark.parametrize("engine", ["evaluator", "xgboost"])
@pytest.mark.parametrize("name", ["right-before-left", "same-tree-ids"])
def test_a_file_that_ends_xgboost_ends_in_a_line_with_its_name(name: str, engine: str) -> None:
    path = MODELS / "hostile" / f"{name}.json"
    said = refused(path, MISSING / "samples.json", engine)
    assert f"model '{path}' makes XGBoost crash (SIGSEGV)" in said


def test_decimals_are_rounded_once_as_xgboost_does(tmp_path: Path) -> None:
    path = MODELS / "hostile" / "double-rounding.json"
    samples = written(tmp_path, [{"f0": 0.5}])
    said = loaded(path)["learner"]["learner_model_param"]["base_score"]
    once = golden(path, samples).predictions
    assert once == golden(path, samples, "xgboost").predictions
    assert once != [float(np.float32(float(said)))], "twice would be another float32"


def test_a_name_with_brackets_is_a_name(tmp_path: Path) -> None:
    samples = written(tmp_path, [{"temp [C]": 1.0}])
    answers = golden(MODELS / "hostile" / "bracket-feature.json", samples)
    assert answers.predictions == [1.5], "the base score of 0.5, and a leaf of 1"


def of_so_many_features(folder: Path) -> Path:
    """A file of a kilobyte. For its rows XGBoost would need gigabytes and minutes."""
    document = loaded(MODELS / "hostile" / "bracket-feature.json")
    learner = document["learner"]
    learner |= {"feature_names": [], "feature_types": []}
    learner["learner_model_param"]["num_feature"] = str(2_000_000_000)
    return written(folder, document, "model.json")


def test_a_file_that_keeps_xgboost_busy_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_file, "_SECONDS", 1)
    monkeypatch.setattr(model_file, "_MIB", 64 * 1024)
    path = of_so_many_features(tmp_path)
    said = refused(path, MISSING / "samples.json")
    assert f"model '{path}' keeps XGBoost busy for more than 1 s" in said


def test_a_file_that_takes_too_much_memory_is_ended(tmp_path: Path) -> None:
    path = of_so_many_features(tmp_path)
    document = loaded(path)
    document["learner"]["learner_model_param"]["num_feature"] = str(2**31 - 1)
    said = refused(written(tmp_path, document, "model.json"), MISSING / "samples.json")
    assert f"model '{path}' takes more than {model_file._MIB} MiB to read" in said
