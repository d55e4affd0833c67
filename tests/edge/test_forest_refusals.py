"""What the evaluator can't answer exactly is refused by name; what is broken never gets walked.

The walk checks nothing, so whatever `read` lets through must stay inside of its arrays.
"""

from __future__ import annotations

import copy
import json
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.inference import forest

many = settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
NAMES = ["a", "b", "c"]
Change = Callable[[dict[str, Any]], object]


def train(
    *, targets: int = 1, rounds: int = 2, kind: str = "float", names: Any = None, **parameters: Any
) -> bytes:
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 4, (120, 3)).astype(np.float32)
    target = rows.sum(axis=1, keepdims=True) % 3 * np.ones((1, targets), dtype=np.float32)
    if parameters.get("objective", "").startswith("binary"):
        target = target > 1
    matrix = xgboost.DMatrix(
        rows,
        label=target + (parameters.get("objective", "") == "reg:gamma"),
        feature_names=NAMES if names is None else names or None,
        feature_types=[kind] * 3,
        enable_categorical=kind == "c",
        nthread=1,
    )
    asked = {"nthread": 1, "max_depth": 2, "verbosity": 0, **parameters}
    return bytes(xgboost.train(asked, matrix, rounds).save_raw("json"))


PLAIN = train()


def changed(change: Change) -> bytes:
    document = json.loads(PLAIN)
    change(document["learner"])
    return json.dumps(document).encode()


