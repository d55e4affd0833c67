"""Small models of every kind that XGBoost trains and a data scientist may hand over."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import xgboost
from numpy.typing import NDArray

Numbers = NDArray[Any]
RANDOM = np.random.default_rng(11)
ROWS = RANDOM.normal(size=(400, 4)).astype(np.float32)
ROWS[:, 3] = RANDOM.integers(0, 40, 400)
SUM = ROWS[:, :3].sum(axis=1) + ROWS[:, 3] % 5
POSITIVE = np.abs(SUM) + 0.1
CLASSES = np.digitize(SUM, [0, 2, 4])
SEVERAL = np.stack([SUM, -SUM, 2 * SUM], axis=1)


@dataclass(frozen=True, kw_only=True)
class Kind:
    """How to train it on the rows above."""

    parameters: dict[str, Any]
    label: Numbers | None = None
    data: dict[str, Any] = field(default_factory=dict)
    exact: bool = True  # Whether the evaluator answers for it.


def _of(objective: str, label: Numbers | None = SUM, **parameters: Any) -> Kind:
    return Kind(parameters={"objective": objective, **parameters}, label=label)


CATEGORIES = {"feature_types": ["q", "q", "q", "c"], "enable_categorical": True}
FOUR = {"objective": "multi:softprob", "num_class": 4}
CENSORED = {"label_lower_bound": POSITIVE, "label_upper_bound": 2 * POSITIVE}

KINDS: dict[str, Kind] = {
    "squared error": _of("reg:squarederror"),
    "squared log error": _of("reg:squaredlogerror", POSITIVE),
    "absolute error": _of("reg:absoluteerror"),
    "pseudo-Huber": _of("reg:pseudohubererror"),
    "a quantile": _of("reg:quantileerror", quantile_alpha=0.3),
    "quantiles": _of("reg:quantileerror", quantile_alpha=[0.1, 0.5, 0.9]),
    "counts": _of("count:poisson", POSITIVE.round()),
    "gamma": _of("reg:gamma", POSITIVE),
    "Tweedie": _of("reg:tweedie", POSITIVE),
    "logistic regression": _of("reg:logistic", SUM > 1),
    "probabilities": _of("binary:logistic", SUM > 1),
    "probabilities from even odds": _of("binary:logistic", SUM > 1, base_score=0.5),
    "margins": _of("binary:logitraw", SUM > 1),
    "hinge": _of("binary:hinge", SUM > 1),
    "classes": _of("multi:softmax", CLASSES, num_class=4),
    "class probabilities": Kind(parameters=FOUR, label=CLASSES),
    "Cox": _of("survival:cox", np.where(ROWS[:, 0] > 0.5, -POSITIVE, POSITIVE)),
    "AFT": Kind(parameters={"objective": "survival:aft"}, data=CENSORED),
    "pairs": Kind(
        parameters={"objective": "rank:pairwise"}, label=SUM > 1, data={"group": [20] * 20}
    ),
    "ranks": Kind(parameters={"objective": "rank:ndcg"}, label=SUM > 1, data={"group": [20] * 20}),
    "mean precision": Kind(
        parameters={"objective": "rank:map"}, label=SUM > 1, data={"group": [20] * 20}
    ),
    "targets": Kind(parameters={}, label=SEVERAL),
    "labels": _of("binary:logistic", np.stack([SUM > 0, SUM > 1], axis=1)),
    "dart": Kind(parameters={"booster": "dart", "rate_drop": 0.4}, label=SUM),
    "dart's classes": Kind(parameters={"booster": "dart", "rate_drop": 0.4, **FOUR}, label=CLASSES),
    "a random forest": Kind(
        parameters={"num_parallel_tree": 5, "subsample": 0.7, "eta": 1}, label=SUM
    ),
    "a random forest of classes": Kind(
        parameters={"num_parallel_tree": 3, "subsample": 0.7, **FOUR}, label=CLASSES
    ),
    "categories": Kind(parameters={"max_cat_to_onehot": 1}, label=SUM, data=CATEGORIES),
    "categories one by one": Kind(
        parameters={"max_cat_to_onehot": 100}, label=SUM, data=CATEGORIES
    ),
    "classes by categories": Kind(parameters=FOUR, label=CLASSES, data=CATEGORIES),
    "linear": Kind(parameters={"booster": "gblinear"}, label=SUM, exact=False),
    "vector leaves": Kind(
        parameters={"multi_strategy": "multi_output_tree"}, label=SEVERAL, exact=False
    ),
}


def booster(
    kind: Kind,
    *,
    rounds: int = 9,
    named: bool = True,
    missing: bool = False,
    best: int | None = None,
    **parameters: Any,
) -> xgboost.Booster:
    """The trained booster. `best` is what early stopping would have left in the file."""
    rows = ROWS.copy()
    if missing:
        rows[np.random.default_rng(1).random(rows.shape) < 0.2] = np.nan
    matrix = xgboost.DMatrix(rows, label=kind.label, nthread=1, **kind.data)
    asked = {"nthread": 1, "verbosity": 0, "max_depth": 5, **kind.parameters, **parameters}
    found: xgboost.Booster = xgboost.train(asked, matrix, rounds)
    if missing:
        found.set_attr(missing_values="allowed")
    if best is not None:
        found.set_attr(best_iteration=str(best))
    if named:
        found.feature_names = ["width", "age", "mass", "colour"]
    return found


@cache
def _trained(name: str) -> bytes:
    return bytes(booster(KINDS[name]).save_raw("json"))


def trained(kind: Kind) -> bytes:
    """The JSON of a model with names and default parameters."""
    return _trained(next(name for name, one in KINDS.items() if one is kind))
