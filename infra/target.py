"""What the stack deploys to, and what runs there today: look-ups only.

A deployment replaces the one before it on the same target, and a device uninstalls what the new one
doesn't name. So what others put there is carried on, as the target's latest deployment has it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from infra.clients import Clients
from infra.settings import Misconfigured, Settings

if TYPE_CHECKING:
    from mypy_boto3_greengrassv2 import GreengrassV2Client

FAILED = frozenset({"FAILED", "REJECTED", "TIMED_OUT", "CANCELED"})


@dataclass(frozen=True, kw_only=True)
class Deployed:
    """A target's latest deployment."""

    id: str
    name: str
    components: Mapping[str, Any]  # in the API's shapes
    failed: bool

    def others(self, ours: Collection[str]) -> dict[str, Any]:
        """The root components that aren't ours, with their configuration."""
        return {name: spec for name, spec in self.components.items() if name not in ours}


@dataclass(frozen=True, kw_only=True)
class Target:
    """A thing or a thing group, with its core devices."""

    arn: str
    devices: tuple[str, ...]
    latest: Deployed | None

    @classmethod
    def find(cls, settings: Settings, clients: Clients) -> Target | None:
        """Look it up, None for a stack that only publishes; Misconfigured where it is unfit."""
        if not (settings.thing or settings.thing_group):
            return None
        try:
            if settings.thing:
                arn, things = _thing(clients, settings.thing)
            else:
                arn, things = _group(clients, settings.thing_group)
            devices = tuple(thing for thing in things if is_core_device(clients.greengrass, thing))
            latest = latest_deployment(clients.greengrass, arn, devices)
        except ClientError as error:
            raise Misconfigured(
                f"AWS doesn't say what runs on {settings.thing or settings.thing_group}: {error}."
                " Without that answer this update could remove what others deployed"
            ) from error
        except BotoCoreError as error:
            raise Misconfigured(f"AWS can't be reached in {clients.region}: {error}") from error
        if not devices:
            raise Misconfigured(
                f"{arn} has no Greengrass core device (things: {', '.join(things) or 'none'})."
                " Install Greengrass on it and start it once, or set another: pulumi config set"
                f" {'thing' if settings.thing else 'thing-group'} NAME"
            )
        return cls(arn=arn, devices=devices, latest=latest)

    def deployment_name(self, wanted: str) -> str:
        """A name that stays while nothing has to be done, and changes when something has.

        Everything about a deployment is create-only, so a changed name is what makes Pulumi deploy
        again: after a red one, and after somebody else's.
        """
        if self.latest is None:
            return wanted
        if is_named_for(wanted, self.latest.name) and not self.latest.failed:
            return self.latest.name
        return f"{wanted} (after {self.latest.id[:8]})"


def is_named_for(wanted: str, name: str) -> bool:
    """Whether `deployment_name` made this name; that of stack `dev2` is none of stack `dev`."""
    return name == wanted or name.startswith(f"{wanted} (after ")


def _thing(clients: Clients, name: str) -> tuple[str, list[str]]:
    try:
        return clients.iot.describe_thing(thingName=name)["thingArn"], [name]
    except clients.iot.exceptions.ResourceNotFoundException as error:
        raise Misconfigured(
            f"thing '{name}' does not exist in {clients.region} of this account:"
            " pulumi config set thing NAME (aws greengrassv2 list-core-devices lists the devices)"
        ) from error


def _group(clients: Clients, name: str) -> tuple[str, list[str]]:
    try:
        arn = clients.iot.describe_thing_group(thingGroupName=name)["thingGroupArn"]
    except clients.iot.exceptions.ResourceNotFoundException as error:
        raise Misconfigured(
            f"thing group '{name}' does not exist in {clients.region} of this account:"
            " pulumi config set thing-group NAME (aws iot list-thing-groups lists them)"
        ) from error
    pages = clients.iot.get_paginator("list_things_in_thing_group").paginate(
        thingGroupName=name, recursive=True
    )
    return arn, sorted(thing for page in pages for thing in page["things"])


def is_core_device(client: GreengrassV2Client, thing: str) -> bool:
    """Whether a Greengrass nucleus has ever reported under that thing's name."""
    try:
        client.get_core_device(coreDeviceThingName=thing)
    except client.exceptions.ResourceNotFoundException:
        return False
    return True


def latest_deployment(
    client: GreengrassV2Client, target: str, devices: Sequence[str]
) -> Deployed | None:
    """The deployment that a new one on this target would replace.

    It failed when it or any device says so: a group's own stays ACTIVE whatever its devices do.
    """
    listed = client.list_deployments(targetArn=target, historyFilter="LATEST_ONLY")["deployments"]
    if not listed:
        return None
    found = client.get_deployment(deploymentId=listed[0]["deploymentId"])
    return Deployed(
        id=found["deploymentId"],
        name=found.get("deploymentName", ""),
        components=found.get("components", {}),
        failed=found["deploymentStatus"] in FAILED
        or any(execution(client, device, found["deploymentId"])[0] in FAILED for device in devices),
    )


def execution(
    client: GreengrassV2Client, device: str, deployment: str
) -> tuple[str, str, tuple[str, ...]]:
    """How a deployment goes on one device: status, reason, and the stack of error names."""
    pages = client.get_paginator("list_effective_deployments").paginate(coreDeviceThingName=device)
    for page in pages:
        for one in page["effectiveDeployments"]:
            if one["deploymentId"] == deployment:
                errors = one.get("statusDetails", {}).get("errorStack", [])
                return one["coreDeviceExecutionStatus"], one.get("reason", ""), tuple(errors)
    return "QUEUED", "", ()  # the device hasn't heard of it yet


def installed(client: GreengrassV2Client, device: str) -> dict[str, tuple[str, str]]:
    """The device's root components: version and state by name."""
    pages = client.get_paginator("list_installed_components").paginate(coreDeviceThingName=device)
    return {
        component["componentName"]: (
            component["componentVersion"],
            component.get("lifecycleState", ""),
        )
        for page in pages
        for component in page["installedComponents"]
    }
