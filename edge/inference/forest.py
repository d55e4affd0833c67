"""XGBoost's own JSON, read without XGBoost, walked by a small C library, equal to it bit for bit.

`read` refuses, by name and with a way out, whatever it can't reproduce exactly, and checks every
bound while it reads, since the walk checks none. It needs only the standard library, so whoever
publishes a release refuses a model with the same code as the device that would have to load it.

The answers are `Booster.predict`'s: all trees, whatever `best_iteration` says.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import struct
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from reprlib import repr as short  # a hostile value may be as long as the file
from typing import Any

LIBRARY = Path(__file__).with_name("libforest.so")
FLOAT32_MAX = 3.4028234663852886e38
MISSING_ATTRIBUTE = "missing_values"  # booster.set_attr(missing_values="allowed" or "refused")

_KNOWN_MAJORS = (1, 2, 3)  # of XGBoost: 1.x, 2.x and 3.1+ write base_score in three ways
_SUMS = (  # objectives whose prediction is the plain sum of base score and leaves
    "reg:squarederror",
    "reg:linear",  # what XGBoost called reg:squarederror before 1.0
    "reg:squaredlogerror",
    "reg:absoluteerror",
    "reg:pseudohubererror",
    "reg:quantileerror",
)
_NUMBER = {int, float}  # by type(), as True is an int to isinstance()
_NODE = struct.Struct("=fhH")  # forest.c's Node
_MAX_OFFSET = 2**15 - 1
_BRIEF_STEPS = 100_000  # of walks through the trees, node to node: 0.2 ms (2026-11-23)
_MAX_FEATURES = 2**15 - 1  # two slots each and one for the leaves, numbered by 16 bits
_UBJSON = b"{L"  # where JSON has a quote, the length of the first key
_SAVE_AGAIN = "Save it again with Booster.save_model('model.json')"
_TRAIN_OTHERWISE = "Train it with booster gbtree, one output, numeric features and"


class ModelRefused(ValueError):
    """A file that can't be served exactly; the message says why, and what to do instead."""


class Unsupported(ModelRefused):
    """A sound file, for an evaluator that does more than adding up: XGBoost itself."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"{reason}. Or let XGBoost itself answer, where that is one number a row:"
            " pulumi config set engine xgboost"
        )


@dataclass(frozen=True, kw_only=True)
class Model:
    """A forest as forest.c walks it, and what its users have to know."""

    id: str  # the first 12 hex digits of the file's sha256
    feature_names: tuple[str, ...]
    missing_allowed: bool
    base_score: float
    nodes: bytes
    roots: array[int]
    depths: array[int]

    @property
    def trees(self) -> int:
        return len(self.roots)


def model_id(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:12]


def read(data: bytes) -> Model:
    """The model in a file that `Booster.save_model("….json")` wrote; raises ModelRefused."""
    if data.startswith(_UBJSON):
        raise Unsupported(f"the model is in XGBoost's binary format. {_SAVE_AGAIN}")
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as exc:
        raise ModelRefused(
            f"the model is not JSON ({exc}): cut off, or not XGBoost's. {_SAVE_AGAIN}"
        ) from exc
    try:
        return _model(document, model_id(data))
    except ModelRefused:
        raise
    except (
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as exc:
        raise ModelRefused(
            f"the model is not laid out as XGBoost does it ({type(exc).__name__}: {exc})."
            f" {_SAVE_AGAIN}"
        ) from exc


def _model(document: Any, identity: str) -> Model:
    major = document["version"][0]
    if major not in _KNOWN_MAJORS:
        raise ModelRefused(
            f"the model was saved by XGBoost {short(major)}.x, and how that one writes numbers"
            " isn't known here. Save it with XGBoost 3"
        )
    learner = document["learner"]
    _refuse_unsupported(learner)
    forest = learner["gradient_booster"]["model"]
    features = _features(learner)
    base_score = _base_score(learner["learner_model_param"]["base_score"])
    trees = forest["trees"]
    if len(trees) != int(forest["gbtree_model_param"]["num_trees"]):
        raise ModelRefused(f"the model holds {len(trees)} trees but says otherwise. {_SAVE_AGAIN}")

    nodes, roots, depths = bytearray(), array("i"), array("i")
    largest_sum = abs(base_score)
    for number, tree in enumerate(trees):
        roots.append(len(nodes) // _NODE.size)
        flat = _Tree(number, tree, len(features))
        nodes += flat.nodes
        depths.append(flat.depth)
        largest_sum += flat.largest_leaf
    if largest_sum > FLOAT32_MAX / 2:
        raise Unsupported(
            f"the model's leaves add up to {largest_sum:.3g}: its answers may be infinite, which"
            " JSON can't say. Train it on targets of a smaller scale"
        )
    return Model(
        id=identity,
        feature_names=features,
        missing_allowed=missing_allowed(learner.get("attributes", {})),
        base_score=base_score,
        nodes=bytes(nodes),
        roots=roots,
        depths=depths,
    )


def _refuse_unsupported(learner: Any) -> None:
    """What may be fine with XGBoost, but isn't a sum of one float32 for each tree."""
    reason = ""
    booster, objective = learner["gradient_booster"], learner["objective"]["name"]
    parameters = learner["learner_model_param"]
    if (targets := int(parameters.get("num_target", 1))) > 1:
        raise ModelRefused(
            f"the model has {targets} targets, and an answer is one number a row. Train one model"
            " for each"
        )
    if booster["name"] != "gbtree":
        reason = f"the model's booster is {short(booster['name'])}"
    elif objective not in _SUMS:
        reason = f"the model's objective is {short(objective)}, whose output XGBoost transforms"
    elif int(parameters.get("num_class", 0)) > 1:
        reason = f"the model has {int(parameters['num_class'])} classes"
    elif any(booster["model"]["tree_info"]):
        reason = "the model's trees belong to several outputs"
    elif "c" in (learner.get("feature_types") or []):
        reason = "the model has categorical features"
    if reason:
        raise Unsupported(
            f"{reason}; the device adds up plain regression trees. {_TRAIN_OTHERWISE} one of the"
            f" objectives {', '.join(name for name in _SUMS if name != 'reg:linear')}"
        )