def first_tree(learner: dict[str, Any]) -> Any:
    return learner["gradient_booster"]["model"]["trees"][0]


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ({"booster": "dart"}, "booster is 'dart'"),
        ({"booster": "gblinear"}, "booster is 'gblinear'"),
        ({"kind": "c", "tree_method": "hist"}, "categor"),
        ({"objective": "multi:softprob", "num_class": 3}, "multi:softprob"),
        ({"targets": 2}, "2 targets"),
        ({"targets": 2, "multi_strategy": "multi_output_tree"}, "2 targets"),
        ({"objective": "reg:quantileerror", "quantile_alpha": [0.1, 0.9]}, "2 targets|outputs"),
        ({"objective": "reg:logistic", "base_score": 0.5, "targets": 1}, "reg:logistic"),
        ({"objective": "reg:gamma"}, "reg:gamma"),
        ({"objective": "reg:tweedie"}, "reg:tweedie"),
        ({"objective": "count:poisson"}, "count:poisson"),
        ({"objective": "binary:logistic"}, "binary:logistic"),
        ({"objective": "binary:hinge"}, "binary:hinge"),
        ({"names": []}, "doesn't name its features"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_is_not_a_sum_of_numeric_trees_is_refused_by_name(
    parameters: dict[str, Any], named: str
) -> None:
    if parameters.get("objective") == "reg:logistic":  # its labels lie between 0 and 1
        data = changed(lambda learner: learner["objective"].update(name="reg:logistic"))
    else:
        data = train(**parameters)
    with pytest.raises(forest.ModelRefused, match=named) as refusal:
        forest.read(data)
    assert re.search("Train (it|one model)", str(refusal.value)), "a refusal names the way out"


def _put(key: str, value: Any) -> Change:
    """Change what the first tree says about its root."""
    return lambda learner: first_tree(learner)[key].__setitem__(0, value)


def _is(path: str, value: Any) -> Change:
    def change(learner: dict[str, Any]) -> None:
        *folders, last = path.split(".")
        for folder in folders:
            learner = learner[folder]
        learner[last] = value

    return change


PARAMETERS = "learner_model_param"
MODEL = "gradient_booster.model"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (_put("split_conditions", 1e39), "the value 1e[+]39 at node 0"),
        (_put("split_conditions", float("nan")), "the value nan"),
        (_put("split_conditions", float("-inf")), "the value -inf"),
        (_put("split_conditions", 10**4000), "the value 1000"),
        (_put("split_conditions", "0.5"), "where a number belongs"),
        (_put("split_conditions", None), "where a number belongs"),
        (_put("split_conditions", True), "where a number belongs"),
        (_put("default_left", "no"), "where a number belongs"),
        (_put("default_left", 2), "where a number belongs"),
        (_put("left_children", True), "whole number"),
        (_put("left_children", 1.0), "whole number"),
        (_put("split_indices", 1.0), "whole number"),
        (_put("split_indices", 3), "feature 3 at node 0"),
        (_put("split_indices", -1), "feature -1 at node 0"),
        (_put("left_children", -1), "node -1 below node 0"),
        (_put("right_children", -1), "node -1 below node 0"),
        (_put("left_children", 0), "node 0 below node 0"),
        (_put("left_children", 2), "node 2 below node 0"),
        (_put("right_children", 2**31), "node 2147483648 below node 0"),
        (_put("split_type", 1), "splits by category"),
        (lambda learner: first_tree(learner)["default_left"].pop(), "different lengths"),
        (lambda learner: first_tree(learner).pop("split_conditions"), "split_conditions"),
        (lambda learner: first_tree(learner).update(left_children={}), "different lengths"),
        (lambda learner: first_tree(learner)["tree_param"].update(size_leaf_vector="2"), "leaf"),
        (_is("objective.name", "reg:unheard"), "reg:unheard"),
        (_is("objective.name", ["x"]), "objective"),
        (_is("feature_names", ["a", "b"]), "3 features don't have a name each"),
        (_is("feature_names", ["a", "b", "a"]), "a name each"),
        (_is("feature_names", ["a", "b", 3]), "all text"),
        (_is("feature_names", "abc"), "instead of a list"),
        (_is(f"{PARAMETERS}.num_feature", "40000"), "40000 features"),
        (_is(f"{PARAMETERS}.num_feature", "0"), "0 features"),
        (_is(f"{PARAMETERS}.num_feature", "three"), "not laid out"),
        (_is(f"{PARAMETERS}.num_class", "3"), "3 classes"),
        (_is(f"{PARAMETERS}.base_score", "[1E0,2E0]"), "not laid out"),
        (_is(f"{PARAMETERS}.base_score", "1E39"), "base score"),
        (_is(f"{PARAMETERS}.base_score", "NaN"), "base score is nan"),
        (_is(f"{PARAMETERS}.base_score", "true"), "base score is True"),
        (_is(f"{PARAMETERS}.base_score", "[" * 100_000), "not laid out"),
        (_is(f"{MODEL}.gbtree_model_param.num_trees", "3"), "2 trees but says otherwise"),
        (_is(f"{MODEL}.tree_info", [0, 1]), "several outputs"),
        (_is("attributes", {"missing_values": "maybe"}), "missing_values is 'maybe'"),
    ],
)
def test_a_broken_file_is_refused_and_the_place_named(change: Change, named: str) -> None:
    with pytest.raises(forest.ModelRefused, match=named) as refusal:
        forest.read(changed(change))
    assert len(str(refusal.value)) < 600, "a log line, not a copy of the file"


def test_a_file_of_a_later_xgboost_is_refused_as_it_may_write_numbers_otherwise() -> None:
    document = json.loads(PLAIN)
    document["version"] = [4, 0, 0]
    with pytest.raises(forest.ModelRefused, match=r"XGBoost 4\.x"):
        forest.read(json.dumps(document).encode())


def test_answers_that_could_be_infinite_are_refused_before_anyone_asks() -> None:
    with pytest.raises(forest.ModelRefused, match="add up to"):
        forest.read(changed(_is(f"{PARAMETERS}.base_score", "3E38")))


def test_a_tree_wider_than_a_node_can_reach_is_refused() -> None:
    def widen(learner: dict[str, Any]) -> None:
        tree, inner = first_tree(learner), 2**16 - 1
        nodes = 2 * inner + 1
        tree["left_children"] = [2 * node + 1 for node in range(inner)] + [-1] * (inner + 1)
        tree["right_children"] = [2 * node + 2 for node in range(inner)] + [-1] * (inner + 1)
        for key in ("split_indices", "split_conditions", "default_left", "split_type"):
            tree[key] = [0] * nodes

    with pytest.raises(forest.ModelRefused, match=r"too large.*smaller max_depth"):
        forest.read(changed(widen))


