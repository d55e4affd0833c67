"""Measures the edge runtime: python -m tests.bench, from the root of the checkout.

It makes a virtualenv of its own, .venv-bench. Otherwise the peers that it compares with, such as
ONNX Runtime and Treelite, could hold back the packages of the project itself.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).parents[2]
REQUIREMENTS = ROOT / "requirements-bench.txt"
ENVIRONMENT = ROOT / ".venv-bench"
NAMES = (
    "evaluator", "batches", "bits", "numbers", "json", "idle", "throughput", "memory", "start",
    "size", "download", "fuzz", "soak", "limit", "scripts",
)  # fmt: skip

FLEETS, READS = "fleets", "reads"  # On their own, in the project's virtualenv.


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument(
        "--only", action="append", choices=(*NAMES, FLEETS, READS), metavar="NAME",
        help=f"one of {', '.join(NAMES)}, or {FLEETS} or {READS} by itself;"
        " may be repeated. The document is written by a whole run only",
    )  # fmt: skip
    options = parser.parse_args()
    if options.only == [FLEETS]:
        from tests.bench.fleet import fleets  # noqa: PLC0415  # needs the virtualenv

        return fleets.run()
    if options.only == [READS]:
        from tests.bench.fleet import reads  # noqa: PLC0415  # needs the virtualenv

        return reads.run()
    if Path(sys.prefix) != ENVIRONMENT:
        _prepare()
        python = ENVIRONMENT / "bin" / "python"
        os.chdir(ROOT)
        os.environ["PYTHONPATH"] = str(ROOT)
        os.execv(python, [str(python), "-m", "tests.bench", *sys.argv[1:]])  # noqa: S606  # ourselves
    from tests.bench.run import run  # noqa: PLC0415  # needs the virtualenv

    return run(options.only or NAMES)


def _prepare() -> None:
    """Make the virtualenv from requirements-bench.txt."""
    stamp, wanted = ENVIRONMENT / ".installed", REQUIREMENTS.read_text()
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    sys.stderr.write("Python packages into .venv-bench (half a minute the first time) …\n")
    venv.create(ENVIRONMENT, with_pip=True, clear=True)
    pip = [str(ENVIRONMENT / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--quiet", "-r", str(REQUIREMENTS)], check=True)
    stamp.write_text(wanted)


if __name__ == "__main__":
    sys.exit(main())
