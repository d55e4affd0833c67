"""Every kind of model: the same answers bit for bit as its author's, or a refusal.

models x {json, ubj} x {named, unnamed} x {missing, not} x {early stopped, not}, on rows that have
each threshold and its neighbours.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost
from numpy.typing import NDArray

from edge.inference.engines import forest
from edge.inference.engines.booster import Booster
from edge.inference.model import ModelRefused, Unsupported
from infra.model.xgboost_process import answer
from tests.edge.compiling import compiled
from tests.edge.kinds import KINDS, ROWS, booster, trained
from tests.edge.rows import Rows, assert_same_bits, hard_rows, reference

NAMES = ("width", "age", "mass", "colour")
EXACT = [name for name, kind in KINDS.items() if kind.exact]
ROUNDS, BEST = 9, 3


def found(file: bytearray, library: Path, rows: Rows) -> NDArray[Any]:
    """The device's answers in a batch, and to the first rows alone, which takes another walk."""
    evaluator = forest.Evaluator(file, library)
    answers = np.array(evaluator.predict(rows.tolist()))
    alone = np.array([evaluator.predict([row])[0] for row in rows[:150].tolist()])
    assert alone.tobytes() == answers[:150].tobytes(), "a row's answer depends on its neighbours"
    return answers


@pytest.mark.parametrize("missing", [False, True], ids=["complete", "missing"])
@pytest.mark.parametrize("named", [True, False], ids=["named", "unnamed"])
@pytest.mark.parametrize("form", ["json", "ubj"])
@pytest.mark.parametrize("name", EXACT)
def test_the_device_answers_as_the_author_s_model_does(
    library: Path, name: str, form: str, named: bool, missing: bool
) -> None:
    for best in (None, BEST):
        model = booster(KINDS[name], named=named, missing=missing, best=best, rounds=ROUNDS)
        rows = hard_rows(bytes(model.save_raw("json")), len(NAMES))
        data = bytes(model.save_raw(form))
        file = compiled(data, trees="best")
        kept = (0, BEST + 1 if best is not None else 0)
        assert_same_bits(found(file, library, rows), reference(data, rows, iteration_range=kept))
        facts = forest.Evaluator(file, library).model
        assert facts.feature_names == (NAMES if named else ("f0", "f1", "f2", "f3"))
        assert facts.missing_allowed is missing
        assert facts.objective == KINDS[name].parameters.get("objective", "reg:squarederror")


@pytest.mark.parametrize("name", KINDS)
def test_xgboost_itself_answers_for_every_kind(name: str) -> None:
    model = booster(KINDS[name])
    data = bytes(model.save_raw("ubj"))
    rows = ROWS[:50].copy()
    rows[3, 1] = np.nan
    theirs = reference(data, rows)
    answers = Booster(data).predict(rows.tolist())
    assert_same_bits(np.array(answers), theirs)


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if not kind.exact])
def test_the_rest_is_refused_with_the_engine_that_answers_for_it(name: str) -> None:
    data = bytes(booster(KINDS[name]).save_raw("json"))
    with pytest.raises(Unsupported, match="pulumi config set engine xgboost"):
        compiled(data)


@pytest.mark.parametrize("objective", ["reg:squarederror", "binary:logistic", "count:poisson"])
@pytest.mark.parametrize("rounds", [0, 1])
def test_no_trees_and_trees_of_one_leaf(library: Path, objective: str, rounds: int) -> None:
    kind = next(k for k in KINDS.values() if k.parameters.get("objective") == objective)
    data = bytes(booster(kind, rounds=rounds, min_child_weight=1e6).save_raw("json"))
    assert_same_bits(found(compiled(data), library, ROWS), reference(data, ROWS))


@pytest.mark.parametrize("first", [1, 3])
@pytest.mark.parametrize("name", ["squared error", "dart"])
def test_rounds_that_leave_trees_out_are_refused(name: str, first: int) -> None:
    """If a file gives round 0 its trees, XGBoost answers with those from the third on."""
    document = json.loads(trained(KINDS[name]))
    gbtree = document["learner"]["gradient_booster"]
    gbtree.get("gbtree", gbtree)["model"]["iteration_indptr"][0] = first
    with pytest.raises(ModelRefused, match="rounds of boosting"):
        compiled(json.dumps(document).encode())


