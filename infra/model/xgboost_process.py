"""Asks XGBoost about a model, in a separate process: python -m infra.model.xgboost_process.

XGBoost trusts its files. Some files end the process that loads them, and others make it run or grow
without an end. So this process has limits and holds no other state. It reads a question from its
input: a line of JSON, rows of float32, the model's file. It writes an answer: a line of JSON and
the device's file. `model_file.py` starts it.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from array import array
from dataclasses import asdict
from typing import Any

from edge.inference.engines.booster import BEST_ATTRIBUTE, Booster
from edge.inference.model import Model, ModelRefused, Unsupported, model_id
from infra.model import ubjson
from infra.model.compiler import compiled

_MIB = 2**20
_STARTS = {  # The first bytes of other formats, and how to convert them to XGBoost's.
    b"\xef\xbb\xbf": "begins with a byte order mark: save it as UTF-8 without one",
    b"\xff\xfe": "is in UTF-16: save it as UTF-8",
    b"\xfe\xff": "is in UTF-16: save it as UTF-8",
    b"\x80": "is a pickle: load it in Python, and call its save_model('model.ubj')",
    b"\x1f\x8b": "is packed by gzip: unpack it",
    b"BZh": "is packed by bzip2: unpack it",
    b"PK": "is a ZIP archive: unpack it",
    b"binf": "is in the old binary format: load it with XGBoost 2, and save_model('model.ubj')",
}


def main() -> None:
    """Answer one question."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # XGBoost's own output must not mix with the answer.
    source = sys.stdin.buffer
    asked = json.loads(source.readline())
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (asked["memory"] * _MIB,) * 2)
    resource.setrlimit(resource.RLIMIT_CPU, (asked["seconds"],) * 2)
    rows = source.read(asked["bytes"])
    file = b""
    try:
        found, file = answer(source.read(), asked, rows)
    except ModelRefused as refused:
        found = {"refused": str(refused)}
    answers.write(json.dumps(found).encode() + b"\n" + file)
    answers.close()


def answer(data: bytes, asked: dict[str, Any], rows: bytes) -> tuple[dict[str, Any], bytes]:
    """The model's facts, the device's file, and the model's answers to the rows."""
    for start, what in _STARTS.items():
        if data.startswith(start):
            raise ModelRefused(f"the file {what}")
    if not data.startswith(b"{"):
        raise ModelRefused(
            "the file is neither JSON nor UBJSON, or is cut off. Save the model:"
            "\n    Booster.save_model('model.ubj')"
        )
    booster = Booster(data)
    rounds, best = booster.rounds(), booster.attributes.get(BEST_ATTRIBUTE, "")
    kept = int(best) + 1 if best.isdecimal() else rounds
    cut = kept < rounds and asked["trees"] == "best"
    if cut:
        booster = Booster(booster.cut(kept))
    file = booster.saved()
    document = ubjson.parse(file)
    found: dict[str, Any] = {
        "model": asdict(booster.model),
        "booster": document["learner"]["gradient_booster"]["name"],
        "rounds": rounds,
        "best": kept if kept < rounds else None,
        "unsupported": None,
    }
    try:
        base_scores = _base_scores(document, booster.model)
        source = model_id(data)
        forest = compiled(document, booster.model, base_scores, source)
        found |= {"depth": forest.depth, "nodes": forest.nodes, "forest": len(forest.data)}
        if asked["engine"] == "evaluator":
            file = forest.data
    except Unsupported as unsupported:
        if asked["engine"] == "evaluator":
            raise
        found["unsupported"] = unsupported.reason
    if rows:
        values = array("f", rows)
        found["predictions"] = booster.predicted(
            values, len(values) // len(booster.model.feature_names)
        )
    return found, file


def _base_scores(document: Any, model: Model) -> list[float]:
    """The base scores as margins, computed by XGBoost with trees that add nothing.

    The file has them as predictions. XGBoost takes their logarithms if the objective needs it.
    """
    learner = document["learner"]
    booster = learner["gradient_booster"]
    if booster["name"] not in ("gbtree", "dart"):
        return []
    columns = len(model.feature_names)
    outputs = max(int(learner["learner_model_param"][key]) for key in ("num_class", "num_target"))
    # A model without trees has margins of its own kind.
    leaves = range(max(1, outputs) if model.trees else 0)
    bare: dict[str, Any] = {
        "model": {
            "gbtree_model_param": {"num_parallel_tree": "1", "num_trees": str(len(leaves))},
            "iteration_indptr": sorted({0, len(leaves)}),
            "tree_info": list(leaves),
            "trees": [_leaf(number, columns) for number in leaves],
            "cats": {"enc": [], "feature_segments": [], "sorted_idx": []},
        },
        "name": "gbtree",
    }
    emptied = {
        "learner": {
            "attributes": {},
            "feature_names": [],
            "feature_types": [],
            "gradient_booster": bare,
            "learner_model_param": learner["learner_model_param"],
            "objective": learner["objective"],
        },
        "version": [int(number) for number in document["version"]],
    }
    nothing = Booster(json.dumps(emptied).encode())
    return nothing.predicted(array("f", bytes(4 * columns)), 1, margins=True)


def _leaf(number: int, columns: int) -> dict[str, Any]:
    """A tree of -0.0. Adding it changes no number, not even the sign of a zero."""
    values = {"split_conditions": -0.0, "base_weights": 0.0, "loss_changes": 0.0}
    values |= {"sum_hessian": 0.0, "left_children": -1, "right_children": -1}
    values |= {"parents": 2**31 - 1, "split_indices": 0, "split_type": 0, "default_left": 0}
    sizes = {"num_deleted": 0, "num_feature": columns, "num_nodes": 1, "size_leaf_vector": 1}
    return {
        **{key: [value] for key, value in values.items()},
        **{f"categories{key}": [] for key in ("", "_nodes", "_segments", "_sizes")},
        "tree_param": {key: str(size) for key, size in sizes.items()},
        "id": number,
    }


if __name__ == "__main__":
    main()
