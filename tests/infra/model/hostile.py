"""Damages model files and reports the outcome: python hostile.py SEED COUNT LIBRARY FOLDER.

It prints a line of JSON for each file. Each file is read in a process of its own, since XGBoost
crashes on some. FOLDER gets the first file of each outcome, and each file that is accepted and
shouldn't be.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from edge.inference.engines import forest
from edge.inference.model import ModelRefused
from infra.model.xgboost_process import answer
from tests.edge.test_older_versions import archive, numbers

KINDS = ("squared-error", "categories", "softprob", "dart", "forest", "binary")
ROWS = 100
ODD: tuple[Any, ...] = (
    *(-1, -2, 0, 1, 2, 3, 7, 1000, 2**31 - 1, 2**31, -(2**31), 2**40, 1e39, -1e39, 1.5),
    *(float("nan"), float("inf"), "x", None, [], True),
)
OF_A_NODE = (
    *("left_children", "right_children", "split_indices", "split_conditions", "default_left"),
    *("split_type", "parents", "base_weights", "sum_hessian"),
)
OF_CATEGORIES = ("categories", "categories_nodes", "categories_segments", "categories_sizes")


def main(seed: int, count: int, library: Path, folder: Path) -> None:
    random = Random(seed)  # noqa: S311  # repeatable, not secret
    met: set[str] = set()
    for number in range(count):
        files = archive("3.2.0")[random.choice(KINDS)]["named-missing"]
        rows = numbers(json.loads(files["cell.json"])["rows"])[: 3 * ROWS]
        data = damaged(random, files[random.choice(("model.json", "model.ubj"))])
        outcome, said = apart(lambda data=data, rows=rows: became(data, rows, library))  # type: ignore[misc]
        if outcome not in met or outcome in ("differs", "refused by the device"):
            met.add(outcome)
            (folder / f"{outcome}.{number}".replace(" ", "-")).write_bytes(data)
        print(json.dumps({"number": number, "outcome": outcome, "said": said}))


def became(data: bytes, rows: Any, library: Path) -> tuple[str, str]:
    """Whether a preview accepts the file, and whether the device then answers as XGBoost does."""
    try:
        found, file = answer(data, {"engine": "evaluator", "trees": "all"}, rows.tobytes())
    except ModelRefused as refused:
        return "refused", str(refused)
    except Exception as error:  # model_file.py makes a line of it.
        return "refused by its layout", repr(error)
    try:
        evaluator = forest.Evaluator(bytearray(file), library)
    except ModelRefused as refused:
        return "refused by the device", str(refused)
    width = len(evaluator.model.feature_names)
    whole = rows[: len(rows) // width * width].reshape(-1, width)
    ours = np.array(evaluator.predict(whole.tolist()), "f4").ravel()
    theirs = np.array(found["predictions"], "f4")
    return "equal" if ours.tobytes() == theirs.tobytes() else "differs", ""


def apart(do: Callable[[], tuple[str, str]]) -> tuple[str, str]:
    """The result of a function in a process of its own, which it may crash."""
    source, target = os.pipe()
    child = os.fork()
    if not child:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (3 << 30,) * 2)
        resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
        os.write(target, json.dumps(do()).encode()[:60_000])
        os._exit(0)
    os.close(target)
    with os.fdopen(source, "rb") as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return f"ended by {signal.Signals(os.WTERMSIG(status)).name}", ""
    outcome, text = json.loads(said)
    return outcome, text


def damaged(random: Random, data: bytes) -> bytes:
    """The file with damage to its numbers, if it is JSON, or to any of its bytes."""
    if data[1:2] == b'"' and random.random() < 0.7:
        document = json.loads(data)
        for _ in range(random.randint(1, 2)):
            _misstate(random, document["learner"])
        return json.dumps(document).encode()
    found = bytearray(data)
    for _ in range(random.randint(1, 3)):
        _cut(random, found, random.randrange(len(found)))
        if len(found) < 2:
            found = bytearray(b"{}")
    return bytes(found)


def _misstate(random: Random, learner: Any) -> None:
    booster = learner["gradient_booster"]
    model = booster.get("gbtree", booster)["model"]
    tree, odd = random.choice(model["trees"]), random.choice(ODD)
    texts = random.choice(
        [tree["tree_param"], model["gbtree_model_param"], learner["learner_model_param"]]
    )
    numbers = random.choice(
        [
            *[tree[random.choice(OF_A_NODE)]] * 4,
            *(model["tree_info"], model["iteration_indptr"], tree[random.choice(OF_CATEGORIES)]),
        ]
    )
    place = random.randrange(len(numbers) or 1)
    match random.randrange(10):
        case 0 | 1:
            texts[random.choice(list(texts))] = str(odd)
        case 2:
            del numbers[place : place + 1]
        case 3:
            numbers.insert(place, odd)
        case _:
            numbers[place : place + 1] = [odd]


def _cut(random: Random, found: bytearray, at: int) -> None:
    match random.randrange(6):
        case 0:
            found[at] = random.randrange(256)
        case 1:
            del found[at:]
        case 2:
            found[at : at + 4] = struct.pack(">i", random.choice([-1, 2**31 - 1, -(2**31), 0]))
        case 3:
            found[at : at + 8] = struct.pack(">q", random.choice([-1, 2**62, 1 << 33]))
        case 4:
            deep = random.choice([b"[", b"{", b"[$d#L", b"[#L"]) * random.choice([1, 3, 5000])
            found[at:at] = deep
        case _:
            del found[at : at + random.randint(1, 9)]


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]))
