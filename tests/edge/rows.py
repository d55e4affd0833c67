"""Rows that are hard to answer for any model: each threshold and its float32 neighbours."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import xgboost
from numpy.typing import NDArray

Rows = NDArray[np.float32]
LARGEST = np.finfo(np.float32).max
ENDS = np.array(
    [np.nan, 0.0, -0.0, 1e-45, -1e-45, 1.1754942e-38, -1.1754942e-38, LARGEST, -LARGEST],
    dtype=np.float32,
)
CATEGORIES = np.array(  # None of them, the last that XGBoost can count, and one beyond.
    [*range(70), -1, -0.5, 0.5, 2.0**24, 2.0**31, 2.0**33, np.nan], dtype=np.float32
)


def trees(data: bytes) -> Any:
    """The trees of a model's JSON."""
    booster = json.loads(data)["learner"]["gradient_booster"]
    return booster.get("gbtree", booster)["model"]["trees"]


def hard_rows(data: bytes, width: int, seed: int = 0) -> Rows:
    """For each node a row that arrives there, with the threshold itself or a neighbour."""
    rng = np.random.default_rng(seed)
    rows = list(rng.choice(ENDS, (len(ENDS), width)))
    for tree in trees(data):
        waiting = [(0, rng.choice(ENDS, width))]
        while waiting:
            node, row = waiting.pop()
            left, right = tree["left_children"][node], tree["right_children"][node]
            if left == -1:
                continue
            feature = tree["split_indices"][node]
            if tree["split_type"][node]:
                values = CATEGORIES
            else:
                at = np.float32(tree["split_conditions"][node])
                below, above = np.nextafter(at, -LARGEST), np.nextafter(at, LARGEST)
                values = np.array([below, at, above, np.nan], dtype=np.float32)
            for value in values:
                rows.append(row.copy())
                rows[-1][feature] = value
            waiting += [(right, rows[-3].copy()), (left, rows[-4].copy())]
    return np.array(rows, dtype=np.float32)


def assert_same_bits(ours: NDArray[Any], theirs: NDArray[Any]) -> None:
    """Compare two arrays of one shape."""
    assert ours.shape == theirs.shape
    ours, theirs = ours.astype(np.float32), theirs.astype(np.float32)
    differ = (ours.view(np.uint32) != theirs.view(np.uint32)).reshape(len(ours), -1).any(axis=1)
    different = np.flatnonzero(differ)
    assert not different.size, (
        f"{different.size} of {len(ours)} rows differ, the first is row {different[0]}:"
        f" XGBoost says {theirs[different[0]]!r}, we say {ours[different[0]]!r}"
    )


def reference(data: bytes, rows: Rows, **options: Any) -> NDArray[Any]:
    """The answers of XGBoost's own package. `options` are those of Booster.predict."""
    booster = xgboost.Booster({"nthread": 1}, model_file=bytearray(data))
    matrix = xgboost.DMatrix(rows, nthread=1, enable_categorical=True)
    # Set after the constructor, which refuses names with brackets.
    booster.feature_names = booster.feature_types = None
    answers: NDArray[Any] = booster.predict(matrix, **options)
    return answers
