"""The Pulumi CLI, as plan and rollback call it: in the program's folder, asking nobody."""

from __future__ import annotations

import json
import shlex
import subprocess

from fleet.stacks import ROOT


class NoPulumi(Exception):
    """The CLI isn't there, or didn't do what was asked of it; the message says what to type."""


def pulumi(stack: str, *command: str, capture: bool = False) -> subprocess.CompletedProcess[str]:
    """Run it to its end, with its stdout if `capture`; raises NoPulumi where it isn't there."""
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
            "there is no pulumi on PATH: https://www.pulumi.com/docs/iac/download-install/, or for"
            ' stack local: eval "$(make -s env)"'
        ) from error


def released(stack: str) -> str:
    """The release that is deployed by Pulumi's state; empty where it can't be read or has none."""
    try:
        told = pulumi(stack, "stack", "output", "--json", capture=True)
    except NoPulumi:
        return ""
    outputs = json.loads(told.stdout) if told.returncode == 0 else {}
    return str(outputs.get("release", ""))


def change(stack: str, *command: str) -> None:
    """Run a command that has to succeed; raises NoPulumi where it doesn't."""
    if code := pulumi(stack, *command).returncode:
        raise NoPulumi(
            f"pulumi {shlex.join(command)} --stack {stack} ended with {code}; nothing was deployed."
            " Its own words are above"
        )
