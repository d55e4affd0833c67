"""Runs the Pulumi CLI in the program's folder, without questions."""

from __future__ import annotations

import json
import shlex
import subprocess
from typing import Any

from fleet.stacks import ROOT
from infra.errors import Told


class NoPulumi(Told):
    """The CLI is missing or failed. The message says what to type."""


def pulumi(stack: str, *command: str, capture: bool = False) -> subprocess.CompletedProcess[str]:
    """Run it to its end, and return its stdout if `capture`. Raises NoPulumi if it is missing."""
    try:
        return subprocess.run(
            ["pulumi", *command, "--stack", stack, "--non-interactive"],
            cwd=ROOT,
            stdout=subprocess.PIPE if capture else None,
            text=True,
            check=False,
        )
    except FileNotFoundError as error:
        raise NoPulumi(
            "there is no pulumi on PATH.",
            "Install it (https://www.pulumi.com/docs/iac/download-install/), or, for stack local,"
            " take greenhouse's:",
            'eval "$(make -s env)"',
        ) from error


def outputs(stack: str) -> dict[str, Any]:
    """The stack's outputs; none where its state can't be read."""
    told = pulumi(stack, "stack", "output", "--json", capture=True)
    found: dict[str, Any] = json.loads(told.stdout) if told.returncode == 0 else {}
    return found


def released(stack: str) -> str:
    """The deployed release by Pulumi's state; empty if it can't be read or has none."""
    try:
        return str(outputs(stack).get("release", ""))
    except NoPulumi:
        return ""


def change(stack: str, *command: str) -> None:
    """Run a command that must succeed. Raises NoPulumi if it fails."""
    if code := pulumi(stack, *command).returncode:
        raise NoPulumi(
            f"nothing was deployed, because Pulumi ended with {code}.",
            "Its own words are above. This command failed:",
            f"pulumi {shlex.join(command)} --stack {stack}",
        )
