"""Compiles XGBoost's model into the file that a device maps: docs/model-format.md.

The same model gives the same bytes on every machine and from each of XGBoost's formats. The
bucket's keys and the component versions are made from these bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.inference.engines.forest import (
    BY_CATEGORY,
    FORMAT,
    HEADER,
    LENGTH,
    MAGIC,
    MAX_NEAR_FEATURES,
    MAX_NEAR_OFFSET,
    MISSING_LEFT,
    Flag,
    Transform,
)
from edge.inference.model import FLOAT32_MAX, Model, ModelRefused, Unsupported

TRANSFORMS = {  # For each objective of XGBoost 3.2, by XGBoost's names.
    "reg:squarederror": Transform.SUM,
    "reg:linear": Transform.SUM,  # XGBoost's name of reg:squarederror before 1.0.
    "reg:squaredlogerror": Transform.SUM,
    "reg:absoluteerror": Transform.SUM,
    "reg:pseudohubererror": Transform.SUM,
    "reg:quantileerror": Transform.SUM,
    "rank:pairwise": Transform.SUM,
    "rank:ndcg": Transform.SUM,
    "rank:map": Transform.SUM,
    "binary:logitraw": Transform.SUM,
    "reg:logistic": Transform.SIGMOID,
    "binary:logistic": Transform.SIGMOID,
    "count:poisson": Transform.EXPONENTIAL,
    "reg:gamma": Transform.EXPONENTIAL,
    "reg:tweedie": Transform.EXPONENTIAL,
    "survival:cox": Transform.EXPONENTIAL,
    "survival:aft": Transform.EXPONENTIAL_OF_DOUBLE,
    "binary:hinge": Transform.HINGE,
    "multi:softmax": Transform.SOFTMAX,
    "multi:softprob": Transform.SOFTPROB,
}
_NEAR = np.dtype([("value", "<f4"), ("left", "<i2"), ("slot", "<u2")])
_FAR = np.dtype([("value", "<f4"), ("left", "<i4"), ("feature", "<u4")])
_TREE = np.dtype([("root", "<u4"), ("depth", "<u4"), ("output", "<u4")])

Numbers = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Compiled:
    """The device's file, and facts about the forest for people."""

    data: bytes
    depth: int
    nodes: int


def compiled(document: Any, model: Model, base_scores: Sequence[float], source: str) -> Compiled:
    """The file of a document (ubjson.parse) whose base scores are margins. Raises ModelRefused."""
    learner = document["learner"]
    if (booster := learner["gradient_booster"]["name"]) not in ("gbtree", "dart"):
        raise Unsupported(f"the model's booster is {booster}, and the evaluator walks trees")
    if model.objective not in TRANSFORMS:
        raise Unsupported(f"what XGBoost does for objective {model.objective} isn't known here")
    gbtree = learner["gradient_booster"]
    forest = (gbtree["gbtree"] if booster == "dart" else gbtree)["model"]
    rounds = [int(first) for first in forest["iteration_indptr"]]
    if rounds and (
        rounds != sorted(rounds) or (rounds[0], rounds[-1]) != (0, len(forest["trees"]))
    ):
        # XGBoost itself would answer with the trees in between, without an error.
        raise ModelRefused(
            "the rounds of boosting don't go from the first tree to the last. Save the model again:"
            "\n    Booster.save_model('model.ubj')"
        )
    weights = np.asarray(gbtree.get("weight_drop", []), "f4")
    outputs, columns = np.asarray(forest["tree_info"], int), len(model.feature_names)
    if ((outputs < 0) | (outputs >= len(base_scores))).any():
        raise ModelRefused(
            "a tree is for an output that the model doesn't have. Save the model again:"
            "\n    Booster.save_model('model.ubj')"
        )
    trees = [
        _Tree(number, tree, columns, weights[number] if booster == "dart" else None)
        for number, tree in enumerate(forest["trees"])
    ]
    _refuse_infinite(trees, outputs, base_scores)
    far = columns > MAX_NEAR_FEATURES or any(tree.far for tree in trees)
    categories = _Categories()
    nodes = [tree.far_nodes(categories) if far else tree.near_nodes(columns) for tree in trees]
    table = np.zeros(len(trees), _TREE)
    table["root"] = np.cumsum([0, *map(len, nodes)])[: len(trees)]
    table["depth"], table["output"] = [tree.depth for tree in trees], outputs
    flags = (Flag.FAR if far else 0) | (Flag.MISSING_ALLOWED if model.missing_allowed else 0)
    text = _packed([model.objective, *model.feature_names, *model.feature_types])
    parts = [
        np.array(base_scores, "<f4").tobytes(),
        table.tobytes(),
        *(each.tobytes() for each in nodes),
        np.array(categories.words, "<u4").tobytes(),
        text,
    ]
    header = HEADER.pack(
        MAGIC,
        FORMAT,
        flags,
        HEADER.size + sum(map(len, parts)),
        source.encode(),
        columns,
        len(base_scores),
        len(trees),
        sum(map(len, nodes)),
        len(categories.words),
        TRANSFORMS[model.objective],
        len(text),
        0,
    )
    return Compiled(
        data=b"".join([header, *parts]),
        depth=max((tree.depth for tree in trees), default=0),
        nodes=sum(map(len, nodes)),
    )


