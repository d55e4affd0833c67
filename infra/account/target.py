"""Looks up the stack's target and what runs there today. It changes nothing.

A deployment replaces the target's previous deployment, and a device uninstalls what the new
deployment doesn't list. So each new deployment carries on the components of others, as the target's
latest deployment lists them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from infra.account.clients import Clients
from infra.account.context import Context
from infra.account.greengrass import (
    FAILED,
    LOCAL,
    SUCCEEDED,
    deployments,
    effective_deployments,
    execution,
    installed,
    installed_components,
    versions_of,
)
from infra.account.many_devices import CoreDevice, core_devices_among, each_device
from infra.deployment_names import DeploymentName, stack_of
from infra.name_patterns import target_trouble
from infra.names import STACK_TAG, Names, is_check
from infra.settings import Misconfigured, Settings

if TYPE_CHECKING:
    from mypy_boto3_greengrassv2 import GreengrassV2Client
    from mypy_boto3_greengrassv2.type_defs import (
        DeploymentPoliciesTypeDef,
        GetDeploymentResponseTypeDef,
    )


# The greengrassv2 API reference has these under DeploymentPolicies.
DEFAULT_POLICIES: DeploymentPoliciesTypeDef = {
    "failureHandlingPolicy": "ROLLBACK",
    "componentUpdatePolicy": {"timeoutInSeconds": 60, "action": "NOTIFY_COMPONENTS"},
    "configurationValidationPolicy": {"timeoutInSeconds": 30},
}


@dataclass(frozen=True, kw_only=True)
class Deployed:
    """A target's latest deployment."""

    id: str
    name: str
    created: datetime
    tags: Mapping[str, str]
    components: Mapping[str, Any]  # As the API returns them.
    policies: DeploymentPoliciesTypeDef
    failures: tuple[str, ...]  # They say why it has to be deployed again. Empty if it hasn't.

    @property
    def failed(self) -> bool:
        return bool(self.failures)

    def by_stack(self, context: Context) -> bool:
        """Whether this stack made it. A revision by hand may keep the name, so tags count."""
        named = context.deployment_name.is_own(self.name)
        return named and context.tags.items() <= self.tags.items()

    @property
    def maker(self) -> str:
        """Its name, id, date and stack. AWS doesn't say who made it."""
        stack = self.tags.get(STACK_TAG)
        return (
            f"'{self.name}' ({self.id}, {self.created.astimezone(UTC):%Y-%m-%d %H:%M} UTC,"
            f" {f'by stack {stack}' if stack else 'by no stack of this program'})"
        )

    @property
    def names(self) -> Names:
        """The component names of the stack that made it."""
        return Names.tagged(self.tags)

    def ours(self, names: Names) -> dict[str, str]:
        """The versions of the components with these names, whoever deployed them."""
        return versions_of(self.components, names.components)

    def others(self, ours: Collection[str]) -> dict[str, Any]:
        """The root components of others, with their configuration."""
        return {name: spec for name, spec in self.components.items() if name not in ours}


@dataclass(frozen=True, kw_only=True)
class Takeover:
    """Someone else's deployment that changed this stack's components on the target."""

    deployment: Deployed
    changes: tuple[str, ...]  # One for each changed component, never empty.

    @property
    def summary(self) -> str:
        """Which deployment it was, and what it changed."""
        return f"deployment {self.deployment.maker}: {', '.join(self.changes)}"


