"""Removes our components from the devices before a destroy goes on: deleting a deployment does not.

`CleanDevices` is created before the deployment whose components it removes. So the state holds it
even when an `up` fails, and a destroy always cleans the devices.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from infra.account.clients import Clients, unless_gone
from infra.account.followers import also_deployed
from infra.account.greengrass import (
    FAILED,
    deployments,
    execution,
    installed,
    is_core_device,
)
from infra.account.logs import last_words
from infra.account.target import latest_deployment, orphans_on, things_of
from infra.context import Context
from infra.rollout.clock import Clock, RolloutFailed
from infra.rollout.device_status import DeviceStatus, look, reasons
from infra.teardown.dependents import check_dependents

if TYPE_CHECKING:
    from mypy_boto3_greengrassv2 import GreengrassV2Client

_UNDER_WAY = frozenset({"QUEUED", "IN_PROGRESS"})


def uninstall(
    context: Context,
    *,
    target: str,
    devices: Sequence[str],
    components: AbstractSet[str],
    clock: Clock,
    say: Callable[[str], None] = print,
) -> None:
    """Take our components off the devices, leave the others', and wait until that is so.

    Then all deployments go that have this stack's name, whether Pulumi's state knows them or a
    killed or red update left them. `devices` were there at the last update; who joined since is
    waited for as well, and a device whose record was deleted is gone for good; one where the
    deployment without ours has failed is waited for no longer. May be run again after it was
    interrupted. Where another stack with the same names has taken the target over, the components
    there are that stack's, and stay; so do those that another target deploys to the same device,
    which runs what all of its targets name.
    """
    clients, name = context.clients, context.deployment_name
    client = clients.greengrass
    is_there = _is_there(clients, target)
    members = frozenset(things_of(clients, target) if is_there else ())
    devices = [one for one in sorted({*devices, *members}) if is_core_device(client, one)]
    latest = latest_deployment(client, target)
    taken_over = (
        latest and name.another_stack(latest.name) and latest.names == context.names
    )  # one with other names only carries ours on
    ours = frozenset() if taken_over else components
    others = latest.others(ours) if latest else orphans_on(client, target, devices, ours)
    ours_there = latest is not None and len(others) < len(latest.components)
    leaving = latest.id if latest and name.is_own(latest.name) else ""
    check_dependents(context, devices=devices, others=others, ours=ours)
    if is_there and (ours_there or any(ours & installed(client, one).keys() for one in devices)):
        leaving = client.create_deployment(
            targetArn=target,
            deploymentName=str(name.without),
            components=others,
            deploymentPolicies=latest.policies if latest and others else {},
            tags={**(context.default_tags or {}), **context.tags},
        )["deploymentId"]
    said: dict[str, str] = {}
    while devices:
        left, hope = [], False
        for device in devices:
            reached = leaving if device in members else ""
            clean, failed, now = _look(client, device, target, ours, reached)
            if said.get(device) != now:
                said[device] = now
                say(f"{device} {now}")
                failed = False  # what it has may be shown a moment after how its deployment went
            if not clean:
                left.append(device)
                hope |= device in members and not failed
        devices = left
        if devices and not (hope and clock.tick()):
            kept = {component: spec["componentVersion"] for component, spec in others.items()}
            seen = [look(client, one, leaving, kept) for one in devices if one in members]
            lost = [one for one in devices if one not in members]
            raise RolloutFailed(_stuck(context, seen, lost, target, clock.seconds))
    for deployment in deployments(client, target):
        id_, called = deployment["deploymentId"], deployment.get("deploymentName", "")
        done = name.is_removal(called) and leaving and id_ != leaving  # and replaced by ours
        if done or (name.is_own(called) and not (id_ == leaving and others and is_there)):
            with unless_gone():
                with suppress(client.exceptions.ConflictException):  # it was over before
                    client.cancel_deployment(deploymentId=id_)
                client.delete_deployment(deploymentId=id_)


def _is_there(clients: Clients, target: str) -> bool:
    """Whether a deployment can be made to it; a core device's record may outlive its thing."""
    kind, _, name = target.rpartition(":")[2].partition("/")
    with unless_gone():
        if kind == "thing":
            clients.iot.describe_thing(thingName=name)
        else:
            clients.iot.describe_thing_group(thingGroupName=name)
        return True
    return False


def _look(
    client: GreengrassV2Client, device: str, target: str, ours: AbstractSet[str], leaving: str
) -> tuple[bool, bool, str]:
    """Whether a device is clean, whether it won't be by this deployment, and both in words.

    It is once the deployment without ours has ended there: before that it may be installing yet
    what it doesn't show. Not so where none is on its way (`leaving` is empty).
    """
    status = execution(client, device, leaving)[0] if leaving else ""
    there = ours & installed(client, device).keys()
    elsewhere = also_deployed(client, device, target) if there else {}
    if left := there - elsewhere.keys():
        failed = status in FAILED
        why = f": the deployment without them is {status}" if failed else ""
        return False, failed, f"still has {', '.join(sorted(left))}{why}"
    if status in _UNDER_WAY:
        return False, False, f"has not uninstalled yet ({status})"
    if there:
        targets = sorted({elsewhere[one] for one in there})
        return (
            True,
            False,
            f"keeps {', '.join(sorted(there))}, which {', '.join(targets)} deploys too",
        )
    return True, False, "is clean"


def _stuck(
    context: Context,
    seen: Sequence[DeviceStatus],
    lost: Sequence[str],
    target: str,
    seconds: float,
) -> str:
    """Why these devices aren't clean, and what to type; `lost` are those that none reaches."""
    failed = [one for one in seen if one.status in FAILED]
    off = [one.device for one in seen if one not in failed]
    where = target.rpartition(":")[2]
    lines = []
    if failed:
        words = partial(last_words, context.clients)
        told = reasons(context.clients.greengrass, failed, context.stack, words)
        lines.append(
            f"the deployment to {where} that takes ours off has failed:\n{told}\nMend what it"
            " names, then pulumi destroy again, which deploys it anew."
        )
    if off:
        lines.append(
            f"{', '.join(off)} did not uninstall within {seconds:.0f} s. Start the device, then"
            " pulumi destroy again."
        )
    if lost:
        lines.append(
            f"no deployment to {where} reaches {', '.join(lost)}: it was deleted, or they left it."
            " Let it reach them once more (aws iot create-thing, create-thing-group,"
            " add-thing-to-thing-group), then pulumi destroy again."
        )
    lines.append(
        "If a device is gone for good: make abandon-device DEVICE=NAME"
        f" STACK={context.stack}, then pulumi destroy again"
    )
    return "\n".join(lines)
