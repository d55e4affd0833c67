"""What the workflows ask of the repository: which stacks to look at, and as which roles."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from typing import Annotated

import typer

from fleet.ci import roles as ci
from fleet.stacks import ROOT, NoStack, Stack, project, stacks

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
    publishers, followers = in_turn(there)
    found = {
        "changed": changed(there, _paths(since)) if since else [one.name for one in there],
        "publishers": publishers,
        "followers": followers,
    }
    for name, values in found.items():
        sys.stdout.write(f"{name}={json.dumps(values)}\n")


@commands.command()
def roles(
    repository: Annotated[str, typer.Option(help="owner/name on GitHub.")],
    account: Annotated[str, typer.Option(help="The AWS account's twelve digits.")],
    state_bucket: Annotated[str, typer.Option(help="Where PULUMI_BACKEND_URL keeps the state.")],
    state_key: Annotated[str, typer.Option(help="ARN of the KMS key of the stacks' secrets.")],
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
    sys.stdout.write(json.dumps(ci.template(scope, repository=repository), indent=2) + "\n")


def changed(there: Sequence[Stack], paths: Iterable[str]) -> list[str]:
    """The stacks that these files decide: all where the program changed, else each by its own.

    What changes a publisher changes whoever follows its newest release, in the same push.
    """
    touched = set(paths)
    program = any(path.startswith(PROGRAM) for path in touched)
    found = {
        one.name
        for one in there
        if program or touched & {f"Pulumi.{one.name}.yaml", *_own_files(one)}
    }
    return [
        one.name
        for one in there
        if one.name in found or (follows(one) in found and not _value(one, "release"))
    ]


def in_turn(there: Sequence[Stack]) -> tuple[list[str], list[str]]:
    """Who deploys first, and who after them; raises NoStack for a follower of a follower."""
    above = {one.name: follows(one) for one in there if follows(one)}
    for name, followed in above.items():
        if first := above.get(followed):
            raise NoStack(
                f"stack {name} follows {followed}, which follows {first}: workflows deploy in two"
                " turns, publishers and then their followers, and this one's would be a third."
                f" pulumi config set --stack {name} release-from {first}"
            )
    return [one.name for one in there if one.name not in above], list(above)


def follows(stack: Stack) -> str:
    """The stack whose release it deploys, empty where it publishes its own."""
    return _value(stack, "release-from")


def _own_files(stack: Stack) -> set[str]:
    return {_value(stack, key) for key in ("model", "samples")} - {""}


def _value(stack: Stack, key: str, default: str = "") -> str:
    return str(stack.config.get(f"{project()}:{key}", default))


def _values(there: Iterable[Stack], key: str, default: str = "") -> tuple[str, ...]:
    return tuple(sorted({_value(stack, key, default) for stack in there} - {""}))


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
