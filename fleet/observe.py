"""Reads what the fleet runs, for status, console and plan.

Everything is read from AWS and nothing from Pulumi's state, because an operator wants to see what
others did after the last `pulumi up`. AWS returns a device's last report, and `heard` has its time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from infra.account.clients import Clients
from infra.account.greengrass import (
    LOCAL,
    SUCCEEDED,
    deployments,
    effective_deployments,
    installed_components,
    versions_of,
)
from infra.account.many_devices import each_device
from infra.account.target import things_of
from infra.deployment_names import stack_of
from infra.names import DEFAULT_NAMES, Names, is_check
from infra.publish import versions_from_content

if TYPE_CHECKING:
    from mypy_boto3_greengrassv2 import GreengrassV2Client
    from mypy_boto3_greengrassv2.type_defs import (
        DeploymentTypeDef,
        EffectiveDeploymentTypeDef,
        InstalledComponentTypeDef,
    )

TOLD = 8  # For this many of a device's newest deployments, the release is looked up.


@dataclass(frozen=True, kw_only=True)
class Component:
    """A root component on a device, by the device's last report."""

    name: str
    version: str
    state: str  # One of RUNNING, FINISHED, BROKEN, ….
    reason: str  # The device's reason for the state. It may be empty.
    source: str  # The id of its deployment, or LOCAL.
    wanted: str  # The version in the target's latest deployment. Empty without one.
    ours: bool  # It belongs to its target's stack.
    model: str = ""  # The prefix of the three components of its stack.

    @property
    def differs(self) -> bool:
        return bool(self.wanted) and self.version != self.wanted

    @property
    def has_ended(self) -> bool:
        """Whether it is one of ours that has to run, and is FINISHED, which is no error."""
        return self.ours and self.state == "FINISHED" and not is_check(self.name)


@dataclass(frozen=True, kw_only=True)
class Execution:
    """One deployment on one device, in the device's timeline."""

    deployment: str
    name: str
    stack: str  # The stack of this project that made it. Empty if none did.
    target: str
    status: str  # One of QUEUED, IN_PROGRESS, SUCCEEDED, COMPLETED, FAILED, ….
    reason: str
    errors: tuple[str, ...]
    created: datetime
    modified: datetime
    release: str = ""  # The release that it brought. Empty where it can't be told.


@dataclass(frozen=True, kw_only=True)
class Device:
    """A core device, with what it runs and what was sent to it (the newest first)."""

    name: str
    health: str  # Either HEALTHY or UNHEALTHY.
    heard: datetime  # The time when it last reported anything.
    platform: str
    architecture: str
    runtime: str  # Either aws_nucleus_classic or aws_nucleus_lite.
    nucleus: str  # The version of its nucleus.
    components: tuple[Component, ...]
    timeline: tuple[Execution, ...]
    drift: tuple[str, ...]  # Sentences. Empty if the device runs what was deployed.

    @property
    def versions(self) -> dict[str, str]:
        """The versions of our components on it."""
        return {one.name: one.version for one in self.components if one.ours}

    @property
    def release(self) -> str:
        """The short name of the running release; empty if it is incomplete."""
        return complete_release(self.versions)

    @property
    def concerns(self) -> tuple[Component, ...]:
        """The components that concern the target's stack: all except those of other stacks."""
        return tuple(one for one in self.components if one.ours or not one.model)


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """A target's latest deployment."""

    id: str
    name: str
    stack: str
    status: str
    created: datetime
    components: Mapping[str, str]  # Names to versions.
    names: Names = DEFAULT_NAMES  # The names of the stack that made it.

    def ours(self, names: Names) -> dict[str, str]:
        """The versions of a stack's components with these names."""
        return {name: one for name, one in self.components.items() if name in names.components}


@dataclass(frozen=True, kw_only=True)
class Target:
    """A thing or a thing group that a stack of this project has deployed to."""

    arn: str
    stack: str  # The stack that deploys there.
    latest: Deployment | None  # None if nothing was ever deployed. `observe` leaves these out.
    devices: tuple[Device, ...]
    strangers: tuple[str, ...]  # Things of the group that never reported as core devices.
    drift: tuple[str, ...]
    names: Names = DEFAULT_NAMES  # The stack's component names.
    newer: str = ""  # For a follower: its publisher has another release, and the command.

    @property
    def name(self) -> str:
        return self.arn.rpartition("/")[2]

    @property
    def release(self) -> str:
        """The stack's release in the latest deployment, whoever made it; empty without one."""
        return complete_release(self.latest.ours(self.names)) if self.latest else ""

    @property
    def is_group(self) -> bool:
        return ":thinggroup/" in self.arn


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """Everything that this project has deployed in one region of one account."""

    project: str
    region: str
    seen: datetime
    targets: tuple[Target, ...]

    def json(self) -> dict[str, Any]:
        """JSON values. Times are ISO 8601 in UTC."""
        plain: dict[str, Any] = _plain(asdict(self))
        return plain


