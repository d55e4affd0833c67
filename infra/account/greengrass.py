"""What Greengrass is asked, each question once: deployments, devices, what is installed there."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any, Literal

from infra.account.clients import unless_gone

if TYPE_CHECKING:
    from mypy_boto3_greengrassv2 import GreengrassV2Client
    from mypy_boto3_greengrassv2.type_defs import (
        CoreDeviceTypeDef,
        DeploymentTypeDef,
        EffectiveDeploymentTypeDef,
        InstalledComponentTypeDef,
    )

ComponentTopology = Literal["ROOT", "ALL"]
LOCAL = "LOCAL"  # what the API names as the source of a deployment made on the device itself
SUCCEEDED = frozenset({"SUCCEEDED", "COMPLETED"})  # a group's word and a thing's
FAILED = frozenset({"FAILED", "REJECTED", "TIMED_OUT", "CANCELED"})


def deployments(
    client: GreengrassV2Client, target: str = "", *, latest: bool = False
) -> list[DeploymentTypeDef]:
    """All of a target's (its ARN) or of the account's, the newest first.

    `latest` asks for the latest one of each target only.
    """
    of: Any = {"targetArn": target} if target else {}
    pages = client.get_paginator("list_deployments").paginate(
        historyFilter="LATEST_ONLY" if latest else "ALL", **of
    )
    listed = [one for page in pages for one in page["deployments"]]
    return sorted(listed, key=lambda one: one["creationTimestamp"], reverse=True)


def effective_deployments(
    client: GreengrassV2Client, device: str
) -> list[EffectiveDeploymentTypeDef]:
    """The deployments that have reached the device, with how each went there."""
    pages = client.get_paginator("list_effective_deployments").paginate(coreDeviceThingName=device)
    return [one for page in pages for one in page["effectiveDeployments"]]


def execution(
    client: GreengrassV2Client, device: str, deployment: str
) -> tuple[str, str, tuple[str, ...]]:
    """How a deployment goes on one device: status, reason, and the stack of error names."""
    for one in effective_deployments(client, device):
        if one["deploymentId"] == deployment:
            errors = one.get("statusDetails", {}).get("errorStack", [])
            return one["coreDeviceExecutionStatus"], one.get("reason", ""), tuple(errors)
    return "QUEUED", "", ()  # the device hasn't heard of it yet


def was_good(states: AbstractSet[str]) -> bool:
    """Whether a deployment succeeded on a device and failed on none.

    CANCELED is no failure of its own: a device that was off has it once the next one came.
    """
    return bool(states & SUCCEEDED) and states.isdisjoint(FAILED - {"CANCELED"})


def installed_components(
    client: GreengrassV2Client, device: str, *, topology: ComponentTopology = "ROOT"
) -> list[InstalledComponentTypeDef]:
    """The device's components, as it last reported them: its roots, or with what they depend on."""
    pages = client.get_paginator("list_installed_components").paginate(
        coreDeviceThingName=device, topologyFilter=topology
    )
    return [one for page in pages for one in page["installedComponents"]]


def installed(client: GreengrassV2Client, device: str) -> dict[str, tuple[str, str]]:
    """All components of the device, also what others depend on: version and state by name."""
    return {
        one["componentName"]: (one["componentVersion"], one.get("lifecycleState", ""))
        for one in installed_components(client, device, topology="ALL")
    }


def is_core_device(client: GreengrassV2Client, thing: str) -> bool:
    """Whether a Greengrass nucleus has ever reported under that thing's name."""
    try:
        client.get_core_device(coreDeviceThingName=thing)
    except client.exceptions.ResourceNotFoundException:
        return False
    return True


def core_devices(client: GreengrassV2Client, group: str = "") -> list[CoreDeviceTypeDef]:
    """The account's core devices, or those that a deployment to the group (its ARN) has reached."""
    of: Any = {"thingGroupArn": group} if group else {}
    pages = client.get_paginator("list_core_devices").paginate(
        **of, PaginationConfig={"PageSize": 100}
    )
    return [one for page in pages for one in page["coreDevices"]]


def component_versions(client: GreengrassV2Client, component: str) -> list[str]:
    """The ARNs of every version of a component (its ARN without one), ours or not."""
    pages = client.get_paginator("list_component_versions").paginate(arn=component)
    with unless_gone():
        return [version["arn"] for page in pages for version in page["componentVersions"]]
    return []


def has_tags(client: GreengrassV2Client, arn: str, tags: Mapping[str, str]) -> bool:
    """Whether there is a component version of that ARN with these tags: a stack's own."""
    with unless_gone():
        return tags.items() <= client.get_component(arn=arn).get("tags", {}).items()
    return False


def versions_of(components: Mapping[str, Any], ours: Collection[str]) -> dict[str, str]:
    """Our components among a deployment's: version by name."""
    return {name: spec["componentVersion"] for name, spec in components.items() if name in ours}
