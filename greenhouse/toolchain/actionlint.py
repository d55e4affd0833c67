"""actionlint, which reads the workflows as GitHub does: found, or compiled from its Go module.

python -m greenhouse.toolchain.actionlint [ARGUMENTS] runs it. It checks shell scripts only if the
machine has a linter for them. The workflows have no scripts: each step is one make target.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from pathlib import Path

from rich.console import Console

from greenhouse.toolchain import cache
from greenhouse.toolchain.commands import ToolchainFailed, go_build, log_file, require_go
from greenhouse.toolchain.progress import Progress

MODULE = Path(__file__).with_name("actionlint")
PACKAGE = "github.com/rhysd/actionlint/cmd/actionlint"


def prepare_actionlint(progress: Progress) -> Path:
    """The executable: the machine's, or one that is compiled from what go.sum pins."""
    if found := shutil.which("actionlint"):
        return Path(found)
    pinned = hashlib.sha256((MODULE / "go.sum").read_bytes()).hexdigest()[:12]
    folder = cache.folder() / "actionlint" / pinned
    cache.made_once(
        folder,
        lambda draft: _compile(draft, progress),
        waiting=lambda: progress.note("another process compiles actionlint; waiting for it"),
    )
    return folder / "actionlint"


def _compile(draft: Path, progress: Progress) -> None:
    require_go(
        "there is no actionlint on PATH", instead="actionlint (https://github.com/rhysd/actionlint)"
    )
    log = log_file("actionlint")
    with progress.step(f"compiling actionlint, once per user and version (go's output: {log})"):
        go_build(MODULE, PACKAGE, draft, log=log)


if __name__ == "__main__":
    try:
        linter = prepare_actionlint(Progress(Console(stderr=True)))
    except ToolchainFailed as error:
        sys.exit(str(error))
    os.execv(linter, [str(linter), *sys.argv[1:]])  # noqa: S606  # its exit code is ours
