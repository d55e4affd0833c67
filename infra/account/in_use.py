"""Which component versions devices run, are about to run, or could go back to.

Asked of AWS for every target that this project's stacks or somebody with our components deploy to.
Of a group that was deleted nobody is asked: AWS says of no device that it once was in it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import TYPE_CHECKING

from infra.account.clients import Clients
from infra.account.followers import is_there
from infra.account.target import (
    installed,
    is_core_device,
    stack_of,
    things_of,
    versions_of,
    was_good,
    went,
)

if TYPE_CHECKING:
    from mypy_boto3_greengrassv2 import GreengrassV2Client
    from mypy_boto3_greengrassv2.type_defs import DeploymentTypeDef

Version = tuple[str, str]  # a component's name and version


@dataclass(frozen=True, kw_only=True)
class Past:
    """One deployment of a target."""

    components: AbstractSet[Version]  # ours in it
    good: bool  # it succeeded on a device, and failed on none


def reachable(history: Iterable[Past]) -> frozenset[Version]:
    """What a target's devices may have or go back to, given its deployments, the newest first.

    That is the latest one, and all before it as far as a good one: there a device goes back to that
    fails, and an operator who doesn't like the newest. Nobody goes back past one that took our
    components off.
    """
    found: frozenset[Version] = frozenset()
    for age, past in enumerate(history):
        found |= past.components
        if past.good and (age > 0 or not past.components):
            break
    return found


def in_use(clients: Clients, project: str) -> frozenset[Version]:
    """Ask for every target: two calls for each of its devices, one for each deployment looked at.

    Raises ClientError where AWS doesn't tell.
    """
    pages = clients.greengrass.get_paginator("list_deployments").paginate(historyFilter="ALL")
    targets: defaultdict[str, list[DeploymentTypeDef]] = defaultdict(list)
    for page in pages:
        for one in page["deployments"]:
            targets[one["targetArn"]].append(one)
    found: frozenset[Version] = frozenset()
    for target, listed in targets.items():
        history = sorted(listed, key=lambda one: one["creationTimestamp"], reverse=True)
        if _concerns_us(clients.greengrass, history, project) and is_there(clients, target):
            found |= _of_target(clients, target, history)
    return found


def _concerns_us(
    client: GreengrassV2Client, history: Sequence[DeploymentTypeDef], project: str
) -> bool:
    if any(stack_of(project, one.get("deploymentName", "")) for one in history):
        return True
    return bool(_ours(client, history[0]))


def _of_target(
    clients: Clients, target: str, history: Sequence[DeploymentTypeDef]
) -> frozenset[Version]:
    client = clients.greengrass
    devices = _devices(clients, target)
    runs = frozenset(
        (name, version)
        for device in devices
        for name, (version, _) in installed(client, device).items()
    )
    states = went(client, devices)
    return runs | reachable(
        Past(components=_ours(client, one), good=was_good(states[one["deploymentId"]]))
        for one in history
    )


def _devices(clients: Clients, target: str) -> set[str]:
    """A target's core devices; of a group also those that left it, and go on with what it gave.

    For a group ListCoreDevices lists who has "successfully deployed a deployment that targets the
    thing group", and goes on to after a device was removed from it (API reference).
    """
    things = things_of(clients, target)
    devices = {thing for thing in things if is_core_device(clients.greengrass, thing)}
    if ":thinggroup/" in target:
        pages = clients.greengrass.get_paginator("list_core_devices").paginate(thingGroupArn=target)
        devices |= {one["coreDeviceThingName"] for page in pages for one in page["coreDevices"]}
    return devices


def _ours(client: GreengrassV2Client, deployment: DeploymentTypeDef) -> frozenset[Version]:
    found = client.get_deployment(deploymentId=deployment["deploymentId"])
    return frozenset(versions_of(found.get("components", {})).items())