class _Tree:
    """One tree, checked and laid out breadth first, without unreachable nodes."""

    def __init__(self, number: int, tree: Any, columns: int, weight: Any) -> None:
        self._number = number
        if int(tree["tree_param"].get("size_leaf_vector", 1)) > 1:
            raise Unsupported(f"tree {number} has several outputs in a leaf")
        left = np.asarray(tree["left_children"], int)
        order, self.depth = self._order(left, np.asarray(tree["right_children"], int))
        inner = left[order] != -1
        self.leaf = ~inner
        places = np.flatnonzero(inner)
        self.left = np.full(len(order), -1)
        self.left[places] = 1 + 2 * np.arange(len(places)) - places
        self.value = np.asarray(tree["split_conditions"], "f4")[order]
        if weight is not None:
            # XGBoost multiplies dart's weight in float32, and then adds.
            self.value[self.leaf] *= weight
        self.feature = np.where(inner, np.asarray(tree["split_indices"], int)[order], 0)
        self.missing_left = inner & (np.asarray(tree["default_left"], int)[order] != 0)
        kinds = np.asarray(tree["split_type"], int)[order]
        if (inner & (kinds != 0) & (kinds != 1)).any():
            raise self._broken("a split is neither by number nor by category")
        self.by_category = inner & (kinds == 1)
        if (self.feature >= columns).any() or (self.feature < 0).any():
            raise self._broken("it asks for a feature that the model doesn't have")
        if not np.isfinite(self.value[~self.by_category]).all():
            raise Unsupported(f"tree {number} has a threshold or a leaf that isn't finite")
        self._order_of = order
        self._sets = self._chosen(tree) if self.by_category.any() else {}

    @property
    def far(self) -> bool:
        """Whether its nodes need more than 8 bytes."""
        return bool(self._sets) or bool((self.left > MAX_NEAR_OFFSET).any())

    @property
    def largest_leaf(self) -> float:
        return float(np.abs(self.value[self.leaf]).max())

    def near_nodes(self, columns: int) -> Numbers:
        nodes = np.zeros(len(self.value), _NEAR)
        nodes["value"], nodes["left"] = self.value, self.left
        slots = self.feature + np.where(self.missing_left, columns, 0)
        nodes["slot"] = np.where(self.leaf, 2 * columns, slots)
        return nodes

    def far_nodes(self, categories: _Categories) -> Numbers:
        nodes = np.zeros(len(self.value), _FAR)
        nodes["value"], nodes["left"] = self.value, self.left
        nodes["feature"] = (
            self.feature
            | np.where(self.missing_left, MISSING_LEFT, 0)
            | np.where(self.by_category, BY_CATEGORY, 0)
        )
        bits = nodes["value"].view("<u4")
        for place in np.flatnonzero(self.by_category):
            bits[place] = categories.place(self._sets.get(int(self._order_of[place]), ()))
        return nodes

    def _order(self, left: Numbers, right: Numbers) -> tuple[Numbers, int]:
        """The nodes level by level, and the number of levels below the root."""
        levels, met = [np.array([0])], 1
        while True:
            level = levels[-1]
            parents = level[left[level] != -1]
            if (right[level][left[level] == -1] != -1).any():
                raise self._broken("a node has one child")
            if not len(parents):
                break
            # XGBoost's own walk takes the node after the left child, and ignores the file's right
            # child.
            if (right[parents] != left[parents] + 1).any():
                raise self._broken("two siblings aren't neighbours")
            children = np.stack([left[parents], right[parents]], axis=1).ravel()
            met += len(children)
            if children.min() < 1 or children.max() >= len(left) or met > len(left):
                raise self._broken("a node's child is not below it")
            levels.append(children)
        order = np.concatenate(levels)
        if len(np.unique(order)) != len(order):
            raise self._broken("two nodes have one child")
        return order, len(levels) - 1

    @staticmethod
    def _chosen(tree: Any) -> dict[int, tuple[int, ...]]:
        """The categories that go right, for each node."""
        ends = zip(
            tree["categories_nodes"],
            tree["categories_segments"],
            tree["categories_sizes"],
            strict=True,
        )
        return {
            int(node): tuple(int(one) for one in tree["categories"][start : start + size])
            for node, start, size in ends
        }

    def _broken(self, what: str) -> ModelRefused:
        return ModelRefused(
            f"tree {self._number} is broken: {what}. Save the model again:"
            "\n    Booster.save_model('model.ubj')"
        )


@dataclass
class _Categories:
    """Sets of categories as bits, each set once: the count of words, then the words."""

    words: list[int] = field(default_factory=list)
    _places: dict[tuple[int, ...], int] = field(default_factory=dict)

    def place(self, chosen: tuple[int, ...]) -> int:
        if chosen not in self._places:
            self._places[chosen] = len(self.words)
            bits = [0] * (max(chosen, default=-1) // 32 + 1)
            for category in chosen:
                bits[category // 32] |= 1 << category % 32
            self.words += [len(bits), *bits]
        return self._places[chosen]


def _refuse_infinite(
    trees: Sequence[_Tree], outputs: Numbers, base_scores: Sequence[float]
) -> None:
    largest = np.abs(np.array(base_scores, float))
    for tree, output in zip(trees, outputs, strict=True):
        largest[output] += tree.largest_leaf
    if not (largest <= FLOAT32_MAX / 2).all():
        raise Unsupported(
            f"the model's leaves add up to {largest.max():.3g}: its answers may be infinite, which"
            " JSON can't say. Train it on targets of a smaller scale"
        )


def _packed(texts: Iterable[str]) -> bytes:
    encoded = [text.encode() for text in texts]
    return b"".join(LENGTH.pack(len(text)) + text for text in encoded)
