"""A model that a container can't load is refused before it is published."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.model.golden import golden
from infra.model.memory import check_memory
from infra.settings import Misconfigured
from tests.infra.pulumi_yaml import declared

MODEL = Path("edge/models/wine-quality.json")


@pytest.mark.parametrize(
    ("engine_name", "mebibytes", "features", "needed"),
    [("evaluator", 8, 11, 40), ("xgboost", 8, 11, 69), ("evaluator", 1, 20_000, 39)],
)
def test_a_model_that_the_container_cannot_load_is_refused_with_the_memory_that_it_takes(
    engine_name: str, mebibytes: int, features: int, needed: int
) -> None:
    said = (Path("model.json"), mebibytes << 20)
    with pytest.raises(Misconfigured, match=f"The kernel would kill it.*\n.*set memory {needed}"):
        check_memory(*said, needed - 1, engine_name, features=features)
    check_memory(*said, needed, engine_name, features=features)


def test_the_shipped_model_loads_in_the_memory_that_a_container_has_unasked() -> None:
    size = len(golden(MODEL, Path("edge/consumer/samples.json")).file)
    check_memory(MODEL, size, declared()["memory"]["default"], features=13)