@pytest.mark.parametrize("opening", [b"[", b'{"learner":'])
def test_nesting_without_an_end_is_refused(opening: bytes) -> None:
    with pytest.raises(forest.ModelRefused, match="not JSON"):
        forest.read(opening * 200_000)


def test_xgboosts_binary_format_is_refused_with_the_call_that_saves_the_other() -> None:
    booster = xgboost.Booster(model_file=bytearray(PLAIN))
    with pytest.raises(forest.ModelRefused, match=r"save_model\('model.json'\)"):
        forest.read(bytes(booster.save_raw("ubj")))


def test_a_file_cut_off_anywhere_is_refused() -> None:
    for end in range(len(PLAIN)):
        with pytest.raises(forest.ModelRefused):
            forest.read(PLAIN[:end])


def test_missing_values_are_refused_unless_the_models_author_allows_them() -> None:
    booster = xgboost.Booster(model_file=bytearray(PLAIN))
    assert not forest.read(PLAIN).missing_allowed
    booster.set_attr(missing_values="allowed")
    assert forest.read(bytes(booster.save_raw("json"))).missing_allowed


def read_and_check(data: bytes, library: Path) -> None:
    """Refused, or harmless: no node leads out of its tree, no slot lies beyond the row."""
    try:
        model = forest.read(data)
    except forest.ModelRefused:
        return
    nodes = list(struct.iter_unpack("=fhH", model.nodes))
    ends = [*model.roots[1:], len(nodes)]
    for root, end in zip(model.roots, ends, strict=True):
        for number in range(root, end):
            _, left, slot = nodes[number]
            assert slot <= 2 * len(model.feature_names)
            if left == -1:
                assert slot == 2 * len(model.feature_names), "only what never moves may look back"
            else:
                assert number < number + left < number + left + 1 < end
    width = len(model.feature_names)
    answers = forest.Evaluator(model, library).predict([[0.0] * width, [float("nan")] * width] * 5)
    assert np.isfinite(answers).all()


@many
@given(st.binary(max_size=300) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.sampled_from(["version", "learner", "objective", "name"]), inner),
    max_leaves=12,
).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_what_was_never_a_model_is_refused(data: bytes) -> None:
    with pytest.raises(forest.ModelRefused):
        forest.read(data)


HOSTILE = (
    st.none()
    | st.booleans()
    | st.integers(-3, 70_000)
    | st.integers()
    | st.floats()
    | st.sampled_from(["", "1", "-1", "1e999", "[", "[[]]", "9" * 5_000, "\ud800", [], {}, [[]]])
    | st.lists(st.integers(-2, 8), max_size=8)
)


@many
@given(data=st.data())
def test_any_value_in_any_place_is_refused_or_harmless(library: Path, data: st.DataObject) -> None:
    document = copy.deepcopy(json.loads(PLAIN))
    for _ in range(data.draw(st.integers(1, 3))):
        here = document
        while True:
            keys = sorted(here) if isinstance(here, dict) else range(len(here))
            key = data.draw(st.sampled_from(keys))
            inner = here[key]
            if not isinstance(inner, dict | list) or not inner or data.draw(st.integers(0, 9)) == 0:
                break
            here = inner
        here[key] = copy.deepcopy(data.draw(HOSTILE))  # a later draw may go into it
        if not isinstance(document, dict) or not document:
            break
    read_and_check(json.dumps(document).encode(), library)


@many
@given(place=st.integers(0, len(PLAIN) - 1), byte=st.integers(0, 255))
def test_any_byte_in_any_place_is_refused_or_harmless(library: Path, place: int, byte: int) -> None:
    read_and_check(PLAIN[:place] + bytes([byte]) + PLAIN[place + 1 :], library)
