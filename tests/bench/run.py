"""Runs the benchmarks in order, and writes the table to the console and docs/benchmarks.md."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from greenhouse import toolchain
from greenhouse.toolchain.progress import Progress
from tests.bench import images, ipc, limit, model, soak, supervising, table
from tests.bench.evaluating import common_way, evaluator
from tests.bench.table import Row

DOCUMENT = model.ROOT / "docs" / "benchmarks.md"
COMPARED = (
    "xgboost-cpu", "onnxruntime", "treelite", "tl2cgen", "pylignum", "timber-compiler", "pandas",
    "numpy", "awsiotsdk",
)  # fmt: skip
MEASURES: dict[str, Callable[[], Iterator[Row]]] = {
    "evaluator": evaluator.rows,
    "batches": evaluator.batches,
    "bits": evaluator.bits,
    "numbers": evaluator.numbers,
    "json": common_way.rows,
    "idle": ipc.idle,
    "throughput": ipc.throughput,
    "memory": ipc.memory,
    "start": ipc.start,
    "size": images.sizes,
    "download": images.downloads,
    "fuzz": soak.malformed,
    "soak": soak.soak,
    "limit": limit.limit,
    "scripts": supervising.supervising,
}
WIDTH = 150  # The table's width without a terminal.


def run(names: Sequence[str]) -> int:
    """Returns 0 if every bound is kept."""
    console = Console(stderr=True)
    tools = toolchain.prepare(console)
    os.environ["PATH"] = os.pathsep.join([*map(str, tools.path), os.environ["PATH"]])
    os.environ.update(tools.docker.env)
    began, load = time.monotonic(), os.getloadavg()[0]
    rows: list[Row] = []
    progress = Progress(console)
    try:
        for name, measure in MEASURES.items():
            if name in names:
                with progress.step(name):
                    rows += measure()
        model.model()  # for the facts below, while there is a folder to compile it in
    finally:
        shutil.rmtree(model.scratch())
        images.remove()
    seconds = time.monotonic() - began
    output = Console(width=None if sys.stdout.isatty() else WIDTH)
    table.show(rows, output)
    facts = _facts(tools, load=load, seconds=seconds)
    for what, found in facts:
        output.print(f"{what:10}{found}", highlight=False, soft_wrap=True)
    if set(names) == set(MEASURES):
        DOCUMENT.parent.mkdir(exist_ok=True)
        _, *fleet = DOCUMENT.read_text().partition(table.FLEET_HEADING)
        DOCUMENT.write_text(_document(rows, facts) + "".join(fleet))
        console.print(f"written to {DOCUMENT.relative_to(model.ROOT)}", highlight=False)
    return int(any(row.met is False for row in rows))


def _facts(tools: toolchain.Toolchain, *, load: float, seconds: float) -> list[tuple[str, str]]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in COMPARED)
    return [
        ("command", " ".join(["python -m tests.bench", *sys.argv[1:]])),
        ("date", datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")),
        ("took", f"{seconds / 60:.1f} minutes, 1-minute load at the start {load:.1f}"),
        ("sources", _commit()),
        ("machine", f"{_processor()}, {os.cpu_count()} cores, {memory:.0f} GiB,"
         f" Linux {platform.release()} {platform.machine()}"),
        ("versions", f"Python {platform.python_version()}, Docker engine"
         f" {tools.docker.engine_version}, {versions}"),
        ("model", f"{model.MODEL.name} {model.model().id}: {model.model().trees} trees"),
    ]  # fmt: skip


def _commit() -> str:
    def git(*arguments: str) -> str:
        asked = ["git", "-C", str(model.ROOT), *arguments]
        return subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()

    changed = git(
        "status", "--porcelain", "--", "edge", "greenhouse/device/ipc", "infra/publish/recipe.py"
    )
    return git("rev-parse", "--short", "HEAD") + (" and uncommitted changes" if changed else "")


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _document(rows: Sequence[Row], facts: Sequence[tuple[str, str]]) -> str:
    missed = [row.what for row in rows if row.met is False]
    verdict = "Every bound is met." if not missed else f"Not met: {', '.join(missed)}."
    return f"""\
# Benchmarks

A run of `{facts[0][1]}` measured every number below. Both sides of a comparison take turns, and
relations are medians over rounds, so that a busy moment slows both. The echo is a container of the
same image, with the same SDK, on the same broker. {verdict}

{table.markdown(rows)}
{"".join(f"* {what}: {found}" + chr(10) for what, found in facts[1:])}"""
