"""Makes what a device runs: its model files, without a preview's process, and its C library."""

from __future__ import annotations

import atexit
import json
import platform
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from edge.inference.model import model_id
from edge.inference.settings import Engine
from infra.model.xgboost_process import answer

SHIPPED = Path(__file__).parents[2] / "edge" / "models" / "wine-quality.json"


def compiled_c(target: Path, *arguments: str | Path) -> None:
    """Compile C for this machine. The compiler comes from PyPI, so no gcc is assumed."""
    # The triple names the image's C library, which zig brings along. A search for this machine's
    # library sometimes fails while the machine is busy.
    triple = f"{platform.machine()}-linux-gnu.2.31"
    compiler = [sys.executable, "-m", "ziglang", "cc", "-target", triple]
    subprocess.run([*compiler, "-o", target, *arguments], check=True)


def compiled(data: bytes, *, trees: str = "all") -> bytearray:
    """The compiled forest of a sound model. Raises ModelRefused."""
    return bytearray(answer(data, {"engine": Engine.EVALUATOR, "trees": trees}, b"")[1])


@cache
def shipped(engine: Engine = Engine.EVALUATOR) -> Path:
    """What a device loads for the shipped model."""
    asked = {"engine": engine, "trees": ""}
    folder = Path(tempfile.mkdtemp(prefix="edge-inference-"))
    atexit.register(shutil.rmtree, folder)
    path = folder / "model"
    path.write_bytes(answer(SHIPPED.read_bytes(), asked, b"")[1])
    return path


def answers_of(model: Path, golden: Path) -> None:
    """Give golden answers this file's name: the engines' files differ, their answers don't."""
    wanted = json.loads(golden.read_text())
    golden.write_text(json.dumps({**wanted, "model": model_id(model.read_bytes())}))