@dataclass(frozen=True, kw_only=True)
class Target:
    """A thing or a thing group, with its core devices."""

    arn: str
    cores: tuple[CoreDevice, ...]
    latest: Deployed | None
    takeover: Takeover | None
    names: Names  # The names of this stack.
    orphans: Mapping[str, Any]
    """What others have on the devices though the target has no deployment, in the API's shapes."""

    @property
    def devices(self) -> tuple[str, ...]:
        """The names of its core devices."""
        return tuple(one.thing for one in self.cores)

    @classmethod
    def find(cls, settings: Settings, context: Context) -> Target | None:
        """Look it up; None for a stack that only publishes. Raises Misconfigured if it is unfit."""
        if not (settings.thing or settings.thing_group):
            return None
        clients = context.clients
        try:
            if settings.thing:
                arn, things = _thing(clients, settings.thing)
            else:
                arn, things = _group(clients, settings.thing_group)
            cores = core_devices_among(clients.greengrass, arn, things)
            devices = [one.thing for one in cores]
            _check_names(devices, clients.region)
            latest = latest_deployment(
                clients.greengrass, arn, devices, ours=context.names.components
            )
            takeover = _find_takeover(context, arn, latest) if latest else None
            orphans = {}
            if latest is None:
                orphans = orphans_on(clients.greengrass, arn, devices, context.names.components)
        except ClientError as error:
            raise Misconfigured(
                f"AWS doesn't say what runs on {settings.thing or settings.thing_group}: {error}",
                "Without that answer this update could remove what others deployed. See whose"
                " rights these are:",
                "aws sts get-caller-identity",
            ) from error
        except BotoCoreError as error:
            raise Misconfigured(
                f"AWS can't be reached in {clients.region}: {error}",
                "See whether it answers at all, or set another region:",
                f"aws sts get-caller-identity --region {clients.region}",
                "pulumi config set aws:region REGION",
            ) from error
        if not cores:
            raise Misconfigured(
                f"{arn} has no Greengrass core device (things: {', '.join(things) or 'none'}).",
                "Install Greengrass on it and start it once, or set another:",
                f"pulumi config set {'thing' if settings.thing else 'thing-group'} NAME",
            )
        return cls(
            arn=arn,
            cores=tuple(cores),
            latest=latest,
            takeover=takeover,
            names=context.names,
            orphans=orphans,
        )

    def carried_on(self, settings: Settings) -> dict[str, Any]:
        """The components of others that a new deployment carries on, as the API takes them."""
        if not settings.keep_components:
            return {}
        return self.latest.others(self.names.components) if self.latest else dict(self.orphans)

    def policies_of_others(self, settings: Settings) -> DeploymentPoliciesTypeDef:
        """The deployment policies of the deployment whose components are carried on.

        Empty if they are AWS's default, or if nothing of others is carried on.
        """
        if not self.latest or not self.carried_on(settings):
            return {}
        theirs = {**DEFAULT_POLICIES, **self.latest.policies}
        return {} if theirs == DEFAULT_POLICIES else self.latest.policies

    def reasons_to_deploy(self, own: DeploymentName, planned: Mapping[str, str]) -> tuple[str, ...]:
        """Why this stack's latest deployment differs from its plan; empty if it doesn't.

        `planned` has our components' versions. They are compared with the account and the devices,
        never with Pulumi's state. A state may come from a backup, or another backend may have a
        stack of the same name.
        """
        if self.latest is None or not self._is_release_of(own):
            return ()
        has = self.latest.ours(self.names)
        other = tuple(
            f"deployment {self.latest.maker} has {has.get(name, 'none')} of {name}, not {version}"
            for name, version in planned.items()
            if has.get(name) != version
        )
        return other + self.latest.failures

    def deployment_name(self, own: DeploymentName, planned: Mapping[str, str]) -> str:
        """A deployment name that changes only when something has to be deployed.

        Every property of a deployment is create-only. So a changed name makes Pulumi deploy again,
        whatever its state says.
        """
        if self.latest is None:
            return str(own)
        if self._is_release_of(own) and not self.reasons_to_deploy(own, planned):
            return self.latest.name
        return str(own.after(self.latest.id))

    def is_carried_on(self, own: DeploymentName, planned: Mapping[str, str]) -> bool:
        """Whether another stack of the project made the latest deployment here and carries ours on.

        Then there is nothing to do. Otherwise the two stacks would replace each other's deployments
        for ever.
        """
        if self.latest is None:
            return False
        made = DeploymentName.parse(self.latest.name, project=own.project)
        return (
            made is not None
            and made.stack != own.stack
            and self.latest.names != self.names
            and self.latest.ours(self.names) == dict(planned)
            and not self.latest.failed
        )

    def _is_release_of(self, own: DeploymentName) -> bool:
        return self.latest is not None and stack_of(own.project, self.latest.name) == own.stack


def _check_names(devices: Sequence[str], region: str) -> None:
    """Raise Misconfigured for a device name that Docker refuses in a container's name."""
    if strange := [trouble for one in devices if (trouble := target_trouble(one))]:
        raise Misconfigured(
            "\n".join(["a core device of the target can't run this:", *strange]),
            "Give the device another thing, or take it out of the group:",
            "aws iot remove-thing-from-thing-group --thing-name NAME --thing-group-name GROUP"
            f" --region {region}",
        )


def _thing(clients: Clients, name: str) -> tuple[str, list[str]]:
    try:
        return clients.iot.describe_thing(thingName=name)["thingArn"], [name]
    except clients.iot.exceptions.ResourceNotFoundException as error:
        raise Misconfigured(
            f"thing '{name}' does not exist in {clients.region} of this account.",
            "List the core devices, and set one:",
            f"aws greengrassv2 list-core-devices --region {clients.region}",
            "pulumi config set thing NAME",
        ) from error


def _group(clients: Clients, name: str) -> tuple[str, list[str]]:
    try:
        arn = clients.iot.describe_thing_group(thingGroupName=name)["thingGroupArn"]
    except clients.iot.exceptions.ResourceNotFoundException as error:
        raise Misconfigured(
            f"thing group '{name}' does not exist in {clients.region} of this account.",
            "List the groups, and set one:",
            f"aws iot list-thing-groups --region {clients.region}",
            "pulumi config set thing-group NAME",
        ) from error
    return arn, things_of(clients, arn)


def things_of(clients: Clients, target: str) -> list[str]:
    """The thing with this ARN, or the things in the group and its subgroups."""
    kind, _, name = target.rpartition(":")[2].partition("/")
    if kind == "thing":
        return [name]
    pages = clients.iot.get_paginator("list_things_in_thing_group").paginate(
        thingGroupName=name, recursive=True, PaginationConfig={"PageSize": 250}
    )
    return sorted(thing for page in pages for thing in page["things"])


