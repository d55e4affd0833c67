"""Compiles the evaluator's C once in each session, with the image's flags."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.edge.compiling import compiled_c

ENGINES = Path(__file__).parents[2] / "edge" / "inference" / "engines"


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """libforest.so for this machine."""
    target = tmp_path_factory.mktemp("forest") / "libforest.so"
    flags = (ENGINES / "forest.flags").read_text().split()
    compiled_c(target, *flags, *ENGINES.glob("*.c"))
    return target
