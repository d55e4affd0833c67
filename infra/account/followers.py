"""Finds other deployments of a stack's components, because a destroy would break them.

Their devices would keep running, but could not install the release again: its component versions,
image and files would be gone. The account is asked, so stacks of other checkouts and deployments
made by hand count as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import compress
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from infra.account.clients import Clients, at_once, error_code
from infra.account.context import Context
from infra.account.greengrass import (
    deployments,
    effective_deployments,
    has_tags,
    is_core_device,
    versions_of,
)
from infra.account.target import latest_deployment
from infra.errors import told
from infra.names import Names

if TYPE_CHECKING:
    from mypy_boto3_greengrassv2 import GreengrassV2Client
    from mypy_boto3_greengrassv2.type_defs import GetDeploymentResponseTypeDef

_OVER = frozenset({"CANCELED", "INACTIVE"})


@dataclass(frozen=True, kw_only=True)
class Follower:
    """Someone else's latest deployment on a target, with components that this stack published."""

    deployment: str
    name: str
    target: str  # As thing/… or thinggroup/….
    components: tuple[str, ...]  # Each with its name and version.
    stack: str  # A stack of the same project. Empty if no stack made it.
    region: str

    @property
    def text(self) -> str:
        """Who follows, and the commands that end it."""
        who = (
            f"{self.target} has {', '.join(self.components)} by deployment '{self.name}'"
            f" ({self.deployment})."
        )
        if not self.stack:
            return told(
                who,
                "Deploy something else there, or cancel it:",
                f"aws greengrassv2 cancel-deployment --deployment-id {self.deployment}"
                f" --region {self.region}",
            )
        return told(
            who,
            "Destroy that stack, or let it follow another:",
            f"pulumi destroy --stack {self.stack}",
            f"pulumi config set --stack {self.stack} release-from STACK && pulumi up --stack"
            f" {self.stack}",
        )


def followers(context: Context, target: str) -> Iterator[Follower]:
    """Others' deployments that list component versions with this stack's tags.

    `target` is the ARN of the stack's own target, or "". A deployment to it by hand, or by a stack
    with other names, only carries our components on; the uninstall removes them from it. A
    cancelled deployment reaches no device any more. Neither does a deployment whose target is gone.
    """
    client, own, names = context.clients.greengrass, context.deployment_name, context.names
    others = [
        one
        for one in deployments(client, latest=True)
        if not own.is_own(one.get("deploymentName", "")) and one["deploymentStatus"] not in _OVER
    ]
    found = at_once(lambda one: client.get_deployment(deploymentId=one["deploymentId"]), others)
    carried: list[tuple[GetDeploymentResponseTypeDef, dict[str, str]]] = []  # With versions.
    for one in found:
        stack = own.another_stack(one.get("deploymentName", ""))
        if one["targetArn"] != target or (stack and Names.tagged(one.get("tags", {})) == names):
            carried.append((one, versions_of(one.get("components", {}), names.components)))
    versions = sorted({version for _, listed in carried for version in listed.items()})
    published = at_once(
        lambda version: has_tags(client, context.component_arn(*version), context.tags), versions
    )
    ours = {*compress(versions, published)}
    for one, listed in carried:
        components = tuple(" ".join(version) for version in listed.items() if version in ours)
        if components and still_deploys(context.clients, one["targetArn"]):
            called = one.get("deploymentName", "")
            yield Follower(
                deployment=one["deploymentId"],
                name=called,
                target=one["targetArn"].rpartition(":")[2],
                components=components,
                stack=own.another_stack(called),
                region=context.region,
            )


def other_targets(client: GreengrassV2Client, device: str, target: str) -> set[str]:
    """The ARNs of the other targets whose deployments reached the device."""
    return {one["targetArn"] for one in effective_deployments(client, device)} - {target}


def also_deployed(client: GreengrassV2Client, device: str, target: str) -> dict[str, str]:
    """The components that another target also deploys to the device, each with that target."""
    found: dict[str, str] = {}
    for arn in sorted(other_targets(client, device, target)):
        found |= dict.fromkeys(deployed_by(client, arn), arn.rpartition(":")[2])
    return found


def deployed_by(client: GreengrassV2Client, target: str) -> tuple[str, ...]:
    """The components of the target's latest deployment; none if that deployment failed."""
    latest = latest_deployment(client, target)
    return tuple(latest.components) if latest and not latest.failed else ()


def still_deploys(clients: Clients, target: str) -> bool:
    """Whether the deployment can still reach a device. True if AWS doesn't say."""
    kind, _, target_name = target.rpartition(":")[2].partition("/")
    try:
        if kind == "thing":
            return is_core_device(clients.greengrass, target_name)
        clients.iot.describe_thing_group(thingGroupName=target_name)
    except ClientError as error:
        return error_code(error) != "ResourceNotFoundException"
    return True