def test_the_file_is_the_same_from_either_format_and_every_time() -> None:
    for name in ("squared error", "classes by categories", "dart"):
        model = booster(KINDS[name])
        files = {bytes(compiled(bytes(model.save_raw(form))))[40:] for form in ("json", "ubj")}
        assert len(files) == 1, "but for the name of its source, which is in the first 40 bytes"
        data = bytes(model.save_raw("json"))
        assert compiled(data) == compiled(data)


def test_names_may_have_any_characters(library: Path) -> None:
    model = booster(KINDS["squared error"])
    names = ["temp [C]", "a<b", 'x, y "z"', "größe\n"]
    model.feature_names = None
    data = bytes(model.save_raw("json")).replace(
        b'"feature_names":[]', b'"feature_names":' + json.dumps(names, ensure_ascii=False).encode()
    )
    assert forest.Evaluator(compiled(data), library).model.feature_names == tuple(names)


def a_complete_tree(inner: int) -> bytes:
    """A tree whose last level but one is far from its children."""
    document = json.loads(bytes(booster(KINDS["squared error"], rounds=1).save_raw("json")))
    tree = document["learner"]["gradient_booster"]["model"]["trees"][0]
    nodes = 2 * inner + 1
    tree["left_children"] = [2 * node + 1 for node in range(inner)] + [-1] * (inner + 1)
    tree["right_children"] = [2 * node + 2 for node in range(inner)] + [-1] * (inner + 1)
    tree["parents"] = [2**31 - 1] + [(node - 1) // 2 for node in range(1, nodes)]
    tree["split_indices"] = [node % 4 for node in range(nodes)]
    for key in ("default_left", "split_type"):
        tree[key] = [0] * nodes
    for key in ("split_conditions", "base_weights", "loss_changes", "sum_hessian"):
        tree[key] = [(node % 97) / 50 - 1 for node in range(nodes)]
    tree["tree_param"]["num_nodes"] = str(nodes)
    return json.dumps(document).encode()


def of_many_features() -> tuple[bytes, Rows]:
    rows = np.random.default_rng(0).normal(size=(60, 5_000)).astype(np.float32)
    matrix = xgboost.DMatrix(rows, label=rows[:, 4_500])
    return bytes(xgboost.train({"nthread": 1, "max_depth": 3}, matrix, 2).save_raw("ubj")), rows


@pytest.mark.parametrize(
    ("data", "rows", "far"),
    [
        (a_complete_tree(2**15 - 1), ROWS, False),
        (a_complete_tree(2**16 - 1), ROWS, True),
        (*of_many_features(), True),
    ],
    ids=["16 levels", "17 levels", "5,000 features"],
)
def test_a_tree_that_8_bytes_a_node_cant_hold_has_12(
    library: Path, data: bytes, rows: Rows, far: bool
) -> None:
    file = compiled(data)
    assert bool(forest.HEADER.unpack_from(file)[2] & forest.Flag.FAR) is far
    assert_same_bits(found(file, library, rows), reference(data, rows))


def test_a_question_for_the_best_trees_leaves_a_smaller_model() -> None:
    model = booster(KINDS["class probabilities"], best=BEST, rounds=ROUNDS)
    asked = {"engine": "xgboost", "trees": "best"}
    facts, file = answer(bytes(model.save_raw("ubj")), asked, b"")
    assert (facts["best"], facts["rounds"]) == (BEST + 1, ROUNDS)
    cut = Booster(file)
    assert cut.model.trees == 4 * (BEST + 1)
    kept = reference(bytes(model.save_raw("ubj")), ROWS, iteration_range=(0, BEST + 1))
    assert_same_bits(np.array(cut.predict(ROWS.tolist())), kept)