def _features(learner: Any) -> tuple[str, ...]:
    count = int(learner["learner_model_param"]["num_feature"])
    if count < 1:
        raise ModelRefused(f"the model has {count} features. {_SAVE_AGAIN}")
    if count > _MAX_FEATURES:
        raise Unsupported(
            f"the model has {count} features; the device takes at most {_MAX_FEATURES}."
            " Leave out those that no tree asks for"
        )
    names = learner.get("feature_names")
    if not names:
        raise ModelRefused(
            "the model doesn't name its features, and requests ask by name. Train it on a pandas"
            " DataFrame or DMatrix(…, feature_names=[…]), or set Booster.feature_names and save it"
        )
    if _types(names) != {str}:
        raise ModelRefused(f"the model's feature names aren't all text. {_SAVE_AGAIN}")
    if len(names) != count or len(set(names)) != count:
        raise ModelRefused(f"the model's {count} features don't have a name each. {_SAVE_AGAIN}")
    return tuple(names)


def _base_score(saved: Any) -> float:
    """ "5E-1" as 1.x has it, "4.577E0" as 2.x, "[4.577E0]" since 3.1."""
    score = json.loads(saved)
    if isinstance(score, list):
        (score,) = score
    if type(score) not in _NUMBER or not -FLOAT32_MAX <= score <= FLOAT32_MAX:
        raise ModelRefused(f"the model's base score is {short(score)}. {_SAVE_AGAIN}")
    return float(score)


def missing_allowed(attributes: Any) -> bool:
    """Whether a missing value means something to this model, as its author says in the file.

    Every tree sends missing values somewhere, also where training never saw one, so the trees can't
    tell: unless the attribute says so, a request that lacks a feature is refused.
    """
    said = attributes.get(MISSING_ATTRIBUTE, "refused")
    if said not in ("allowed", "refused"):
        raise ModelRefused(
            f"the model's attribute {MISSING_ATTRIBUTE} is {short(said)}, neither 'allowed' nor"
            f" 'refused'. Booster.set_attr({MISSING_ATTRIBUTE}='refused') and save it again"
        )
    return bool(said == "allowed")


def _types(values: list[Any]) -> set[type]:
    if not isinstance(values, list):
        raise TypeError(f"{short(values)} instead of a list")
    return set(map(type, values))


