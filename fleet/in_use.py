"""Finds the component versions that devices run, are about to run, or could go back to.

It reads every target that this project's stacks, or others with our components, deploy to. Former
devices of a deleted group aren't asked, because AWS doesn't list them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import partial
from itertools import compress
from typing import TYPE_CHECKING

from infra.account.clients import Clients, at_once
from infra.account.followers import still_deploys
from infra.account.greengrass import (
    core_devices,
    deployments,
    installed,
    versions_of,
    was_good,
)
from infra.account.many_devices import core_devices_among, each_device, execution_states
from infra.account.target import things_of
from infra.deployment_names import stack_of
from infra.names import Names

if TYPE_CHECKING:
    from mypy_boto3_greengrassv2 import GreengrassV2Client
    from mypy_boto3_greengrassv2.type_defs import DeploymentTypeDef

Version = tuple[str, str]  # A component's name and version.


@dataclass(frozen=True, kw_only=True)
class Past:
    """One deployment of a target."""

    components: AbstractSet[Version]  # Only ours.
    good: bool  # It succeeded on a device, and failed on none.


def reachable(history: Iterable[Past]) -> frozenset[Version]:
    """Versions that a target's devices may have or go back to. Newest deployment first.

    These are the versions of the latest deployment, and of all earlier ones up to a good
    deployment. A failing device goes back to that one, and so may an operator. The search stops at
    a deployment that removed our components.
    """
    found: frozenset[Version] = frozenset()
    for age, past in enumerate(history):
        found |= past.components
        if past.good and (age > 0 or not past.components):
            break
    return found


def in_use(clients: Clients, project: str, names: Names) -> frozenset[Version]:
    """The versions of these components that devices have or could go back to.

    It makes two calls for each device of every target, and one for each deployment that it looks
    at. Raises ClientError if AWS refuses.
    """
    targets: defaultdict[str, list[DeploymentTypeDef]] = defaultdict(list)
    for one in deployments(clients.greengrass):
        targets[one["targetArn"]].append(one)
    concern_us = at_once(
        lambda target: (
            _concerns_us(clients.greengrass, targets[target], project, names)
            and still_deploys(clients, target)
        ),
        targets,
    )
    found: frozenset[Version] = frozenset()
    for target in compress(targets, concern_us):
        found |= _of_target(clients, target, targets[target], names)
    return found


def _concerns_us(
    client: GreengrassV2Client, history: Sequence[DeploymentTypeDef], project: str, names: Names
) -> bool:
    if any(stack_of(project, one.get("deploymentName", "")) for one in history):
        return True
    return bool(_our_versions(client, history[0], names))


def _of_target(
    clients: Clients, target: str, history: Sequence[DeploymentTypeDef], names: Names
) -> frozenset[Version]:
    client = clients.greengrass
    devices = _core_devices_of(clients, target)
    runs = frozenset(
        (name, version)
        for there in each_device(sorted(devices), partial(installed, client))
        for name, (version, _) in there.items()
    )
    states = execution_states(client, devices)
    return runs | reachable(
        Past(
            components=_our_versions(client, one, names), good=was_good(states[one["deploymentId"]])
        )
        for one in history
    )


def _core_devices_of(clients: Clients, target: str) -> set[str]:
    """A target's core devices, with those that left the group but still run its components.

    For a group, ListCoreDevices lists devices that have "successfully deployed a deployment that
    targets the thing group" (API reference). A removed device stays in this list.
    """
    things = things_of(clients, target)
    devices = {one.thing for one in core_devices_among(clients.greengrass, target, things)}
    if ":thinggroup/" in target:
        reached = core_devices(clients.greengrass, target)
        devices |= {one["coreDeviceThingName"] for one in reached}
    return devices


def _our_versions(
    client: GreengrassV2Client, deployment: DeploymentTypeDef, names: Names
) -> frozenset[Version]:
    found = client.get_deployment(deploymentId=deployment["deploymentId"])
    return frozenset(versions_of(found.get("components", {}), names.components).items())
