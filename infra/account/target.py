"""What the stack deploys to, and what runs there today: look-ups only.

A deployment replaces the one before it on the same target, and a device uninstalls what the new one
doesn't name. So what others put there is carried on, as the target's latest deployment has it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from infra.account.clients import Clients
from infra.names import COMPONENTS, STACK_TAG
from infra.rollout.clock import RolloutFailed
from infra.settings import Misconfigured, Settings

if TYPE_CHECKING:
    from mypy_boto3_greengrassv2 import GreengrassV2Client
    from mypy_boto3_greengrassv2.type_defs import (
        DeploymentTypeDef,
        EffectiveDeploymentTypeDef,
        GetDeploymentResponseTypeDef,
    )

SUCCEEDED = frozenset({"SUCCEEDED", "COMPLETED"})  # a group's word and a thing's
FAILED = frozenset({"FAILED", "REJECTED", "TIMED_OUT", "CANCELED"})


@dataclass(frozen=True, kw_only=True)
class Deployed:
    """A target's latest deployment."""

    id: str
    name: str
    created: datetime
    tags: Mapping[str, str]
    components: Mapping[str, Any]  # in the API's shapes
    trouble: tuple[str, ...]  # why it has to be deployed again, empty where it hasn't

    @property
    def failed(self) -> bool:
        return bool(self.trouble)

    def by_stack(self, settings: Settings) -> bool:
        """Whether this very stack made it; who revises one by hand may well keep its name."""
        name = f"{settings.project}/{settings.stack}"
        return is_own(name, self.name) and settings.tags.items() <= self.tags.items()

    @property
    def maker(self) -> str:
        """Its name, id, date and stack; AWS doesn't tell who."""
        stack = self.tags.get(STACK_TAG)
        return (
            f"'{self.name}' ({self.id}, {self.created.astimezone(UTC):%Y-%m-%d %H:%M} UTC,"
            f" {f'by stack {stack}' if stack else 'by no stack of this program'})"
        )

    @property
    def ours(self) -> dict[str, str]:
        """The components that carry this program's names, whoever deployed them: their versions."""
        return versions_of(self.components)

    def others(self, ours: Collection[str]) -> dict[str, Any]:
        """The root components that aren't ours, with their configuration."""
        return {name: spec for name, spec in self.components.items() if name not in ours}


@dataclass(frozen=True, kw_only=True)
class Takeover:
    """Somebody else's deployment that changed what this stack had put on the target."""

    deployment: Deployed
    changes: tuple[str, ...]  # one for each component, never empty

    @property
    def summary(self) -> str:
        """Which deployment, and what it changed."""
        return f"deployment {self.deployment.maker}: {', '.join(self.changes)}"


@dataclass(frozen=True, kw_only=True)
class Target:
    """A thing or a thing group, with its core devices."""

    arn: str
    devices: tuple[str, ...]
    latest: Deployed | None
    takeover: Takeover | None

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
            takeover = _takeover(clients.greengrass, arn, latest, settings) if latest else None
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
        return cls(arn=arn, devices=devices, latest=latest, takeover=takeover)

    def kept(self, settings: Settings) -> dict[str, Any]:
        """What others deployed here and a new deployment carries on, in the API's shapes."""
        return self.latest.others(COMPONENTS) if self.latest and settings.keep_components else {}

    def check_unchanged(self, settings: Settings, client: GreengrassV2Client) -> None:
        """Raises RolloutFailed where somebody has deployed here since `find` looked.

        A release may be built for minutes in between; what came then would be lost without a word.
        What this stack made is nobody's: a killed update's request may have come late.
        """
        now = latest_deployment(client, self.arn, ())
        known = self.latest.id if self.latest else ""
        if now and now.id != known and not now.by_stack(settings):
            raise RolloutFailed(
                f"nothing was deployed: since this update looked, {self.arn} has deployment"
                f" {now.maker}, which it would overwrite unseen. pulumi up again: it carries on"
                " what others have there, or says what they changed of ours"
            )

    def deployment_name(self, wanted: str) -> str:
        """A name that stays while nothing has to be done, and changes when something has.

        Everything about a deployment is create-only, so a changed name is what makes Pulumi deploy
        again: after a red one, and after somebody else's.
        """
        if self.latest is None:
            return wanted
        project, _, stack = wanted.partition("/")
        if stack_of(project, self.latest.name) == stack and not self.latest.failed:
            return self.latest.name
        return f"{wanted} (after {self.latest.id[:8]})"


def without(wanted: str) -> str:
    """What the deployment is called by which an uninstall takes our components off."""
    return f"without {wanted}"


def stack_of(project: str, deployment: str) -> str:
    """Which stack names its deployments so (see `deployment_name`), empty where none does."""
    named = re.fullmatch(rf"{re.escape(project)}/([a-z0-9-]+)( \(after [^)]*\))?", deployment)
    return named[1] if named else ""


def is_own(name: str, deployment: str) -> bool:
    """Whether the stack `name` (project/stack) calls one so; that of `p/dev2` is none of `p/dev`.

    What it deployed, or what its uninstall did.
    """
    project, _, stack = name.partition("/")
    return stack_of(project, deployment) == stack or deployment == without(name)


def another_stack(name: str, deployment: str) -> str:
    """The other stack of the same project that calls its deployments so, else empty."""
    project, _, stack = name.partition("/")
    found = stack_of(project, deployment)
    return found if found != stack else ""


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
    return arn, things_of(clients, arn)


