"""The answers that XGBoost itself gives for the samples: what a device must reproduce, bit for bit.

The model is also read by the device's own reader, so that one the device would refuse is refused at
preview, in the reader's words.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.inference import engine, forest
from edge.inference.settings import Engine
from infra.settings import Misconfigured

# The service's peak while it loads, 2026-11-23: 27 MiB for a model of 0.4 MiB, 46 for 3.3, 110 for
# 13 and 195 for 26. With 64 MiB the one of 13 ended in exit 137.
# XGBoost's own library: 64 MiB for 3.2, 210 for 15.3, beside the service; half of it from .ubj.
_MEMORY = {Engine.EVALUATOR: (25, 6.6), Engine.XGBOOST: (40, 15.0)}  # MiB, and MiB for each of them


@dataclass(frozen=True, kw_only=True)
class Golden:
    """A release's questions and answers; predictions are the float64 of XGBoost's float32."""

    model: str
    samples: list[dict[str, float]]
    predictions: list[float]

    def document(self) -> dict[str, Any]:
        """golden.json, as com.ml.check reads it."""
        return {"model": self.model, "predictions": self.predictions}


def check_memory(model: Path, memory: int, engine_name: str = Engine.EVALUATOR) -> None:
    """Raises Misconfigured where a container of so many MiB would be killed while it loads."""
    service, loading = _MEMORY[Engine(engine_name)]
    needed = service + math.ceil(loading * model.stat().st_size / 2**20)
    if memory < needed:
        raise Misconfigured(
            f"model '{model}' takes {needed} MiB to load, and a container has {memory}: the kernel"
            f" would kill it, without a word in its log. `pulumi config set memory {needed}`,"
            " or train fewer or smaller trees"
        )


def golden(model: Path, samples: Path, engine_name: str = Engine.EVALUATOR) -> Golden:
    """Ask XGBoost; raises Misconfigured for a model or samples that a device can't use."""
    data = model.read_bytes()
    if len(data) > engine.MAX_MODEL:
        raise Misconfigured(
            f"model '{model}' has {len(data)} bytes, the device takes {engine.MAX_MODEL} at most:"
            " train fewer or smaller trees"
        )
    try:
        features = _features(data, Engine(engine_name))
    except forest.ModelRefused as error:
        raise Misconfigured(f"the device would refuse model '{model}': {error}") from error
    records = _records(samples, features)
    import numpy as np  # noqa: PLC0415  # with xgboost 1.7 s, which a refusal needn't wait for
    import xgboost  # noqa: PLC0415

    rows = np.array([[record[name] for name in features] for record in records], dtype=np.float32)
    booster = xgboost.Booster(model_file=bytearray(data))
    matrix = xgboost.DMatrix(
        rows,
        feature_names=list(features),
        feature_types=booster.feature_types,  # for categories, which are given by their numbers
        enable_categorical=True,
    )
    predictions = [float(value) for value in booster.predict(matrix)]
    for number, prediction in enumerate(predictions):
        if not math.isfinite(prediction):
            raise Misconfigured(
                f"samples '{samples}', row {number}: XGBoost answers {prediction}, for which JSON"
                " has no number. Take a row nearer to those that the model was trained with"
            )
    return Golden(
        model=hashlib.sha256(data).hexdigest()[:12], samples=records, predictions=predictions
    )


def _features(data: bytes, chosen: Engine) -> tuple[str, ...]:
    """The names by the device's own reader; raises its ModelRefused."""
    return _by_xgboost(data) if chosen is Engine.XGBOOST else forest.read(data).feature_names


_READ = """
import json, sys
from edge.inference.booster import Booster
from edge.inference.forest import ModelRefused
try:
    print(json.dumps(Booster(sys.stdin.buffer.read()).model.feature_names))
except ModelRefused as refused:
    sys.exit(str(refused))
"""


def _by_xgboost(data: bytes) -> tuple[str, ...]:
    """In a process of its own: XGBoost 3.2 ends its process for some files that are none."""
    done = subprocess.run(
        [sys.executable, "-c", _READ],
        env=os.environ | {"PYTHONPATH": str(Path(engine.__file__).parents[2])},
        input=data,
        capture_output=True,
        check=False,
    )
    if done.returncode == 0:
        return tuple(json.loads(done.stdout))
    said = done.stderr.decode(errors="replace").strip()
    raise forest.ModelRefused(
        said if done.returncode == 1 else "XGBoost crashes on it, so it isn't one that it has saved"
    )


def _records(path: Path, features: tuple[str, ...]) -> list[dict[str, float]]:
    try:
        records = json.loads(path.read_bytes())
    except ValueError as error:
        raise Misconfigured(f"samples '{path}' is not JSON: {error}") from error
    if not isinstance(records, list) or not records:
        raise Misconfigured(f"samples '{path}' is not a list of at least one record")
    for number, record in enumerate(records):
        if not isinstance(record, dict):
            raise Misconfigured(f"samples '{path}', row {number}: not a record but {record!r}")
        if set(record) != set(features):
            missing = sorted(set(features) - set(record))
            strange = sorted(set(record) - set(features))
            raise Misconfigured(
                f"samples '{path}', row {number}: not the model's features"
                f" (missing: {missing or 'none'}; not in the model: {strange or 'none'})"
            )
        for name, value in record.items():
            number_like = isinstance(value, int | float) and not isinstance(value, bool)
            if not number_like or not abs(value) <= forest.FLOAT32_MAX:  # NaN is no number either
                raise Misconfigured(
                    f"samples '{path}', row {number}: {name} is {value!r}, not a number that a"
                    " float32 can hold"
                )
    return records
