"""The evaluator equals XGBoost bit for bit, or its speed is worth nothing.

The rows are made to be hard. For each node of each tree a row arrives there, with the threshold
itself or one of its float32 neighbours. All other values come from the ends of float32.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.inference.engines import forest
from tests.edge.compiling import compiled
from tests.edge.rows import ENDS, Rows, assert_same_bits, hard_rows, reference, trees

EDGE = Path(__file__).parents[2] / "edge"
SHIPPED = EDGE / "models" / "wine-quality.json"
Evaluate = Callable[[bytes, Rows], Rows]
PARAMETERS: dict[str, st.SearchStrategy[Any]] = {
    "max_depth": st.integers(1, 9),
    "tree_method": st.sampled_from(["hist", "exact", "approx"]),
    "num_parallel_tree": st.integers(1, 4),
    "subsample": st.sampled_from([0.5, 1.0]),
    "gamma": st.sampled_from([0.0, 1.0, 30.0]),
    "min_child_weight": st.sampled_from([0, 1, 1_000]),
    "objective": st.sampled_from(
        [
            "reg:squarederror",
            "reg:squaredlogerror",
            "reg:absoluteerror",
            "reg:pseudohubererror",
        ]
    ),
}
OPTIONAL: dict[str, st.SearchStrategy[Any]] = {"base_score": st.floats(0.0, 1e6, width=32)}
few = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="session")
def evaluate(library: Path) -> Evaluate:
    def answers(data: bytes, rows: Rows) -> Rows:
        evaluator = forest.Evaluator(compiled(data), library)
        return np.array(evaluator.predict(rows.tolist()), dtype=np.float32)

    return answers


def saved(booster: xgboost.Booster) -> bytes:
    return bytes(booster.save_raw("json"))


def train(
    *, rounds: int = 3, width: int = 4, missing: float = 0.0, seed: int = 0, **parameters: Any
) -> bytes:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(200, width)).astype(np.float32)
    target = np.abs(np.nan_to_num(rows @ rng.normal(size=width)) + rng.normal(size=200))
    rows[rng.random(rows.shape) < missing] = np.nan
    names = [f"feature {number}" for number in range(width)]
    matrix = xgboost.DMatrix(rows, label=target, feature_names=names, nthread=1)
    return saved(xgboost.train({"nthread": 1, "seed": seed, **parameters}, matrix, rounds))


def test_the_shipped_model_equals_xgboost_at_every_threshold(evaluate: Evaluate) -> None:
    data = SHIPPED.read_bytes()
    rows = hard_rows(data, 13)
    assert len(rows) > 4 * 96 * 20, "each node of each tree should have its rows"
    assert_same_bits(evaluate(data, rows), reference(data, rows))


def test_the_shipped_model_also_equals_xgboost_without_a_matrix(evaluate: Evaluate) -> None:
    data = SHIPPED.read_bytes()
    rows = hard_rows(data, 13, seed=1)
    rows[::7] = np.inf  # A DMatrix refuses infinity, inplace_predict doesn't.
    rows[1::7, ::2] = -np.inf
    booster = xgboost.Booster({"nthread": 1}, model_file=bytearray(data))
    theirs = booster.inplace_predict(rows, validate_features=False)
    assert_same_bits(evaluate(data, rows), theirs)


@few
@given(
    seed=st.integers(0, 10_000),
    rounds=st.integers(1, 12),
    width=st.integers(1, 6),
    missing=st.sampled_from([0.0, 0.2, 0.9]),
    parameters=st.fixed_dictionaries(PARAMETERS, optional=OPTIONAL),
)
def test_any_model_equals_xgboost(
    evaluate: Evaluate,
    seed: int,
    rounds: int,
    width: int,
    missing: float,
    parameters: dict[str, Any],
) -> None:
    data = train(rounds=rounds, width=width, missing=missing, seed=seed, **parameters)
    rows = hard_rows(data, width, seed)
    assert_same_bits(evaluate(data, rows), reference(data, rows))


@pytest.mark.parametrize(
    "parameters",
    [
        {"objective": "reg:quantileerror", "quantile_alpha": 0.7},
        {"grow_policy": "lossguide", "max_leaves": 40, "max_depth": 0, "tree_method": "hist"},
        {"monotone_constraints": "(1,-1,0,0)"},
    ],
    ids=["one quantile", "lossguide", "monotone"],
)
def test_rarer_ways_to_train_end_in_the_same_sums(
    evaluate: Evaluate, parameters: dict[str, Any]
) -> None:
    data = train(rounds=10, **parameters)
    rows = hard_rows(data, 4)
    assert_same_bits(evaluate(data, rows), reference(data, rows))


@pytest.mark.parametrize(
    ("version", "score"),
    [([1, 6, 2], "5E-1"), ([2, 1, 4], "4.577E0"), ([3, 0, 5], "4.577E0"), ([3, 2, 0], "[4.577E0]")],
)
def test_each_age_of_xgboost_writes_base_score_its_own_way(
    evaluate: Evaluate, version: list[int], score: str
) -> None:
    document = json.loads(train(rounds=9))
    document["version"] = version
    document["learner"]["learner_model_param"]["base_score"] = score
    if version[0] == 1:  # This version also wrote them as false and true.
        for tree in document["learner"]["gradient_booster"]["model"]["trees"]:
            tree["default_left"] = [bool(left) for left in tree["default_left"]]
    data = json.dumps(document).encode()
    rows = hard_rows(data, 4)
    assert_same_bits(evaluate(data, rows), reference(data, rows))


@pytest.mark.parametrize("end", ENDS[1:].tolist(), ids=repr)
def test_thresholds_and_leaves_at_the_ends_of_float32(evaluate: Evaluate, end: float) -> None:
    document = json.loads(train(rounds=9))
    document["learner"]["learner_model_param"]["base_score"] = "[0E0]"
    small = end if abs(end) < 1 else 0.5  # The largest values would add up to infinity.
    for tree in document["learner"]["gradient_booster"]["model"]["trees"]:
        tree["split_conditions"] = [
            small * node if left == -1 else end for node, left in enumerate(tree["left_children"])
        ]
    data = json.dumps(document).encode()
    rows = hard_rows(data, 4)
    assert_same_bits(evaluate(data, rows), reference(data, rows))


def test_nodes_that_pruning_deleted_are_never_met(evaluate: Evaluate) -> None:
    data = train(rounds=6, tree_method="exact", gamma=20, max_depth=8)
    deleted = [int(tree["tree_param"]["num_deleted"]) for tree in trees(data)]
    assert any(deleted), "this training should prune, or the test shows nothing"
    rows = hard_rows(data, 4)
    assert_same_bits(evaluate(data, rows), reference(data, rows))


@pytest.mark.parametrize("rounds", [0, 1, 8, 9])
def test_trees_of_a_single_leaf_and_no_trees_at_all(evaluate: Evaluate, rounds: int) -> None:
    data = train(rounds=rounds, min_child_weight=1_000_000)
    assert all(len(tree["left_children"]) == 1 for tree in trees(data))
    rows = hard_rows(data, 4)
    assert_same_bits(evaluate(data, rows), reference(data, rows))


def test_all_trees_answer_for_any_best_iteration(evaluate: Evaluate) -> None:
    booster = xgboost.Booster(model_file=bytearray(train(rounds=10)))
    booster.set_attr(best_iteration="3")
    rows = hard_rows(saved(booster), 4)
    assert_same_bits(evaluate(saved(booster), rows), reference(saved(booster), rows))


def test_an_answer_does_not_depend_on_the_rows_beside_it(library: Path) -> None:
    evaluator = forest.Evaluator(compiled(SHIPPED.read_bytes()), library)
    rows = hard_rows(SHIPPED.read_bytes(), 13)[:200].tolist()
    alone = [evaluator.predict([row])[0] for row in rows]
    for count in (0, 2, 7, 8, 9, 63, 64, 65, 71, 72, 128, 200):
        assert evaluator.predict(rows[:count]) == alone[:count], f"{count} rows at once differ"


def test_an_answer_is_a_float64_that_reads_back_to_its_float32(library: Path) -> None:
    evaluator = forest.Evaluator(compiled(SHIPPED.read_bytes()), library)
    (answer,) = evaluator.predict([[1.0] * 13])
    assert type(answer) is float
    assert float(np.float32(answer)) == json.loads(json.dumps(answer)) == answer


def test_a_row_of_another_width_is_refused_even_if_its_neighbour_makes_up_for_it(
    library: Path,
) -> None:
    evaluator = forest.Evaluator(compiled(train()), library)
    with pytest.raises(ValueError, match="row 0 has 3 values instead of 4"):
        evaluator.predict([[1.0] * 3, [1.0] * 5])


@pytest.mark.parametrize("value", [1e39, -1e39, 3.4028235677973366e38, 1e-46, True, 7, 2**127])
def test_a_row_alone_rounds_every_number_as_rows_in_company_do(library: Path, value: float) -> None:
    evaluator = forest.Evaluator(compiled(train()), library)
    for place in range(4):
        row = [0.25] * 4
        row[place] = value
        assert evaluator.predict([row]) == evaluator.predict([row, row])[:1]


@pytest.mark.parametrize(
    ("row", "error"),
    [
        ([1.0] * 3, ValueError),
        ([1.0] * 5, ValueError),
        ([1.0, 2.0, 3.0, None], TypeError),
        ([1.0, 2.0, 3.0, "4"], TypeError),
        ([1.0, 2.0, 3.0, 10**400], OverflowError),
    ],
    ids=["short", "long", "nothing", "text", "an integer without a float"],
)
def test_a_row_alone_is_refused_as_rows_in_company_are(
    library: Path, row: list[Any], error: type[Exception]
) -> None:
    evaluator = forest.Evaluator(compiled(train()), library)
    good = [0.25] * 4
    (before,) = evaluator.predict([good])
    with pytest.raises(error) as alone:
        evaluator.predict([row])
    with pytest.raises(error) as in_company:
        evaluator.predict([row, good])
    assert str(alone.value) == str(in_company.value)
    assert evaluator.predict([good]) == [before], (
        "leftovers of a refused row count for no other row"
    )


def test_a_long_walk_leaves_the_other_threads_running(library: Path) -> None:
    evaluator = forest.Evaluator(compiled(SHIPPED.read_bytes()), library)
    rows = [[1.0] * 13] * 1_000
    ran, begin = threading.Event(), threading.Event()

    def run() -> None:
        begin.wait()
        ran.set()

    beside = threading.Thread(target=run)
    interval = sys.getswitchinterval()
    try:
        beside.start()
        sys.setswitchinterval(1_000)  # Seconds: nothing asks the holder for the GIL.
        begin.set()
        deadline = time.monotonic() + 60
        while not ran.is_set() and time.monotonic() < deadline:
            assert evaluator.predict(rows) == [*evaluator.predict(rows[:1])] * 1_000
        assert ran.is_set(), "the walk held the GIL"
    finally:
        sys.setswitchinterval(interval)
        begin.set()
        beside.join()


def test_a_tree_may_be_deeper_than_python_recurses(library: Path) -> None:
    document = json.loads(train(rounds=1, width=1, max_depth=1))
    tree = document["learner"]["gradient_booster"]["model"]["trees"][0]
    depth = 20_000  # Node 2i splits into the leaf 2i + 1 and node 2i + 2.
    inner = range(0, 2 * depth, 2)
    tree["left_children"] = [-1] * (2 * depth + 1)
    tree["right_children"] = [-1] * (2 * depth + 1)
    for key in ("split_indices", "default_left", "split_type", "parents"):
        tree[key] = [0] * (2 * depth + 1)
    for key in ("base_weights", "loss_changes", "sum_hessian"):
        tree[key] = [0.0] * (2 * depth + 1)
    tree["tree_param"]["num_nodes"] = str(2 * depth + 1)
    tree["split_conditions"] = [0.0] * (2 * depth) + [7.0]
    for node in inner:
        tree["left_children"][node], tree["right_children"][node] = node + 1, node + 2
    document["learner"]["learner_model_param"]["base_score"] = "[0]"
    evaluator = forest.Evaluator(compiled(json.dumps(document).encode()), library)
    assert evaluator.predict([[1.0], [-1.0], [0.0]]) == [7.0, 0.0, 7.0]


def test_loading_needs_no_package(library: Path, tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(compiled(SHIPPED.read_bytes()))
    code = (
        f"import sys; sys.path.insert(0, {str(EDGE.parent)!r});"
        " from edge.inference.engines import forest;"
        f" from pathlib import Path; file = Path({str(tmp_path / 'model')!r}).read_bytes();"
        f" evaluator = forest.Evaluator(bytearray(file), Path({str(library)!r}));"
        " print(evaluator.predict([[1.0] * 13]))"
    )
    alone = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], check=True, capture_output=True, text=True
    )
    row = np.ones((1, 13), dtype=np.float32)
    assert json.loads(alone.stdout) == reference(SHIPPED.read_bytes(), row).tolist()
