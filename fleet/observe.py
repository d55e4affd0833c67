"""What the fleet runs, as AWS tells it: the one read-only view behind status, console and plan.

Everything is asked of the API, nothing of Pulumi's state: what somebody else did since the last
`pulumi up` is just what an operator looks for. AWS repeats what a device last reported, however
old; `heard` says how old.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from infra.account.clients import Clients
from infra.account.deployment_names import stack_of
from infra.account.greengrass import (
    SUCCEEDED,
    deployments,
    effective_deployments,
    installed_components,
)
from infra.account.target import things_of
from infra.names import COMPONENTS
from infra.publish import versions

if TYPE_CHECKING:
    from mypy_boto3_greengrassv2 import GreengrassV2Client
    from mypy_boto3_greengrassv2.type_defs import (
        DeploymentTypeDef,
        EffectiveDeploymentTypeDef,
        InstalledComponentTypeDef,
    )

LOCAL = "LOCAL"  # what the API names as the source of a deployment made on the device itself
TOLD = 8  # of a device's deployments, the newest: those whose releases are asked
_AT_ONCE = 8  # devices asked at the same time; AWS throttles reads at 50 a second and account


@dataclass(frozen=True, kw_only=True)
class Component:
    """A root component on a device, as the device last reported it."""

    name: str
    version: str
    state: str  # RUNNING, FINISHED, BROKEN, …
    reason: str  # the device's words on the state, may be empty
    source: str  # id of the deployment that brought it, or LOCAL
    wanted: str  # the version in the target's latest deployment, empty where that hasn't it
    ours: bool

    @property
    def differs(self) -> bool:
        return bool(self.wanted) and self.version != self.wanted


@dataclass(frozen=True, kw_only=True)
class Execution:
    """One deployment on one device: a point of its timeline."""

    deployment: str
    name: str
    stack: str  # which stack of this project made it, empty where none did
    target: str
    status: str  # QUEUED, IN_PROGRESS, SUCCEEDED, COMPLETED, FAILED, …
    reason: str
    errors: tuple[str, ...]
    created: datetime
    modified: datetime
    release: str = ""  # that it brought, empty where it can't be told


@dataclass(frozen=True, kw_only=True)
class Device:
    """A core device, with what it runs and what was sent to it (the newest first)."""

    name: str
    health: str  # HEALTHY or UNHEALTHY
    heard: datetime  # when it last reported anything
    platform: str
    architecture: str
    runtime: str  # aws_nucleus_classic, aws_nucleus_lite
    nucleus: str  # its version
    components: tuple[Component, ...]
    timeline: tuple[Execution, ...]
    drift: tuple[str, ...]  # sentences; empty where the device runs what was deployed

    @property
    def versions(self) -> dict[str, str]:
        """Our components on it."""
        return {one.name: one.version for one in self.components if one.ours}

    @property
    def release(self) -> str:
        """The short name of the release that runs, empty unless it is whole."""
        return release_name(self.versions)


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """A target's latest deployment."""

    id: str
    name: str
    stack: str
    status: str
    created: datetime
    components: Mapping[str, str]  # name to version

    @property
    def release(self) -> str:
        return _release_among(self.components)


@dataclass(frozen=True, kw_only=True)
class Target:
    """A thing or a thing group that a stack of this project has deployed to."""

    arn: str
    stack: str  # which stack deploys there
    latest: Deployment | None  # None where nothing was ever deployed, which `observe` leaves out
    devices: tuple[Device, ...]
    strangers: tuple[str, ...]  # things of the group that have never reported as core devices
    drift: tuple[str, ...]
    newer: str = ""  # of a follower: that its publisher has another release, and what to type

    @property
    def name(self) -> str:
        return self.arn.rpartition("/")[2]

    @property
    def is_group(self) -> bool:
        return ":thinggroup/" in self.arn


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """Everything this project has deployed in one region of one account."""

    project: str
    region: str
    seen: datetime
    targets: tuple[Target, ...]

    def json(self) -> dict[str, Any]:
        """Plain values; times are ISO 8601 in UTC."""
        plain: dict[str, Any] = _plain(asdict(self))
        return plain


