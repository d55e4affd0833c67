"""The real Pulumi CLI, as `make up` and `make down` run it in the project."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import typer
from rich.console import Console
from rich.text import Text

from greenhouse.home import PROJECT_DIR, Home
from greenhouse.processes import ProcessFailed
from greenhouse.toolchain.progress import Progress
from greenhouse.updates.display import Display
from greenhouse.updates.orphans import end_orphans, unlock
from infra.errors import told
from infra.printable import printable


def pulumi(*arguments: str) -> str:
    """The CLI's output. If it fails, its own words are on the terminal, and this process ends."""
    done = subprocess.run(
        ["pulumi", *arguments], cwd=PROJECT_DIR, stdout=subprocess.PIPE, text=True, check=False
    )
    _succeeded(done.returncode)
    return done.stdout


def _succeeded(returncode: int) -> None:
    """Raise ProcessFailed if `pulumi` was killed, and could say nothing, else Exit if it failed."""
    if returncode < 0:
        raise ProcessFailed(
            told(
                f"pulumi was killed (signal {-returncode}).",
                "What it had made is in its state. Go on from there, or undo it:",
                "make up",
                "make down",
            )
        )
    if returncode:
        raise typer.Exit(returncode)


def pulumi_json(*arguments: str) -> Any:
    """The CLI's output for programs."""
    return json.loads(pulumi(*arguments, "--json"))


def change(console: Console, command: str, stack: str) -> None:
    """Run `pulumi up` or `destroy` without questions, and show it. A failure ends this process.

    Ctrl-C also reaches the CLI. The CLI finishes what it has begun, and that is shown like the
    rest.
    """
    display = Display(console)
    words = ["pulumi", command, "--stack", stack, "--yes", "--non-interactive", "--json"]
    with (
        subprocess.Popen(
            [*words, "--color", "never"],
            cwd=PROJECT_DIR,
            env={**os.environ, "PULUMI_ENABLE_STREAMING_JSON_PREVIEW": "true"},
            stdout=subprocess.PIPE,
            # Written over a spinner, its words would leave pieces of the spinner.
            stderr=subprocess.STDOUT if console.is_terminal else None,
            text=True,
        ) as process,
        Progress(console).going_on(display.doing),
    ):
        lines = process.stdout or ()
        try:
            show(lines, display, console)
        except KeyboardInterrupt:
            display.canceled = True
            console.print("  Pulumi finishes what it has begun; Ctrl-C again ends it at once")
            with suppress(KeyboardInterrupt):
                show(lines, display, console)
            show(lines, display, console)
    # An interrupted destroy ends with 0, and its summary says "succeeded" (Pulumi 3.276).
    if display.canceled and (process.returncode or not display.finished()):
        raise ProcessFailed(_canceled(command, display))
    _succeeded(process.returncode)


def _canceled(command: str, display: Display) -> str:
    what = f"pulumi {command} was interrupted: {display.progress()}."
    if command == "destroy":
        return told(what, "Go on from there:", "make down")
    why = "Go on from there, or undo it:"
    if display.finished():
        why = f"Only the stack's outputs and the devices' answers are missing. {why}"
    return told(what, why, "make up", "make down")


def show(lines: Iterable[str], display: Display, console: Console) -> None:
    """Show the CLI's output, one event in each line. Other lines are shown unchanged."""
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            console.print(Text(f"  {printable(line.rstrip())}"), soft_wrap=True)
        else:
            display.take(event)


def settle_killed(home: Home) -> None:
    """End what a killed `pulumi` left behind: its child processes and its lock on the state."""
    end_orphans(home.pulumi)
    unlock(home.stacks)
