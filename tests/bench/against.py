"""Compares the time of `make up` and of a no-op `pulumi up` with that of an earlier commit.

python -m tests.bench.against COMMIT [ROUNDS]

Both trees come from git. Each has its own .venv from its own locks, and its own greenhouse. The two
take turns within one run. The first round warms the caches up and doesn't count. A ratio is the
median of the rounds' ratios.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

NO_OPS = 3  # In each round: they are short, so one alone is noisy.
ROOT = Path(__file__).parents[2]
NO_OP = 'eval "$(make -s env)" && pulumi up --stack local --yes --skip-preview --non-interactive'


class Tree:
    """A commit's files, ready for use."""

    def __init__(self, folder: Path, commit: str) -> None:
        self.folder, self.commit = folder, commit
        folder.mkdir()
        packed = subprocess.run(
            ["git", "archive", commit], cwd=ROOT, stdout=subprocess.PIPE, check=True
        )
        subprocess.run(["tar", "x", "-C", folder], input=packed.stdout, check=True)
        stack = folder / "Pulumi.local.yaml"
        device = f"thing: cost-{commit[:7].lower()}\n"  # Both may run at once.
        stack.write_text(stack.read_text().replace("thing: greenhouse\n", device))
        self.seconds("make setup")

    def seconds(self, command: str) -> float:
        """How long a command takes here. It has to succeed."""
        login = {
            name: os.environ[name]
            for name in os.environ
            if name.startswith(("HOME", "XDG_", "PIP_"))
        }
        began = time.monotonic()
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env={**login, "PATH": os.environ["PATH"]},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            sys.exit(f"{self.commit}: {command} ended with {done.returncode}:\n{done.stdout}")
        return time.monotonic() - began

    def round(self) -> Iterator[tuple[str, float]]:
        yield "make up", self.seconds("make up")
        yield "no-op pulumi up", median(self.seconds(NO_OP) for _ in range(NO_OPS))
        yield "make down", self.seconds("make down")


def main(commit: str, rounds: int) -> None:
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()
    with tempfile.TemporaryDirectory() as folder:
        trees = [Tree(Path(folder) / name, name) for name in (commit, head)]
        times: dict[str, list[tuple[float, float]]] = {}
        for number in range(rounds + 1):
            first = number % 2  # They take turns, so that neither profits from being first.
            taken = {tree: dict(tree.round()) for tree in (trees[first], trees[1 - first])}
            for what in taken[trees[0]] if number else ():
                pair = taken[trees[0]][what], taken[trees[1]][what]
                times.setdefault(what, []).append(pair)
                print(f"round {number}: {what}: {pair[0]:.1f} s, now {pair[1]:.1f} s", flush=True)
    for what, pairs in times.items():
        before, now = (median(side) for side in zip(*pairs, strict=True))
        ratio = median(new / old for old, new in pairs)
        print(f"{what}: {before:.2f} s at {commit}, {now:.2f} s now: ratio {ratio:.3f}")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 5)