class _Tree:
    """One tree, checked and laid out breadth first: what can't be reached is left behind."""

    def __init__(self, number: int, tree: Any, features: int) -> None:
        self.nodes = bytearray()
        self.depth = 0
        self.largest_leaf = 0.0
        self._number = number
        self._features = features
        if int(tree["tree_param"].get("size_leaf_vector", 1)) > 1:
            raise ModelRefused(
                f"tree {number} has several outputs in a leaf. {_TRAIN_OTHERWISE} multi_strategy"
                " one_output_per_tree"
            )
        if any(tree.get("split_type", [])) or tree.get("categories"):
            raise Unsupported(
                f"tree {number} splits by category. Encode the categories as numbers, one column"
                " each, and train again"
            )
        self._lay_out(
            tree["left_children"],
            tree["right_children"],
            tree["split_indices"],
            tree["split_conditions"],
            tree["default_left"],
        )

    def _lay_out(
        self,
        lefts: list[int],
        rights: list[int],
        features: list[int],
        values: list[float],
        defaults: list[int],
    ) -> None:
        count = len(lefts)
        if {len(rights), len(features), len(values), len(defaults)} != {count}:
            raise self._broken("lists of different lengths")
        if not (_types(lefts) | _types(rights) | _types(features) <= {int}):
            raise self._broken("a node or a feature that isn't a whole number")
        if not (_types(values) <= _NUMBER and set(defaults) <= {0, 1}):  # 1.x: false, true
            raise self._broken("text or nothing where a number belongs")
        order, depths, met = [0], [0], bytearray(count)
        for place, node in enumerate(order):  # which grows while it is walked
            value = values[node]
            if not -FLOAT32_MAX <= value <= FLOAT32_MAX:
                raise self._broken(f"the value {short(value)} at node {node}")
            if lefts[node] == rights[node] == -1:
                self.nodes += _NODE.pack(value, -1, 2 * self._features)
                self.largest_leaf = max(self.largest_leaf, abs(value))
                continue
            for child in (lefts[node], rights[node]):
                if not 0 < child < count or met[child]:
                    raise self._broken(f"node {short(child)} below node {node}")
                met[child] = 1
                depths.append(depths[place] + 1)
            if not 0 <= features[node] < self._features:
                raise self._broken(f"feature {short(features[node])} at node {node}")
            offset = len(order) - place
            if offset > _MAX_OFFSET:
                raise Unsupported(
                    f"tree {self._number} is too large: more than {_MAX_OFFSET} nodes between a"
                    " node and its children. Train with a smaller max_depth or max_leaves"
                )
            slot = features[node] + (self._features if defaults[node] else 0)
            self.nodes += _NODE.pack(value, offset, slot)
            order += (lefts[node], rights[node])
        self.depth = depths[-1]

    def _broken(self, what: str) -> ModelRefused:
        return ModelRefused(f"tree {self._number} is broken: {what}. {_SAVE_AGAIN}")


class _Forest(ctypes.Structure):
    """forest.c's Forest."""

    _fields_ = (
        ("nodes", ctypes.c_void_p),
        ("roots", ctypes.c_void_p),
        ("depths", ctypes.c_void_p),
        ("slots", ctypes.c_void_p),
        ("trees", ctypes.c_int32),
        ("features", ctypes.c_int32),
        ("base_score", ctypes.c_float),
    )


class Evaluator:
    """Rows in, float32 sums out. One call at a time: calls share the slots and the single row."""

    def __init__(self, model: Model, library: Path = LIBRARY) -> None:
        self.model = model
        self._width = len(model.feature_names)
        self._steps = sum(model.depths)
        # Giving the GIL away costs more than a brief walk, keeping it in a long one holds up the
        # threads beside it: PyDLL keeps it, CDLL gives it away.
        keeping, giving = ctypes.PyDLL(str(library)), ctypes.CDLL(str(library))
        self._brief, self._long = keeping.forest_predict, giving.forest_predict
        self._brief.restype = self._long.restype = None
        keeping.forest_slots.restype = ctypes.c_int64
        slots = (ctypes.c_float * keeping.forest_slots(self._width))()
        self._keep = (ctypes.create_string_buffer(model.nodes), model.roots, model.depths, slots)
        self._forest = _Forest(
            nodes=ctypes.addressof(self._keep[0]),
            roots=model.roots.buffer_info()[0],
            depths=model.depths.buffer_info()[0],
            slots=ctypes.addressof(slots),
            trees=model.trees,
            features=self._width,
            base_score=model.base_score,
        )
        self._address = ctypes.c_void_p(ctypes.addressof(self._forest))
        # a single row's buffers are kept, as making them would take half of the call
        self._row, self._sum = (ctypes.c_float * self._width)(), array("f", [0.0])
        self._pack = struct.Struct(f"{self._width}f").pack_into  # rounds as array does
        self._single = self._arguments(ctypes.addressof(self._row), self._sum.buffer_info()[0], 1)
        self._walk_single = self._walk(1)

    def predict(self, rows: Sequence[Sequence[float]]) -> list[float]:
        """The answers to rows of values in the features' order, each as float64 of a float32."""
        if len(rows) == 1:
            try:
                self._pack(self._row, 0, *rows[0])
            except struct.error:
                pass  # told below, where every row is
            else:
                self._walk_single(*self._single)
                return self._sum.tolist()
        for number, row in enumerate(rows):
            if len(row) != self._width:
                raise ValueError(f"row {number} has {len(row)} values instead of {self._width}")
        values = array("f", chain.from_iterable(rows))
        sums = array("f", bytes(4 * len(rows)))
        self._walk(len(rows))(
            *self._arguments(values.buffer_info()[0], sums.buffer_info()[0], len(rows))
        )
        return sums.tolist()

    def _walk(self, rows: int) -> Any:
        """forest.c's forest_predict, which keeps the GIL or gives it away."""
        return self._brief if rows * self._steps <= _BRIEF_STEPS else self._long

    def _arguments(self, rows: int, sums: int, count: int) -> tuple[Any, ...]:
        """forest_predict's, in C's types already: converting them anew is a tenth of a call."""
        addresses = (ctypes.c_void_p(rows), ctypes.c_void_p(sums))
        return (self._address, *addresses, ctypes.c_int64(count))
