"""Checks whether the models of several stacks fit on one device: names, topics, memory.

A device runs the components of all its targets. So a stack's neighbours are in its own target's
latest deployment, and in those of other targets with the same devices. Two services on one topic
would both answer every request, and a client couldn't tell them apart.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from botocore.exceptions import ClientError

from infra.account.clients import unless_gone
from infra.account.context import Context
from infra.account.followers import other_targets
from infra.account.greengrass import deployments
from infra.account.many_devices import ASKED_SINGLY, each_device
from infra.account.target import Deployed, Target, latest_deployment, things_of
from infra.names import STACK_TAG
from infra.preflight.release_needs import Wanted
from infra.preflight.unread import unparsed, withheld
from infra.settings import Settings
from recipes.findings import Bites, Finding, Rule, Severity

SAME_NAMES = Rule(
    name="same-names",
    severity=Severity.ERROR,
    bites=Bites.BOTH,
    reason="another stack deploys components with these names to the same device, and a device"
    " runs one version of a component",
    source="Greengrass developer guide, deployments to several targets",
)
SAME_TOPIC = Rule(
    name="same-topic",
    severity=Severity.ERROR,
    bites=Bites.BOTH,
    reason="another model on the device uses the topic, so a request would get two answers, or"
    " an answer would be read as a request",
    source="Greengrass developer guide, publish/subscribe local messages",
)
SHARED = Rule(
    name="shared-device",
    severity=Severity.WARNING,
    bites=Bites.BOTH,
    reason="a device applies the deployments of all its targets. It fails if they list two"
    " versions of a component, and keeps what any of them lists",
    source="Greengrass developer guide, deployments to several targets",
)
MEMORY = Rule(
    name="models-memory",
    severity=Severity.INFO,
    bites=Bites.BOTH,
    reason="several models share the device's memory, and AWS doesn't say how much it has",
    source="docker run --memory in the recipes",
)
RULES = (SAME_NAMES, SAME_TOPIC, SHARED, MEMORY)

_OWN_TOPICS = ("pulumi config set request-topic TOPIC", "pulumi config set answer-topic TOPIC")
OWN_NAMES = ("pulumi config set component-prefix PREFIX", *_OWN_TOPICS)
_MEMORY = re.compile(r"docker run .*--memory (\d+)m")


@dataclass(frozen=True, kw_only=True)
class Neighbour:
    """Another deployment to devices of the target."""

    where: str  # As thing/… or thinggroup/….
    devices: tuple[str, ...]  # Those that the target also has.
    deployed: Deployed
    stack: str  # The stack of this project that made it. Empty if none did.

    @property
    def words(self) -> str:
        by = f"stack {self.stack}" if self.stack else f"'{self.deployed.name}'"
        return f"{by} (deployment {self.deployed.id} to {self.where})"


@dataclass(frozen=True, kw_only=True)
class Model:
    """What a stack's components use on a device, by their recipes."""

    prefix: str
    stack: str  # The publisher's stack.
    request_topic: str
    answer_topic: str
    memory: int  # In MiB, of all containers that may run at once.


@dataclass(frozen=True, kw_only=True)
class _Service:
    """The component that answers a model's requests."""

    component: str
    version: str
    prefix: str
    stack: str  # The publisher's stack.
    recipe: str | bytes  # JSON, not parsed.


class _StrangeRecipe(Exception):
    """A service's recipe has another form than this program's."""


def findings(
    settings: Settings, context: Context, target: Target, wanted: Wanted
) -> Iterator[Finding]:
    try:
        found = list(_others(context, target))
        for one in found:
            yield from _names(context, one)
        if target.latest and settings.keep_components:
            found.append(_on_target(target, target.latest))
        services = [(one, service) for one in found for service in _services(context, one)]
        own = _own_service(context, wanted) if services else None
    except ClientError as error:
        yield withheld(f"what else is deployed to the devices of {target.arn}", error)
        return
    others: list[tuple[Neighbour, Model]] = []
    ours: Model | None = None
    for neighbour, service in [*services, *([(None, own)] if own else [])]:
        try:
            model = _model(service)
        except _StrangeRecipe as error:
            yield unparsed(f"{service.component} {service.version}", str(error))
            continue
        if neighbour:
            others.append((neighbour, model))
        else:
            ours = model
    if ours and others:
        for one, theirs in others:
            yield from _topics(ours, one, theirs)
        listed = {model.prefix: model.memory for model in (ours, *(model for _, model in others))}
        words = ", ".join(f"{prefix}.* {size}" for prefix, size in listed.items())
        yield Finding(
            rule=MEMORY,
            where=f"up to {sum(listed.values())} MiB in containers ({words})",
            fix="the key memory is a container's limit; compare with what the device has:",
            commands=("free -m",),
        )