def observe(clients: Clients, project: str, stack: str | None = None) -> Fleet:
    """Look at every target of the project's stacks, or of one; botocore's errors pass through."""
    greengrass = clients.greengrass
    listed = deployments(greengrass)
    latest = {one["targetArn"]: one for one in listed if one["isLatestForTarget"]}
    ours = {
        (found, one["targetArn"])
        for one in listed
        if (found := stack_of(project, one.get("deploymentName", "")))
        and stack in (None, found)
        and one["targetArn"] in latest
    }
    return Fleet(
        project=project,
        region=clients.region,
        seen=datetime.now(UTC),
        targets=tuple(
            _target(clients, project, name, arn, latest[arn]) for name, arn in sorted(ours)
        ),
    )


def observe_target(
    clients: Clients, project: str, stack: str, arn: str, *, deployed: bool
) -> Target:
    """Look at one target, whatever is there; no drift where the stack hasn't `deployed` before."""
    listed = deployments(clients.greengrass, arn, latest=True)
    target = _target(clients, project, stack, arn, next(iter(listed), None))
    return target if deployed else replace(target, drift=())


def members(clients: Clients, arn: str) -> list[str] | None:
    """The things that a deployment to this ARN reaches; None where it is a group that is gone."""
    try:
        return things_of(clients, arn)
    except clients.iot.exceptions.ResourceNotFoundException:
        return None


def release_name(components: Mapping[str, str]) -> str:
    """The short name of these versions, as the stack's output has it; empty unless complete."""
    return versions.release_name(components) if set(components) == set(COMPONENTS) else ""


def _release_among(components: Mapping[str, str]) -> str:
    """The release that a deployment has, whatever of others is in it."""
    return release_name({name: one for name, one in components.items() if name in COMPONENTS})


def _target(
    clients: Clients, project: str, stack: str, arn: str, listed: DeploymentTypeDef | None
) -> Target:
    greengrass = clients.greengrass
    latest = _deployment(greengrass, project, listed["deploymentId"]) if listed else None
    drift = _target_drift(stack, latest) if latest else ()
    things = members(clients, arn)
    if things is None:
        things, drift = [], (_gone(stack),)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        devices = list(pool.map(lambda thing: _device(greengrass, project, thing, latest), things))
    return Target(
        arn=arn,
        stack=stack,
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
    )


def _device(
    greengrass: GreengrassV2Client, project: str, thing: str, latest: Deployment | None
) -> Device | None:
    try:
        core = greengrass.get_core_device(coreDeviceThingName=thing)
    except greengrass.exceptions.ResourceNotFoundException:
        return None
    installed = installed_components(greengrass, thing)
    sent = effective_deployments(greengrass, thing)
    wanted = latest.components if latest else {}
    components = tuple(
        sorted((_component(one, wanted) for one in installed), key=lambda one: one.name)
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


def _component(one: InstalledComponentTypeDef, wanted: Mapping[str, str]) -> Component:
    return Component(
        name=one["componentName"],
        version=one["componentVersion"],
        state=one.get("lifecycleState", ""),
        reason=one.get("lifecycleStateDetails", ""),
        source=one.get("lastInstallationSource", ""),
        wanted=wanted.get(one["componentName"], ""),
        ours=one["componentName"] in COMPONENTS,
    )


@lru_cache(maxsize=10_000)
def _release(greengrass: GreengrassV2Client, deployment: str) -> str:
    """What it brought, which never changes; empty also of one that an update has replaced."""
    try:
        found = greengrass.get_deployment(deploymentId=deployment).get("components", {})
    except greengrass.exceptions.ResourceNotFoundException:
        return ""
    return _release_among({name: spec["componentVersion"] for name, spec in found.items()})


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


def _target_drift(stack: str, latest: Deployment) -> tuple[str, ...]:
    if latest.stack == stack:
        return ()
    whose = f"stack {latest.stack}" if latest.stack else f"'{latest.name or latest.id}'"
    return (f"replaced by {whose} on {latest.created:%Y-%m-%d %H:%M}, deployment {latest.id}",)


def _device_drift(
    components: Sequence[Component], timeline: Sequence[Execution], latest: Deployment | None
) -> tuple[str, ...]:
    """What differs from the latest deployment; only once the device says that it is through."""
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
        *(f"{name} is missing" for name in sorted(set(latest.components) - there)),
    )


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value.astimezone(UTC).isoformat() if isinstance(value, datetime) else value
