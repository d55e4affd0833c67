"""Compiles the evaluator's C once in each session, with the image's flags."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

ENGINES = Path(__file__).parents[2] / "edge" / "inference" / "engines"


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """libforest.so for this machine. zig's compiler comes from PyPI, so no gcc is assumed."""
    target = tmp_path_factory.mktemp("forest") / "libforest.so"
    # The target names the image's C library, which zig brings along. A search for this machine's
    # library sometimes fails while the machine is busy.
    flags = ["-target", f"{platform.machine()}-linux-gnu.2.31"]
    flags += (ENGINES / "forest.flags").read_text().split()
    subprocess.run(
        [sys.executable, "-m", "ziglang", "cc", *flags, "-o", target, *ENGINES.glob("*.c")],
        check=True,
    )
    return target