def things_of(clients: Clients, target: str) -> list[str]:
    """The thing of that ARN, or the things in the group and in its groups."""
    kind, _, name = target.rpartition(":")[2].partition("/")
    if kind == "thing":
        return [name]
    pages = clients.iot.get_paginator("list_things_in_thing_group").paginate(
        thingGroupName=name, recursive=True
    )
    return sorted(thing for page in pages for thing in page["things"])


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
    """The deployment that a new one on this target would replace, and how it went on the devices.

    A group's own status stays ACTIVE whatever its devices do.
    """
    pages = client.get_paginator("list_deployments").paginate(
        targetArn=target, historyFilter="LATEST_ONLY"
    )
    listed = [one for page in pages for one in page["deployments"]]
    if not listed:
        return None
    found = client.get_deployment(deploymentId=listed[0]["deploymentId"])
    return Deployed(
        id=found["deploymentId"],
        name=found.get("deploymentName", ""),
        created=found["creationTimestamp"],
        tags=found.get("tags", {}),
        components=found.get("components", {}),
        trouble=tuple(_trouble(client, found, devices)),
    )


def _trouble(
    client: GreengrassV2Client, deployment: GetDeploymentResponseTypeDef, devices: Sequence[str]
) -> Iterator[str]:
    """What has to be mended by deploying again.

    SUCCEEDED is what a device said when it was done. Since then a component may have broken, or the
    device is a new one under the old name. ERRORED isn't counted: it may be over and be shown for a
    day all the same, as the Java nucleus reports a recovery with its daily report only.
    """
    if deployment["deploymentStatus"] in FAILED:
        yield f"the deployment is {deployment['deploymentStatus']}"
    wanted = versions_of(deployment.get("components", {}))
    for device in devices:
        status = execution(client, device, deployment["deploymentId"])[0]
        if status in FAILED:
            yield f"{device} says {status}"
        elif status in SUCCEEDED:
            there = installed(client, device)
            for name, version in wanted.items():
                has, state = there.get(name, ("", ""))
                if has != version:
                    yield f"{device} has {has or 'none'} of {name}, not {version}"
                elif state == "BROKEN":
                    yield f"{device} has {name} BROKEN"


def deployments(client: GreengrassV2Client, target: str) -> list[DeploymentTypeDef]:
    """All of a target's, the newest first."""
    pages = client.get_paginator("list_deployments").paginate(targetArn=target, historyFilter="ALL")
    listed = [one for page in pages for one in page["deployments"]]
    return sorted(listed, key=lambda one: one["creationTimestamp"], reverse=True)


def _takeover(
    client: GreengrassV2Client, target: str, latest: Deployed, settings: Settings
) -> Takeover | None:
    """What somebody else did to our components since this stack's last deployment here."""
    if latest.by_stack(settings):
        return None
    name = f"{settings.project}/{settings.stack}"
    had: dict[str, str] = {}
    for one in deployments(client, target):
        if one["deploymentId"] != latest.id and is_own(name, one.get("deploymentName", "")):
            found = client.get_deployment(deploymentId=one["deploymentId"])
            had = versions_of(found.get("components", {}))
            break
    has = latest.ours
    changes = tuple(
        _change(component, had.get(component, ""), has.get(component, ""))
        for component in COMPONENTS
        if had.get(component) != has.get(component)
    )
    return Takeover(deployment=latest, changes=changes) if changes else None


def versions_of(components: Mapping[str, Any]) -> dict[str, str]:
    """Our components among a deployment's: version by name."""
    return {
        name: spec["componentVersion"] for name, spec in components.items() if name in COMPONENTS
    }


def _change(component: str, had: str, has: str) -> str:
    if not had:
        return f"deploys {component} {has}"
    return f"{component} {had} became {has}" if has else f"removes {component} {had}"


def went(client: GreengrassV2Client, devices: Iterable[str]) -> defaultdict[str, set[str]]:
    """The states of each deployment on these devices, each of which is asked once."""
    states: defaultdict[str, set[str]] = defaultdict(set)
    for device in devices:
        for one in _effective(client, device):
            states[one["deploymentId"]].add(one["coreDeviceExecutionStatus"])
    return states


def was_good(states: AbstractSet[str]) -> bool:
    """Whether a deployment succeeded on a device and failed on none.

    CANCELED is no failure of its own: a device that was off has it once the next one came.
    """
    return bool(states & SUCCEEDED) and states.isdisjoint(FAILED - {"CANCELED"})


def execution(
    client: GreengrassV2Client, device: str, deployment: str
) -> tuple[str, str, tuple[str, ...]]:
    """How a deployment goes on one device: status, reason, and the stack of error names."""
    for one in _effective(client, device):
        if one["deploymentId"] == deployment:
            errors = one.get("statusDetails", {}).get("errorStack", [])
            return one["coreDeviceExecutionStatus"], one.get("reason", ""), tuple(errors)
    return "QUEUED", "", ()  # the device hasn't heard of it yet


def _effective(client: GreengrassV2Client, device: str) -> Iterator[EffectiveDeploymentTypeDef]:
    pages = client.get_paginator("list_effective_deployments").paginate(coreDeviceThingName=device)
    for page in pages:
        yield from page["effectiveDeployments"]


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