def observe(clients: Clients, project: str, stack: str | None = None) -> Fleet:
    """Read every target of the project's stacks, or of one stack. Raises botocore's errors."""
    greengrass = clients.greengrass
    listed = deployments(greengrass)
    latest = {one["targetArn"]: one for one in listed if one["isLatestForTarget"]}
    # Each stack's newest deployment per target.
    ours: dict[tuple[str, str], DeploymentTypeDef] = {}
    for one in listed:
        made = stack_of(project, one.get("deploymentName", ""))
        if made and stack in (None, made) and one["targetArn"] in latest:
            ours.setdefault((made, one["targetArn"]), one)
    return Fleet(
        project=project,
        region=clients.region,
        seen=datetime.now(UTC),
        targets=tuple(
            _target(clients, project, name, arn, latest[arn], own)
            for (name, arn), own in sorted(ours.items(), key=lambda one: one[0])
        ),
    )


def observe_target(
    clients: Clients, project: str, stack: str, arn: str, *, names: Names, deployed: bool
) -> Target:
    """Read one target. Without `deployed` the stack never deployed there, so there is no drift.

    `names` are the stack's component names.
    """
    listed = deployments(clients.greengrass, arn)
    own = [one for one in listed if stack_of(project, one.get("deploymentName", "")) == stack]
    latest, newest = next(iter(listed), None), next(iter(own), None)
    target = _target(clients, project, stack, arn, latest, newest, names)
    return target if deployed else replace(target, drift=())


def members(clients: Clients, arn: str) -> list[str] | None:
    """The things that a deployment to this ARN reaches; None for a deleted group."""
    try:
        return things_of(clients, arn)
    except clients.iot.exceptions.ResourceNotFoundException:
        return None


def complete_release(components: Mapping[str, str]) -> str:
    """The short name of these versions, as in the stack's outputs; empty if incomplete."""
    whole = set(components) == set(Names.of(components).components)
    return versions_from_content.release_name(components) if whole else ""


def _target(
    clients: Clients,
    project: str,
    stack: str,
    arn: str,
    listed: DeploymentTypeDef | None,
    newest: DeploymentTypeDef | None,
    names: Names | None = None,
) -> Target:
    """`listed` is the target's latest deployment, `newest` the stack's own newest there.

    Without `names`, they come from that one.
    """
    greengrass = clients.greengrass
    latest = _deployment(greengrass, project, listed["deploymentId"]) if listed else None
    own = latest
    if newest and listed and newest["deploymentId"] != listed["deploymentId"]:
        own = _deployment(greengrass, project, newest["deploymentId"])
    names = names or (own.names if own else DEFAULT_NAMES)
    drift = _target_drift(stack, names, latest, own) if latest else ()
    things = members(clients, arn)
    if things is None:
        things, drift = [], (_gone(stack),)
    devices = each_device(things, lambda thing: _device(greengrass, project, thing, names, latest))
    return Target(
        arn=arn,
        stack=stack,
        names=names,
        latest=latest,
        devices=tuple(device for device in devices if device),
        strangers=tuple(
            thing for thing, device in zip(things, devices, strict=True) if device is None
        ),
        drift=drift,
    )


def _gone(stack: str) -> str:
    return (
        f"the thing group is gone: make it again, or pulumi config set --stack {stack} thing-group"
        f" NAME, or pulumi destroy --stack {stack}"
    )


def _deployment(greengrass: GreengrassV2Client, project: str, deployment: str) -> Deployment:
    found = greengrass.get_deployment(deploymentId=deployment)
    return Deployment(
        id=found["deploymentId"],
        name=found.get("deploymentName", ""),
        stack=stack_of(project, found.get("deploymentName", "")),
        status=found["deploymentStatus"],
        created=found["creationTimestamp"],
        components={
            name: spec["componentVersion"] for name, spec in found.get("components", {}).items()
        },
        names=Names.tagged(found.get("tags", {})),
    )


