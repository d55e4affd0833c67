"""Runs other programs. Their output goes to a log, and only a failure shows its end."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from greenhouse.toolchain import cache
from infra.errors import told

SHOWN_LINES = 15
# This version fetches any Go that a go.mod asks for: https://go.dev/doc/toolchain
GO_MINIMUM = (1, 21)


class ToolchainFailed(Exception):
    """A tool could be neither found nor obtained. The message says what to do."""


def log_file(name: str) -> Path:
    path = cache.folder() / "logs" / f"{name}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def run_logged(
    argv: Sequence[str | Path],
    *,
    log: Path,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> None:
    """Run to the end, appending to `log`. Raises ToolchainFailed with the log's last lines."""
    with log.open("a") as output:
        output.write(f"$ {' '.join(map(str, argv))}\n")
        output.flush()
        try:
            done = subprocess.run(
                argv,
                cwd=cwd,
                env={**os.environ, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                check=False,
            )
        except FileNotFoundError as error:
            raise ToolchainFailed(f"{argv[0]} is not on PATH. Install it.") from error
    if done.returncode:
        tail = log.read_text(errors="replace").splitlines()[-SHOWN_LINES:]
        raise ToolchainFailed(
            f"{argv[0]} ended with {done.returncode}:\n"
            + "".join(f"  {line}\n" for line in tail)
            + f"  (all of it: {log})\nThe next run begins this step again."
        )


def ask(*argv: str | Path, env: Mapping[str, str] | None = None) -> str | None:
    """The output of a short command. None if it fails or doesn't exist."""
    try:
        done = subprocess.run(
            argv,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def require_go(missing: str, *, instead: str) -> None:
    """Raise ToolchainFailed unless there is a Go that compiles our modules."""
    said = ask("go", "version")  # It says: go version go1.25.11 linux/amd64.
    found = re.search(r" go(\d+)\.(\d+)", said or "")
    if found and (int(found[1]), int(found[2])) >= GO_MINIMUM:
        return
    raise ToolchainFailed(
        told(
            f"{missing}, and {f'{said!r}' if said else 'a machine without Go'} can't compile it.",
            f"Install {instead} or Go 1.25.11 or newer (https://go.dev/dl/).",
        )
    )


def go_build(module: Path, package: str, target: Path, *flags: str, log: Path) -> None:
    """Compile a program of a Go module into the folder `target`, from what its go.sum pins."""
    same = ("-mod=readonly", "-buildvcs=false", "-trimpath")
    run_logged(
        ["go", "build", *same, *flags, f"-o={target}/", package],
        log=log,
        cwd=module,
        env={"CGO_ENABLED": "0", "GOFLAGS": ""},
    )


def install(*packages: str) -> None:
    """Install Debian packages, as root. Raises ToolchainFailed, also if there is no apt-get."""
    log = log_file("apt")
    argv = ["apt-get", "install", "--yes", "--no-install-recommends", *packages]
    env = {"DEBIAN_FRONTEND": "noninteractive"}
    try:
        run_logged(argv, log=log, env=env)
    except ToolchainFailed:  # The package lists are missing or too old.
        run_logged(["apt-get", "update"], log=log, env=env)
        run_logged(argv, log=log, env=env)