def _others(context: Context, target: Target) -> Iterator[Neighbour]:
    """The latest deployment of each other target that shares a device with this target.

    This project's deployments are listed, whether or not they have reached a device. In a small
    target, each device is asked as well.
    """
    client, own = context.clients.greengrass, context.deployment_name
    shared: dict[str, set[str]] = {}
    for one in deployments(client, latest=True):
        arn = one["targetArn"]
        if arn != target.arn and own.another_stack(one.get("deploymentName", "")):
            with unless_gone():
                shared[arn] = {*things_of(context.clients, arn)} & {*target.devices}
    if len(target.devices) <= ASKED_SINGLY:
        others = each_device(target.devices, lambda one: other_targets(client, one, target.arn))
        for device, arns in zip(target.devices, others, strict=True):
            for arn in arns:
                shared.setdefault(arn, set()).add(device)
    for arn, devices in sorted(shared.items()):
        latest = latest_deployment(client, arn) if devices else None
        if latest and not latest.failed:
            yield Neighbour(
                where=arn.rpartition(":")[2],
                devices=tuple(sorted(devices)),
                deployed=latest,
                stack=own.another_stack(latest.name),
            )


def _on_target(target: Target, latest: Deployed) -> Neighbour:
    """The neighbour that this target's own deployment carries on."""
    return Neighbour(
        where=target.arn.rpartition(":")[2],
        devices=target.devices,
        deployed=latest,
        stack="",
    )


def _names(context: Context, one: Neighbour) -> Iterator[Finding]:
    """Our components' names in another target's deployment."""
    if theirs := one.deployed.ours(context.names):
        versions = ", ".join(f"{name} {version}" for name, version in theirs.items())
        yield Finding(
            rule=SAME_NAMES if one.stack else SHARED,
            where=f"{', '.join(one.devices)}: {one.words} has {versions}",
            fix="let only one target deploy to this device, or give this stack other names:"
            if one.stack
            else "let only one target deploy to this device: take it out of the group, or deploy"
            " only there",
            commands=OWN_NAMES if one.stack else (),
        )


def _services(context: Context, one: Neighbour) -> Iterator[_Service]:
    """The other models' services in it: those that a stack of this program has published."""
    for name, spec in sorted(one.deployed.components.items()):
        prefix = name.removesuffix(".xgboost")
        if prefix in (name, context.component_prefix) or name.startswith("aws."):
            continue
        with unless_gone():
            version = spec["componentVersion"]
            arn = context.component_arn(name, version)
            found = context.clients.greengrass.get_component(arn=arn)
            if stack := found.get("tags", {}).get(STACK_TAG):
                yield _Service(
                    component=name,
                    version=version,
                    prefix=prefix,
                    stack=stack,
                    recipe=found["recipe"],
                )


def _topics(ours: Model, one: Neighbour, theirs: Model) -> Iterator[Finding]:
    """Findings for each topic that both we and they use."""
    both = {ours.request_topic, ours.answer_topic} & {theirs.request_topic, theirs.answer_topic}
    for topic in sorted(both):
        yield Finding(
            rule=SAME_TOPIC,
            where=f"{', '.join(one.devices)}: {topic}, of {theirs.prefix}.xgboost by stack"
            f" {theirs.stack}, in deployment {one.deployed.id} to {one.where}",
            commands=_OWN_TOPICS,
        )


def _own_service(context: Context, wanted: Wanted) -> _Service | None:
    """This stack's own service, from the published recipe, or from the release to come."""
    service = context.names.service
    version = wanted.components.get(service, "")
    recipe: str | bytes | None = None
    if version:
        with unless_gone():
            arn = context.component_arn(service, version)
            recipe = context.clients.greengrass.get_component(arn=arn)["recipe"]
    if recipe is None:
        recipes = {one["ComponentName"]: one for one in wanted.recipes}
        if service not in recipes:
            return None
        recipe = json.dumps(recipes[service])
    return _Service(
        component=service,
        version=version,
        prefix=context.component_prefix,
        stack=context.stack,
        recipe=recipe,
    )


def _model(service: _Service) -> Model:
    """What a service's recipe says. The release's three containers have the same limit.

    Raises _StrangeRecipe if the recipe has another form than this program's.
    """
    try:
        recipe = json.loads(service.recipe)
        rights = recipe["ComponentConfiguration"]["DefaultConfiguration"]["accessControl"]
        topics = {
            operation.partition("#")[2]: topic
            for policy in rights["aws.greengrass.ipc.pubsub"].values()
            for operation in policy["operations"]
            for topic in policy["resources"]
        }
        script = recipe["Manifests"][0]["Lifecycle"]["run"]["Script"]
        limit = _MEMORY.search(script)
        return Model(
            prefix=service.prefix,
            stack=service.stack,
            request_topic=topics["SubscribeToTopic"],
            answer_topic=topics["PublishToTopic"],
            memory=3 * int(limit[1]) if limit else 0,
        )
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise _StrangeRecipe(f"{type(error).__name__}: {error}") from error
