"""Checks whether a deployment would affect others' components, or take too long."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from botocore.exceptions import ClientError

from infra.account.context import Context
from infra.account.target import Target
from infra.names import STACK_TAG
from infra.preflight.neighbours import OWN_NAMES
from infra.preflight.release_needs import Wanted
from infra.preflight.unread import withheld
from infra.settings import Settings
from recipes.findings import Bites, Finding, Rule, Severity

TAKEN_OVER = Rule(
    name="taken-over",
    severity=Severity.ERROR,
    bites=Bites.BOTH,
    reason="someone else deployed here after this stack, and an up would undo it",
    source="Greengrass developer guide, manage deployments",
)
VERSION_DELETED = Rule(
    name="version-deleted",
    severity=Severity.ERROR,
    bites=Bites.BOTH,
    reason="someone else's component runs there, but AWS no longer has this version, so the update"
    " would remove it",
    source="greengrassv2 DeleteComponent, CloudComponentState",
)
TOO_SLOW = Rule(
    name="too-slow",
    severity=Severity.ERROR,
    bites=Bites.BOTH,
    reason="the update would fail before AWS has notified enough devices",
    source="AWS IoT Jobs, maximumPerMinute",
)
CHECK_TOO_LATE = Rule(
    name="check-too-late",
    severity=Severity.WARNING,
    bites=Bites.BOTH,
    reason="with wrong answers, the update fails before the check on the device reports them",
    source="Pulumi.yaml, check-timeout and rollout-timeout",
)
RULES = (TAKEN_OVER, VERSION_DELETED, TOO_SLOW, CHECK_TOO_LATE)


def findings(
    settings: Settings, context: Context, target: Target, wanted: Wanted
) -> Iterator[Finding]:
    """Findings from the target's deployments and the two timeouts."""
    yield from _taken_over(settings, context, target)
    yield from _carried_on(settings, context, target)
    yield from _pace(settings, target)
    yield from _patience(settings, wanted)


def _taken_over(settings: Settings, context: Context, target: Target) -> Iterator[Finding]:
    if target.takeover and target.takeover.deployment.id != settings.override:
        other = target.takeover.deployment.tags.get(STACK_TAG, context.stack) != context.stack
        yield Finding(
            rule=TAKEN_OVER,
            where=f"{target.arn.rpartition(':')[2]}, {target.takeover.summary}",
            fix="find out who made it, and undo it if they agree"
            f"{'; for two models on a device, set other names' if other else ''}:",
            commands=(
                f"aws cloudtrail lookup-events --region {context.region} --lookup-attributes"
                " AttributeKey=EventName,AttributeValue=CreateDeployment",
                f"pulumi up --config override={target.takeover.deployment.id}",
                *(OWN_NAMES if other else ()),
            ),
        )


def _carried_on(settings: Settings, context: Context, target: Target) -> Iterator[Finding]:
    """The components of others that the new deployment would list, but the cloud lacks."""
    for name, spec in target.carried_on(settings).items():
        version = spec["componentVersion"]
        try:
            why = _undeployable(context, name, version)
        except ClientError as error:
            yield withheld(f"{name} {version}", error)
            continue
        if why:
            yield Finding(
                rule=VERSION_DELETED,
                where=f"{name} {version} on {target.arn.rpartition(':')[2]}: {why}",
                fix="publish it again, or deploy the other components without it, or remove all"
                " components of others:",
                commands=(
                    f"aws greengrassv2 create-deployment --region {context.region}"
                    f" --target-arn {target.arn} --components COMPONENTS",
                    "pulumi config set keep-components false",
                ),
            )


def _undeployable(context: Context, name: str, version: str) -> str:
    """Why a component version can't be deployed; empty if it can."""
    client = context.clients.greengrass
    owners = ("aws", context.account) if name.startswith("aws.") else (context.account,)
    for owner in owners:
        arn = replace(context, account=owner).component_arn(name, version)
        try:
            status = client.describe_component(arn=arn)["status"]
        except client.exceptions.ResourceNotFoundException:
            continue
        failed = status.get("componentState") == "FAILED"
        errors = [status.get("message", ""), *status.get("errors", {}).values()]
        return " ".join(["FAILED", *filter(None, errors)]) if failed else ""
    return "deleted"


def _pace(settings: Settings, target: Target) -> Iterator[Finding]:
    """Whether AWS, at `devices-per-minute`, reaches enough devices before `rollout-timeout`."""
    rate = settings.devices_per_minute
    needed = math.ceil(len(target.devices) * settings.quorum / 100)
    # The seconds until the last device is notified.
    last = (needed - 1) // rate * 60 if rate else 0
    if last >= settings.rollout_timeout:
        yield Finding(
            rule=TOO_SLOW,
            where=f"{needed} devices at {rate} a minute",
            fix=f"AWS notifies the last device after {last} s. Set 15 minutes more, or a higher"
            " devices-per-minute:",
            commands=(f"pulumi config set rollout-timeout {last + 900}",),
        )


def _patience(settings: Settings, wanted: Wanted) -> Iterator[Finding]:
    """Only a warning, because a check that passes is quick.

    A published release isn't checked: its `check-timeout` is its publisher's.
    """
    if wanted.recipes and settings.check_timeout >= settings.rollout_timeout:
        yield Finding(
            rule=CHECK_TOO_LATE,
            where=f"check-timeout {settings.check_timeout}, rollout-timeout"
            f" {settings.rollout_timeout}",
            fix="set check-timeout and 15 minutes for the rest, or a lower check-timeout:",
            commands=(f"pulumi config set rollout-timeout {settings.check_timeout + 900}",),
        )