def latest_deployment(
    client: GreengrassV2Client,
    target: str,
    devices: Sequence[str] = (),
    *,
    ours: Collection[str] = (),
) -> Deployed | None:
    """The deployment that a new deployment would replace, and its status on the devices.

    `ours` are the components whose versions and states are read there. A group's own status stays
    ACTIVE whatever its devices do.
    """
    listed = deployments(client, target, latest=True)
    if not listed:
        return None
    found = client.get_deployment(deploymentId=listed[0]["deploymentId"])
    return Deployed(
        id=found["deploymentId"],
        name=found.get("deploymentName", ""),
        created=found["creationTimestamp"],
        tags=found.get("tags", {}),
        components=found.get("components", {}),
        policies=found.get("deploymentPolicies", {}),
        failures=tuple(_failures(client, found, devices, ours)),
    )


def orphans_on(
    client: GreengrassV2Client, target: str, devices: Sequence[str], ours: Collection[str]
) -> dict[str, Any]:
    """Components of others on the devices whose deployment to the target was deleted.

    Deleting a deployment removes nothing from the devices, but the target's next deployment would.
    Configuration that the deleted deployment had set stays on a device, because nothing resets it.
    Raises Misconfigured if the devices have a component in different versions.
    """
    found: dict[str, str] = {}
    for orphans in each_device(devices, partial(_orphans_of, client, target, ours)):
        for name, version in orphans:
            if found.setdefault(name, version) != version:
                raise Misconfigured(
                    f"the devices of {target} have {name} in {found[name]} and {version}.",
                    "The deployment that brought it was deleted, so nothing says which is to stay."
                    " Deploy that version:",
                    f"aws greengrassv2 create-deployment --region {client.meta.region_name}"
                    f" --target-arn {target}"
                    f' --components \'{{"{name}": {{"componentVersion": "{version}"}}}}\'',
                )
    return {name: {"componentVersion": version} for name, version in found.items()}


def _orphans_of(
    client: GreengrassV2Client, target: str, ours: Collection[str], device: str
) -> list[tuple[str, str]]:
    elsewhere = {
        one["deploymentId"]
        for one in effective_deployments(client, device)
        if one["targetArn"] != target
    }
    return [
        (one["componentName"], one["componentVersion"])
        for one in installed_components(client, device)
        if one.get("lastInstallationSource", "") not in ("", LOCAL, *elsewhere)
        and one["componentName"] not in ours
    ]


def _failures(
    client: GreengrassV2Client,
    deployment: GetDeploymentResponseTypeDef,
    devices: Sequence[str],
    ours: Collection[str],
) -> Iterator[str]:
    """Failures that a new deployment may repair.

    SUCCEEDED is a device's status when it was done. A component may have broken or ended later, or
    the device may be a new machine under the old name. ERRORED isn't counted: the Java nucleus
    reports a recovery in its daily report only, so it may be shown for a day after it is over.
    """
    if deployment["deploymentStatus"] in FAILED:
        yield f"the deployment is {deployment['deploymentStatus']}"
    wanted = versions_of(deployment.get("components", {}), ours)
    ended = partial(_failures_on, client, deployment["deploymentId"], wanted)
    for found in each_device(devices, ended):
        yield from found


def _failures_on(
    client: GreengrassV2Client, deployment: str, wanted: Mapping[str, str], device: str
) -> list[str]:
    status = execution(client, device, deployment)[0]
    if status in FAILED:
        return [f"{device} says {status}"]
    if status not in SUCCEEDED:
        return []
    there, found = installed(client, device), []
    for name, version in wanted.items():
        has, state = there.get(name, ("", ""))
        if has != version:
            found.append(f"{device} has {has or 'none'} of {name}, not {version}")
        elif state == "BROKEN" or (state == "FINISHED" and not is_check(name)):
            found.append(f"{device} has {name} {state}")
    return found


def _find_takeover(context: Context, target: str, latest: Deployed) -> Takeover | None:
    """Changes by someone else to our components since this stack's last deployment here."""
    if latest.by_stack(context):
        return None
    client = context.clients.greengrass
    had: dict[str, str] = {}
    for one in deployments(client, target):
        own = context.deployment_name.is_own(one.get("deploymentName", ""))
        if own and one["deploymentId"] != latest.id:
            found = client.get_deployment(deploymentId=one["deploymentId"])
            had = versions_of(found.get("components", {}), context.names.components)
            break
    has = latest.ours(context.names)
    changes = tuple(
        _change(component, had.get(component, ""), has.get(component, ""))
        for component in context.names.components
        if had.get(component) != has.get(component)
    )
    return Takeover(deployment=latest, changes=changes) if changes else None


def _change(component: str, had: str, has: str) -> str:
    if not had:
        return f"deploys {component} {has}"
    return f"{component} {had} became {has}" if has else f"removes {component} {had}"
