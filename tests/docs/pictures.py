"""Records the pictures of the first page from a run: make pictures.

A copy of the tree gets a greenhouse of its own, so a person's greenhouse is not touched. Each
picture is the end of a command's output, as an SVG by rich.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

from greenhouse import toolchain
from greenhouse.home import PROJECT_DIR
from tests.whole.place import copy_tree

WIDTH = 120  # Columns. Wider lines are cut.
SHOWN = 32  # Lines of the end.
PICTURES = {"make up": "make-up.svg", "make status": "make-status.svg"}


def draw(command: str, printed: str, target: Path) -> None:
    """Write the last lines of a command's output, below its prompt, as an SVG."""
    console = Console(record=True, width=WIDTH, file=io.StringIO())
    console.print(Text(f"$ {command}", style="bold"))
    for line in printed.rstrip().splitlines()[-SHOWN:]:
        console.print(Text(line.rstrip()), no_wrap=True, overflow="ellipsis")
    target.write_text(console.export_svg(title=command, unique_id=target.stem))


def main() -> int:
    tools = toolchain.prepare(Console(stderr=True))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        tree = copy_tree(root / "tree")
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("MAKE")},
            "PATH": os.pathsep.join([*map(str, tools.path), os.environ["PATH"]]),
            "GREENHOUSE_HOME": str(root / "greenhouse"),
            "COLUMNS": str(WIDTH),
        }
        if tools.docker_host:
            environment["DOCKER_HOST"] = tools.docker_host
        try:
            for command, name in PICTURES.items():
                done = subprocess.run(
                    ["sh", "-c", f"{command} 2>&1"],
                    cwd=tree,
                    env=environment,
                    capture_output=True,
                    text=True,
                    check=False,
                )
                if done.returncode:
                    sys.stderr.write(done.stdout)
                    return done.returncode
                draw(command, done.stdout, PROJECT_DIR / "docs" / name)
        finally:
            subprocess.run(["make", "down"], cwd=tree, env=environment, check=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
