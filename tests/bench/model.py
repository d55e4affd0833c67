"""The shipped model in the form of each evaluator, and rows to ask it about."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import xgboost

from edge.inference.engines import forest
from edge.inference.model import FLOAT32_MAX, Model
from infra.model.xgboost_process import answer

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "edge" / "models" / "wine-quality.json"
SAMPLES = ROOT / "edge" / "consumer" / "samples.json"
ENGINES = ROOT / "edge" / "inference" / "engines"
MEMORY = 96  # MiB of the container, as in Pulumi.yaml. Pulumi itself is not in .venv-bench.

Rows = np.ndarray[Any, np.dtype[np.float32]]


@cache
def scratch() -> Path:
    """A folder for this run's files, in the operating system's temporary folder."""
    return Path(tempfile.mkdtemp(prefix="edge-inference-bench-"))


@cache
def compiled() -> bytes:
    """The file that a device loads."""
    return answer(MODEL.read_bytes(), {"engine": "evaluator", "trees": ""}, b"")[1]


@cache
def model() -> Model:
    return evaluator().model


@cache
def evaluator() -> forest.Evaluator:
    """Our evaluator, compiled with the image's flags."""
    library = scratch() / "libforest.so"
    flags = (ENGINES / "forest.flags").read_text().split()
    compile_c([*flags, "-o", library, *ENGINES.glob("*.c")])
    return forest.Evaluator(bytearray(compiled()), library)


def compile_c(arguments: list[str | Path]) -> None:
    subprocess.run([sys.executable, "-m", "ziglang", "cc", *arguments], check=True)


def booster(threads: int | None = None) -> xgboost.Booster:
    loaded = xgboost.Booster(model_file=str(MODEL))
    if threads:
        loaded.set_param({"nthread": threads})
    return loaded


def samples() -> list[dict[str, float]]:
    found: list[dict[str, float]] = json.loads(SAMPLES.read_text())
    return found


def expected(records: list[dict[str, float]]) -> list[float]:
    """XGBoost's own answers, as the float64 of each float32."""
    rows = [[record[name] for name in model().feature_names] for record in records]
    predicted: list[float] = booster().inplace_predict(np.array(rows, dtype="f4")).tolist()
    return predicted


def ordinary_rows(count: int) -> Rows:
    """Rows between the model's own thresholds, so that they take every way through the trees."""
    return _drawn(_thresholds(), count, np.random.default_rng(1))


def hard_rows(count: int, seed: int = 2) -> Rows:
    """Thresholds and their neighbours, NaN, both zeros, denormals, the largest and infinities."""
    special = np.array(
        [np.nan, 0.0, -0.0, 1e-45, -1e-45, 1e-39, FLOAT32_MAX, -FLOAT32_MAX],
        dtype="f4",
    )
    infinities = np.array([np.inf, -np.inf], dtype="f4")
    pools = [
        np.concatenate(
            [
                each,
                np.nextafter(each, infinities[0]),
                np.nextafter(each, infinities[1]),
                np.repeat(special, max(1, len(each) // 16)),
                infinities,
            ]
        )
        for each in _thresholds()
    ]
    return _drawn(pools, count, np.random.default_rng(seed))


def _thresholds() -> list[Rows]:
    """Thresholds by feature: the float32 with which XGBoost compares."""
    found: list[list[float]] = [[0.5] for _ in model().feature_names]
    trees = json.loads(MODEL.read_bytes())["learner"]["gradient_booster"]["model"]["trees"]
    for tree in trees:
        for left, feature, value in zip(
            tree["left_children"], tree["split_indices"], tree["split_conditions"], strict=True
        ):
            if left != -1:
                found[feature].append(value)
    return [np.array(values, dtype="f4") for values in found]


def _drawn(pools: list[Rows], count: int, random: np.random.Generator) -> Rows:
    columns = [random.choice(pool, count) for pool in pools]
    return np.ascontiguousarray(np.stack(columns, axis=1))
