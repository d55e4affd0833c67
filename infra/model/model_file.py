"""Reads a model file with XGBoost itself, and returns the device's file.

XGBoost runs in a separate process (xgboost_process.py) with limits of time and memory. If a file
makes it crash, run or grow without an end, the error is one line that names the file.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.inference.engines import loader
from edge.inference.model import Model
from infra.settings import Misconfigured

_ROOT = Path(__file__).resolve().parents[2]
# 26 MiB of JSON took 4 s, and 0.5 GiB of address space more than XGBoost itself (2026-11-30).
_SECONDS, _SECONDS_EACH_MIB = 60, 4
_MIB, _MIB_EACH_MIB = 2048, 40
_SAVE = "Booster.save_model('model.ubj')"


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A model's facts, the device's file, and XGBoost's answers to some rows."""

    model: Model
    file: bytes  # The compiled forest, or XGBoost's file for engine xgboost.
    booster: str  # One of gbtree, dart and gblinear.
    rounds: int  # The rounds of boosting in the file.
    best: int | None  # The rounds up to the best, if early stopping left more.
    depth: int | None = None  # The depth of the deepest tree.
    nodes: int | None = None
    forest: int | None = None  # The bytes of the compiled forest.
    unsupported: str | None = None  # The reason why the evaluator can't use it.
    predictions: tuple[float, ...] = ()  # The numbers of all rows, row by row.


def read(path: Path, *, engine_name: str, trees: str = "", rows: bytes = b"") -> Reading:
    """Ask XGBoost. `rows` are float32 in the model's order, NaN if missing. Raises Misconfigured.

    `trees` is the config key: "best" leaves out the rounds after the best one.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise Misconfigured(
            f"model '{path}' can't be read: {error.strerror}.",
            "",
            f"ls -l {shlex.quote(str(path))}",
        ) from error
    if len(data) > loader.MAX_MODEL:
        raise Misconfigured(
            f"model '{path}' has {len(data)} bytes; a release takes {loader.MAX_MODEL}.",
            "Train fewer or smaller trees.",
        )
    mebibytes = len(data) >> 20
    seconds = _SECONDS + _SECONDS_EACH_MIB * mebibytes
    memory = _MIB + _MIB_EACH_MIB * mebibytes
    asked = {"engine": engine_name, "trees": trees, "bytes": len(rows)}
    question = json.dumps({**asked, "seconds": seconds, "memory": memory}).encode() + b"\n"
    try:
        done = subprocess.run(
            [sys.executable, "-m", "infra.model.xgboost_process"],
            env=os.environ | {"PYTHONPATH": str(_ROOT), "OMP_NUM_THREADS": "1"},
            input=question + rows + data,
            capture_output=True,
            check=False,
            # This is clock time. The process also limits its own processor time.
            timeout=2 * seconds,
        )
    except subprocess.TimeoutExpired as error:
        raise _endless(path, seconds) from error
    if done.returncode:
        raise _ended(path, done, seconds, memory)
    line, _, file = done.stdout.partition(b"\n")
    found = json.loads(line)
    if "refused" in found:
        raise Misconfigured(f"model '{path}' can't be released.", found["refused"])
    return _reading(found, file)


def _reading(found: dict[str, Any], file: bytes) -> Reading:
    model = found.pop("model")
    for field in ("feature_names", "feature_types"):
        model[field] = tuple(model[field])
    found["predictions"] = tuple(found.get("predictions", ()))
    return Reading(model=Model(**model), file=file, **found)


def _ended(
    path: Path, done: subprocess.CompletedProcess[bytes], seconds: int, memory: int
) -> Misconfigured:
    """Why there is no answer."""
    if done.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
        return _endless(path, seconds)
    said = done.stderr.decode(errors="replace").strip().splitlines() or [""]
    if "MemoryError" in said[-1] or "bad_alloc" in said[-1]:
        return Misconfigured(
            f"model '{path}' takes more than {memory} MiB to read.",
            "A sound file of its size doesn't. Save it again:",
            _SAVE,
        )
    if done.returncode < 0:
        return Misconfigured(
            f"model '{path}' makes XGBoost crash ({signal.Signals(-done.returncode).name}).",
            "It is damaged, or an older XGBoost trained it with multi_output_tree. Save it again,"
            " or train it again with multi_strategy='one_output_per_tree':",
            _SAVE,
        )
    return Misconfigured(
        f"model '{path}' is not laid out as XGBoost lays it out ({said[-1]}).",
        "Save it again:",
        _SAVE,
    )


def _endless(path: Path, seconds: int) -> Misconfigured:
    return Misconfigured(
        f"model '{path}' keeps XGBoost busy for more than {seconds} s.",
        "A sound file of its size doesn't. Save it again:",
        _SAVE,
    )
