"""The workflows' commands: which stacks to look at, and the two roles."""

from __future__ import annotations

import json
import shlex
import sys
from typing import Annotated

import typer

from fleet.ci import roles as documents
from fleet.ci.stacks import changed, committed, differing, in_turn, values
from fleet.stacks import NoStack, project
from infra.errors import told
from infra.name_patterns import prefix_trouble, role_trouble, target_trouble
from infra.names import DEFAULT_NAMES

commands = typer.Typer(no_args_is_help=True, help=__doc__)


@commands.command("stacks")
def list_stacks(
    since: Annotated[
        str, typer.Option(help="Compare with this commit; without it, all changed.")
    ] = "",
) -> None:
    """Print the stacks as lines of a step's output: changed, publishers, followers.

    A stack whose file can't be read is among them, so that a job with its name fails.
    """
    there, broken = committed()
    for line in broken:
        sys.stderr.write(f"{line}\n")
    publishers, followers = in_turn(there)
    found = {
        "changed": changed(there, differing(since)) if since else [one.name for one in there],
        "publishers": publishers,
        "followers": followers,
    }
    for name, stacks in found.items():
        sys.stdout.write(f"{name}={json.dumps(stacks)}\n")


@commands.command()
def roles(
    repository: Annotated[str, typer.Option(help="owner/name on GitHub.")] = "",
    account: Annotated[str, typer.Option(help="The AWS account's twelve digits.")] = "",
    state_bucket: Annotated[str, typer.Option(help="The bucket of PULUMI_BACKEND_URL.")] = "",
    state_key: Annotated[str, typer.Option(help="ARN of the KMS key of the stacks' secrets.")] = "",
) -> None:
    """Print a CloudFormation template with the two roles of the workflows."""
    scope_of = {
        "--repository": repository,
        "--account": account,
        "--state-bucket": state_bucket,
        "--state-key": state_key,
    }
    if missing := [option for option, value in scope_of.items() if not value]:
        raise typer.BadParameter(
            told(
                f"missing: {', '.join(missing)}.",
                "The rights are for exactly these:",
                "make ci-roles REPOSITORY=owner/name ACCOUNT=123456789012 STATE_BUCKET=NAME"
                " STATE_KEY=ARN",
            )
        )
    if not state_key.startswith("arn:"):
        raise typer.BadParameter(
            told(
                f"--state-key is {state_key!r}, which is no ARN.",
                "The ARN of the key is in its description:",
                f"aws kms describe-key --region REGION --key-id {shlex.quote(state_key)}",
            )
        )
    there, broken = committed()
    if broken:
        raise NoStack("\n".join(broken))
    things, groups = values(there, "thing"), values(there, "thing-group")
    device_roles = values(there, "device-role", default="GreengrassV2TokenExchangeRole")
    prefixes = values(there, "component-prefix", default=DEFAULT_NAMES.prefix)
    # A * among them would give a right to everything.
    if trouble := next(
        filter(
            None,
            (
                *map(target_trouble, (*things, *groups)),
                *map(role_trouble, device_roles),
                *map(prefix_trouble, prefixes),
            ),
        ),
        "",
    ):
        raise NoStack(
            trouble,
            "Correct the stack file that names it:",
            "grep -nE 'thing|device-role|component-prefix' Pulumi.*.yaml",
        )
    scope = documents.Scope(
        project=project(),
        partition=state_key.split(":")[1],
        account=account,
        regions=tuple(sorted({stack.clients().region for stack in there})),
        things=things,
        groups=groups,
        device_roles=device_roles,
        prefixes=prefixes,
        state_bucket=state_bucket,
        state_key=state_key,
    )
    sys.stdout.write(json.dumps(documents.template(scope, repository=repository), indent=2) + "\n")
