"""What the workflows ask of the repository: which stacks to look at, and as which roles."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from typing import Annotated

import typer

from fleet.stacks import ROOT, NoStack, Stack, project, stacks
from infra import ci

commands = typer.Typer(no_args_is_help=True, help=__doc__)

# what a stack's program reads; a change elsewhere (tests, docs, greenhouse) changes no stack
PROGRAM = ("__main__.py", "Pulumi.yaml", "requirements.txt", "infra/", "edge/")
_LOCAL = "local"  # no stack of an account


@commands.command("stacks")
def list_stacks(
    since: Annotated[
        str, typer.Option(help="A commit: changed is what differs from it. Else all are.")
    ] = "",
) -> None:
    """Print the stacks as lines of a step's output: changed, publishers, followers."""
    there = [stack for stack in stacks() if stack.name != _LOCAL]
    found = {
        "changed": changed(there, _paths(since)) if since else [one.name for one in there],
        "publishers": [one.name for one in there if not follows(one)],
        "followers": [one.name for one in there if follows(one)],
    }
    for name, values in found.items():
        sys.stdout.write(f"{name}={json.dumps(values)}\n")


@commands.command()
def roles(
    repository: Annotated[str, typer.Option(help="owner/name on GitHub.")],
    account: Annotated[str, typer.Option(help="The AWS account's twelve digits.")],
    state_bucket: Annotated[str, typer.Option(help="Where PULUMI_BACKEND_URL keeps the state.")],
    state_key: Annotated[str, typer.Option(help="ARN of the KMS key of the stacks' secrets.")],
    environment: Annotated[str, typer.Option(help="Whose jobs may deploy.")] = "production",
    branch: Annotated[str, typer.Option(help="What the weekly check runs on.")] = "main",
) -> None:
    """Print a CloudFormation template with the two roles of the workflows."""
    there = [stack for stack in stacks() if stack.name != _LOCAL]
    scope = ci.Scope(
        project=project(),
        partition=state_key.split(":")[1],
        account=account,
        regions=tuple(sorted({stack.clients().region for stack in there})),
        things=_values(there, "thing"),
        groups=_values(there, "thing-group"),
        device_roles=_values(there, "device-role", default="GreengrassV2TokenExchangeRole"),
        state_bucket=state_bucket,
        state_key=state_key,
    )
    made = ci.template(scope, repository=repository, environment=environment, branch=branch)
    sys.stdout.write(json.dumps(made, indent=2) + "\n")


def changed(there: Iterable[Stack], paths: Iterable[str]) -> list[str]:
    """The stacks that these files decide: all where the program changed, else each by its own."""
    touched = set(paths)
    program = any(path.startswith(PROGRAM) for path in touched)
    return [
        one.name
        for one in there
        if program or touched & {f"Pulumi.{one.name}.yaml", *_own_files(one)}
    ]


def follows(stack: Stack) -> str:
    """The stack whose release it deploys, empty where it publishes its own."""
    return str(stack.config.get(f"{project()}:release-from", ""))


def _own_files(stack: Stack) -> set[str]:
    return {str(stack.config.get(f"{project()}:{key}", "")) for key in ("model", "samples")} - {""}


def _values(there: Iterable[Stack], key: str, default: str = "") -> tuple[str, ...]:
    found = {str(stack.config.get(f"{project()}:{key}", default)) for stack in there}
    return tuple(sorted(found - {""}))


def _paths(since: str) -> list[str]:
    done = subprocess.run(
        ["git", "diff", "--name-only", f"{since}...HEAD", "--"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise NoStack(f"what changed since {since}? git says: {done.stderr.strip()}")
    return done.stdout.splitlines()
