"""The memory that a container needs to load a model."""

from __future__ import annotations

import math
from pathlib import Path

from edge.inference.settings import Engine
from infra.settings import Misconfigured

# The service's peak in MiB while it loads, by MiB of the unpacked file (2026-11-30): 28.4 for 0.58,
# 31.4 for 2.26, with 3.7 for bzip2. XGBoost's own library: 42.6 for 2.6, 70.8 for 10.1.
# In MiB, and in MiB per MiB of it.
_MEMORY = {Engine.EVALUATOR: (30, 1.2), Engine.XGBOOST: (36, 4.0)}
# It pays for names, indices and rows: 20,000 features took 6.7 MiB, their file 0.5 (2026-11-30).
_FEATURE = 400 / 2**20  # In MiB per feature.


def needed_memory(size: int, engine_name: str = Engine.EVALUATOR, *, features: int) -> int:
    """The MiB that a container needs for a model with so many bytes on the device."""
    service, loading = _MEMORY[Engine(engine_name)]
    return math.ceil(service + loading * size / 2**20 + _FEATURE * features)


def check_memory(
    model: Path, size: int, memory: int, engine_name: str = Engine.EVALUATOR, *, features: int
) -> None:
    """Raise Misconfigured if a container with so many MiB would be killed while it loads."""
    needed = needed_memory(size, engine_name, features=features)
    if memory < needed:
        raise Misconfigured(
            f"model '{model}' takes {needed} MiB to load, and a container has {memory}.",
            "The kernel would kill it, without a word in its log. Train fewer or smaller trees, or"
            " give it more memory:",
            f"pulumi config set memory {needed}",
        )
