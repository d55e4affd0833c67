"""Reads from Greengrass: deployments, devices and installed components."""

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
LITE = "aws_nucleus_lite"  # The API's word for the runtime.
LOCAL = "LOCAL"  # The API's word for a deployment that was made on the device itself.
SUCCEEDED = frozenset({"SUCCEEDED", "COMPLETED"})  # Of a group's deployment, and of a thing's.
FAILED = frozenset({"FAILED", "REJECTED", "TIMED_OUT", "CANCELED"})


def deployments(
    client: GreengrassV2Client, target: str = "", *, latest: bool = False
) -> list[DeploymentTypeDef]:
    """All deployments of a target (an ARN) or of the account, the newest first.

    `latest` asks for the latest deployment of each target only.
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
    """The deployments that have reached the device, with their status there."""
    pages = client.get_paginator("list_effective_deployments").paginate(coreDeviceThingName=device)
    return [one for page in pages for one in page["effectiveDeployments"]]


def execution(
    client: GreengrassV2Client, device: str, deployment: str
) -> tuple[str, str, tuple[str, ...]]:
    """A deployment's status on one device: status, reason, and the stack of error names."""
    for one in effective_deployments(client, device):
        if one["deploymentId"] == deployment:
            errors = one.get("statusDetails", {}).get("errorStack", [])
            return one["coreDeviceExecutionStatus"], one.get("reason", ""), tuple(errors)
    return "QUEUED", "", ()  # The device hasn't received it.


def was_good(states: AbstractSet[str]) -> bool:
    """Whether a deployment succeeded on a device and failed on none.

    CANCELED isn't a failure: a device that was off shows it after the next deployment came.
    """
    return bool(states & SUCCEEDED) and states.isdisjoint(FAILED - {"CANCELED"})


def installed_components(
    client: GreengrassV2Client, device: str, *, topology: ComponentTopology = "ROOT"
) -> list[InstalledComponentTypeDef]:
    """The device's components by its last report: its roots, or also what they depend on."""
    pages = client.get_paginator("list_installed_components").paginate(
        coreDeviceThingName=device, topologyFilter=topology
    )
    return [one for page in pages for one in page["installedComponents"]]


def installed(client: GreengrassV2Client, device: str) -> dict[str, tuple[str, str]]:
    """All components of the device, dependencies included: version and state by name."""
    return {
        one["componentName"]: (one["componentVersion"], one.get("lifecycleState", ""))
        for one in installed_components(client, device, topology="ALL")
    }


def is_core_device(client: GreengrassV2Client, thing: str) -> bool:
    """Whether a Greengrass nucleus has ever reported under this thing's name."""
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
    """The ARNs of all versions of a component, ours or not. The component's ARN has no version."""
    pages = client.get_paginator("list_component_versions").paginate(arn=component)
    with unless_gone():
        return [version["arn"] for page in pages for version in page["componentVersions"]]
    return []


def has_tags(client: GreengrassV2Client, arn: str, tags: Mapping[str, str]) -> bool:
    """Whether a component version with this ARN exists and has these tags, as a stack's own has."""
    with unless_gone():
        return tags.items() <= client.get_component(arn=arn).get("tags", {}).items()
    return False


def versions_of(components: Mapping[str, Any], ours: Collection[str]) -> dict[str, str]:
    """The versions of our components in a deployment, by name."""
    return {name: spec["componentVersion"] for name, spec in components.items() if name in ours}
