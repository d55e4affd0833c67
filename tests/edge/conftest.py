"""The evaluator's C, compiled once a session with the flags that the image is built with."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

ENGINES = Path(__file__).parents[2] / "edge" / "inference" / "engines"


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """libforest.so for this machine; zig's compiler comes from PyPI, so no gcc is assumed."""
    target = tmp_path_factory.mktemp("forest") / "libforest.so"
    # for the C library that the image is built for, which zig brings along: to look for this
    # machine's fails now and then while the machine is busy
    flags = ["-target", f"{platform.machine()}-linux-gnu.2.31"]
    flags += (ENGINES / "forest.flags").read_text().split()
    subprocess.run(
        [sys.executable, "-m", "ziglang", "cc", *flags, "-o", target, *ENGINES.glob("*.c")],
        check=True,
    )
    return target
