"""Writes models/VERSION.tar.xz: each kind of model as one XGBoost saves it, and its answers.

Run by a Python that has that version, with scikit-learn and pandas:

    python -m venv old && old/bin/pip install xgboost==1.7.6 scikit-learn==1.3.2 pandas==2.1.4
    old/bin/python tests/edge/save_models.py tests/edge/models

It imports nothing of ours, and runs with XGBoost 1.7 to 3.2. A cell is a kind, named or not, with
missing values or not, stopped early or not. For each cell the archive has the model in both formats
and `cell.json`. This file has rows of thresholds and their neighbours, with two kinds of answers:
those of the author's own predict or predict_proba ("said"), and those of Booster.predict with all
trees ("all").
"""

from __future__ import annotations

import base64
import io
import itertools
import json
import sys
import tarfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xgboost as xgb

# Wrapper, parameters, label, and whose answers count.
Trained = tuple[Any, dict[str, Any], Any, str]
NAMES = ["width", "age (s)", "größe"]
ROWS, MOST_ROWS, ROUNDS = 160, 48, 4
SHAPE = {"n_jobs": 1, "max_depth": 3, "learning_rate": 0.4}

random = np.random.default_rng(5)
X = random.normal(size=(ROWS, 3)).astype("f4")
X[:, 2] = random.integers(0, 9, ROWS)
SUM = X[:, 0] + X[:, 1] * X[:, 0] + X[:, 2] % 4
POSITIVE = np.abs(SUM) + 0.1
CLASSES = np.digitize(SUM, [0.5, 2])
SEVERAL = np.stack([SUM, -SUM, 2 * SUM], axis=1)
CATEGORIES = {"enable_categorical": True, "tree_method": "hist", "max_cat_to_onehot": 1}
GROUPS = np.repeat(np.arange(ROWS // 16), 16)


def regressor(objective: str, label: Any = SUM, **more: Any) -> Trained:
    return xgb.XGBRegressor, {"objective": objective, **more}, label, "predict"


def classifier(objective: str, label: Any, said: str, **more: Any) -> Trained:
    return xgb.XGBClassifier, {"objective": objective, **more}, label, said


def ranker(objective: str) -> Trained:
    return xgb.XGBRanker, {"objective": objective}, (SUM > 1).astype(int), "predict"


# By Booster.predict: scikit-learn's wrappers can't train these, or add dart's trees differently.
def booster(label: Any = SUM, **parameters: Any) -> Trained:
    return None, parameters, label, "booster"


KINDS = {
    "squared-error": regressor("reg:squarederror"),
    "squared-log-error": regressor("reg:squaredlogerror", POSITIVE),
    "absolute-error": regressor("reg:absoluteerror"),
    "pseudo-huber": regressor("reg:pseudohubererror"),
    "quantile": regressor("reg:quantileerror", quantile_alpha=0.3),
    "quantiles": regressor("reg:quantileerror", quantile_alpha=[0.1, 0.5, 0.9]),
    "counts": regressor("count:poisson", POSITIVE.round()),
    "gamma": regressor("reg:gamma", POSITIVE),
    "tweedie": regressor("reg:tweedie", POSITIVE),
    "logistic-regression": regressor("reg:logistic", (SUM > 1).astype(float)),
    "cox": regressor("survival:cox", np.where(X[:, 0] > 0.5, -POSITIVE, POSITIVE)),
    "targets": regressor("reg:squarederror", SEVERAL),
    "categories": regressor("reg:squarederror", **CATEGORIES),
    "binary": classifier("binary:logistic", (SUM > 1).astype(int), "predict_proba"),
    "hinge": classifier("binary:hinge", (SUM > 1).astype(int), "predict"),
    "softprob": classifier("multi:softprob", CLASSES, "predict_proba"),
    "softmax": classifier("multi:softmax", CLASSES, "predict"),
    "categories-softprob": classifier("multi:softprob", CLASSES, "predict_proba", **CATEGORIES),
    "forest": (xgb.XGBRFRegressor, {}, SUM, "predict"),
    "forest-binary": (xgb.XGBRFClassifier, {}, (SUM > 1).astype(int), "predict_proba"),
    "pairs": ranker("rank:pairwise"),
    "ranks": ranker("rank:ndcg"),
    "margins": booster((SUM > 1).astype(int), objective="binary:logitraw"),
    "aft": booster(None, objective="survival:aft"),
    "dart": booster(booster="dart", rate_drop=0.4),
    "dart-softprob": booster(
        CLASSES, booster="dart", rate_drop=0.4, objective="multi:softprob", num_class=3
    ),
    "linear": booster(booster="gblinear"),
    "vector-leaves": booster(SEVERAL, multi_strategy="multi_output_tree", tree_method="hist"),
}
SINCE = {"quantile": 2, "quantiles": 2, "vector-leaves": 2}  # The major version.


def main(folder: str) -> None:
    warnings.simplefilter("ignore")
    xgb.set_config(verbosity=0)
    version = xgb.__version__
    with tarfile.open(Path(folder) / f"{version}.tar.xz", "w:xz", preset=9) as archive:
        for kind in KINDS:
            if SINCE.get(kind, 0) > int(version.split(".")[0]):
                continue
            for named, missing, early in itertools.product((True, False), repeat=3):
                if early and kind == "linear":
                    continue  # XGBoost itself has no trees to cut there.
                cell = "-".join(
                    ("named" if named else "unnamed", "missing" if missing else "complete")
                    + (("early",) if early else ())
                )
                for name, data in saved(kind, named, missing, early):
                    member = tarfile.TarInfo(f"{kind}/{cell}/{name}")
                    member.size = len(data)
                    archive.addfile(member, io.BytesIO(data))


def saved(kind: str, named: bool, missing: bool, early: bool) -> Iterator[tuple[str, bytes]]:
    wrapper, parameters, label, said = KINDS[kind]
    categories = "enable_categorical" in parameters
    rows = X.copy()
    if missing:
        rows[np.random.default_rng(1).random(rows.shape) < 0.2] = np.nan
    for seed in range(20):  # Until it stops before its last round.
        turn = np.random.default_rng(seed).permutation(ROWS // 16)
        other = (turn[:, None] * 16 + np.arange(16)).ravel() if early else None
        if wrapper:
            author, model = by_wrapper(wrapper, parameters, label, rows, named, other)
        else:
            author, model = None, by_booster(parameters, label, rows, other)
        best = model.attr("best_iteration") if early else None
        if not early or (best is not None and int(best) + 1 < model.num_boosted_rounds()):
            break
    else:
        raise SystemExit(f"{kind} never stops early")
    if missing:
        model.set_attr(missing_values="allowed")
    model.feature_names = NAMES if named else None
    asked = hard_rows(model, rows, missing)
    matrix = xgb.DMatrix(asked, feature_types=model.feature_types, enable_categorical=categories)
    if named:
        matrix.feature_names = NAMES
    everything = model.predict(matrix, iteration_range=(0, 0))
    asking = frame(asked, named, categories)
    answers = everything if said == "booster" else of_author(getattr(author, said)(asking), said)
    if kind == "softmax" and answers.ndim == 2:
        answers = answers.argmax(axis=1)
    cell = {
        "rows": packed(asked), "said": packed(answers), "all": packed(everything),
        "by": said, "outputs": answers.size // len(asked),
    }  # fmt: skip
    yield "cell.json", json.dumps(cell).encode()
    for form in ("json", "ubj"):
        yield f"model.{form}", bytes(model.save_raw(form))


def of_author(answers: Any, said: str) -> Any:
    """For two classes the second probability, which is also XGBoost's own answer."""
    return answers[:, 1] if said == "predict_proba" and answers.shape[1] == 2 else answers


def by_wrapper(  # The parts of a cell.
    wrapper: Any, parameters: dict[str, Any], label: Any, rows: Any, named: bool, other: Any
) -> tuple[Any, xgb.Booster]:
    categories = "enable_categorical" in parameters
    asked = {**SHAPE, "n_estimators": ROUNDS, **parameters}
    if categories and not named:
        asked["feature_types"] = ["q", "q", "c"]
    if "XGBRF" in wrapper.__name__:
        asked.pop("learning_rate")
        if other is not None:  # A forest has one round. Boosted forests can be stopped.
            wrapper = xgb.XGBRegressor if wrapper is xgb.XGBRFRegressor else xgb.XGBClassifier
            asked |= {"num_parallel_tree": 3, "subsample": 0.7, "n_estimators": 8}
    fitted = {"X": frame(rows, named, categories), "y": label}
    grouped = wrapper is xgb.XGBRanker
    if grouped:
        fitted["qid"] = GROUPS
    if other is not None:
        asked |= {"early_stopping_rounds": 2, "n_estimators": max(8, asked["n_estimators"])}
        fitted |= {"eval_set": [(fitted["X"], label[other])], "verbose": False}
        if grouped:
            fitted["eval_qid"] = [GROUPS]
    author = wrapper(**asked).fit(**fitted)
    return author, author.get_booster()


def by_booster(parameters: dict[str, Any], label: Any, rows: Any, other: Any) -> xgb.Booster:
    def matrix(order: Any) -> xgb.DMatrix:
        found = xgb.DMatrix(rows, label=None if label is None else label[order])
        if label is None:
            found.set_float_info("label_lower_bound", POSITIVE[order])
            found.set_float_info("label_upper_bound", 2 * POSITIVE[order])
        return found

    asked = {"nthread": 1, "max_depth": 3, "eta": 0.4, **parameters}
    stopping: dict[str, Any] = {}
    if other is not None:
        stopping = {"early_stopping_rounds": 2, "evals": [(matrix(other), "other")]}
        stopping["verbose_eval"] = False
    rounds = ROUNDS if other is None else 8
    return xgb.train(asked, matrix(np.arange(ROWS)), rounds, **stopping)


def frame(rows: Any, named: bool, categories: bool) -> Any:
    if not named:
        return rows
    found = pd.DataFrame(rows, columns=NAMES)
    if categories:
        codes = np.nan_to_num(rows[:, 2].copy(), nan=-1).astype(int)
        found[NAMES[2]] = pd.Categorical.from_codes(codes, categories=np.arange(9))
    return found


def hard_rows(model: xgb.Booster, rows: Any, missing: bool) -> Any:
    """Rows of training, with a threshold, a neighbour of it, a zero or nothing in one place."""
    gbtree = json.loads(model.save_raw("json"))["learner"]["gradient_booster"]
    gbtree = gbtree.get("gbtree", gbtree)
    places: list[Any] = []
    for tree in gbtree["model"].get("trees", []):
        for left, feature, split, kind in zip(
            tree["left_children"], tree["split_indices"], tree["split_conditions"],
            tree.get("split_type", [0] * len(tree["left_children"])), strict=True,
        ):  # fmt: skip
            if left != -1 and not kind:
                at = np.float32(split)
                low, high = np.nextafter(at, np.float32(-9e9)), np.nextafter(at, np.float32(9e9))
                places += [(feature, value) for value in (low, at, high)]
    draw = np.random.default_rng(3)
    ends = [0.0, -0.0, 1e-45, 3.4e38, -3.4e38] + ([np.nan] * 6 if missing else [])
    places += [(feature, np.float32(value)) for value in ends for feature in (0, 1)]
    if missing:
        places += [(2, np.float32(np.nan))] * 3
    places = [places[number] for number in draw.permutation(len(places))[:MOST_ROWS]]
    found = rows[draw.integers(0, ROWS, len(places))].copy()
    if not missing:
        found = np.nan_to_num(found)
    for row, (feature, value) in zip(found, places, strict=True):
        row[feature] = value
    return found


def packed(numbers: Any) -> str:
    return base64.b64encode(np.ascontiguousarray(numbers, "<f4").tobytes()).decode()


if __name__ == "__main__":
    main(sys.argv[1])