def _device(
    greengrass: GreengrassV2Client,
    project: str,
    thing: str,
    names: Names,
    latest: Deployment | None,
) -> Device | None:
    try:
        core = greengrass.get_core_device(coreDeviceThingName=thing)
    except greengrass.exceptions.ResourceNotFoundException:
        return None
    installed = installed_components(greengrass, thing)
    sent = effective_deployments(greengrass, thing)
    wanted = latest.components if latest else {}
    models = Names.among([one["componentName"] for one in installed])
    components = tuple(
        sorted(
            (_component(one, wanted, names, models) for one in installed), key=lambda one: one.name
        )
    )
    sent.sort(key=lambda one: one["creationTimestamp"], reverse=True)
    timeline = tuple(
        _execution(project, one, _release(greengrass, one["deploymentId"]) if at < TOLD else "")
        for at, one in enumerate(sent)
    )
    return Device(
        name=thing,
        health=core.get("status", "UNKNOWN"),
        heard=core["lastStatusUpdateTimestamp"],
        platform=core.get("platform", ""),
        architecture=core.get("architecture", ""),
        runtime=core.get("runtime", ""),
        nucleus=core.get("coreVersion", ""),
        components=components,
        timeline=timeline,
        drift=_device_drift(components, timeline, latest),
    )


def _component(
    one: InstalledComponentTypeDef,
    wanted: Mapping[str, str],
    names: Names,
    models: Sequence[Names],
) -> Component:
    name = one["componentName"]
    return Component(
        name=name,
        version=one["componentVersion"],
        state=one.get("lifecycleState", ""),
        reason=one.get("lifecycleStateDetails", ""),
        source=one.get("lastInstallationSource", ""),
        wanted=wanted.get(name, ""),
        ours=name in names.components,
        model=next((each.prefix for each in (names, *models) if name in each.components), ""),
    )


@lru_cache(maxsize=10_000)
def _release(greengrass: GreengrassV2Client, deployment: str) -> str:
    """The release that a deployment brought; empty if the deployment was replaced."""
    try:
        found = greengrass.get_deployment(deploymentId=deployment)
    except greengrass.exceptions.ResourceNotFoundException:
        return ""
    ours = Names.tagged(found.get("tags", {})).components
    return complete_release(versions_of(found.get("components", {}), ours))


def _execution(project: str, one: EffectiveDeploymentTypeDef, release: str) -> Execution:
    return Execution(
        deployment=one["deploymentId"],
        name=one["deploymentName"],
        stack=stack_of(project, one["deploymentName"]),
        target=one["targetArn"],
        status=one["coreDeviceExecutionStatus"],
        reason=one.get("reason", ""),
        errors=tuple(one.get("statusDetails", {}).get("errorStack", [])),
        created=one["creationTimestamp"],
        modified=one["modifiedTimestamp"],
        release=release,
    )


def _target_drift(
    stack: str, names: Names, latest: Deployment, own: Deployment | None
) -> tuple[str, ...]:
    """Whether the latest deployment is someone else's and drops this stack's components."""
    if latest.stack == stack:
        return ()
    carried_on = own and own.stack == stack and latest.ours(names) == own.ours(names) != {}
    if carried_on and latest.names != names:
        return ()
    whose = f"stack {latest.stack}" if latest.stack else f"'{latest.name or latest.id}'"
    return (f"replaced by {whose} on {latest.created:%Y-%m-%d %H:%M}, deployment {latest.id}",)


def _device_drift(
    components: Sequence[Component], timeline: Sequence[Execution], latest: Deployment | None
) -> tuple[str, ...]:
    """Differences from the latest deployment, once the device reports that it has finished."""
    local = [
        f"{one.name} {one.version} was deployed on the device itself"
        for one in components
        if one.source == LOCAL
    ]
    if latest is None or not any(
        one.deployment == latest.id and one.status in SUCCEEDED for one in timeline
    ):
        return tuple(local)
    there = {one.name for one in components}
    return (
        *local,
        *(
            f"{one.name} runs in {one.version}, not {one.wanted}"
            for one in components
            if one.differs and one.source != LOCAL
        ),
        *(
            f"{one.name} has ended, and has to run: pulumi up deploys it again"
            for one in components
            if one.has_ended and not one.differs
        ),
        *(f"{name} is missing" for name in sorted(set(latest.components) - there)),
    )


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value.astimezone(UTC).isoformat() if isinstance(value, datetime) else value
