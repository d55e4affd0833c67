"""Devices that are clean before a destroy goes on: deleting a deployment changes none of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from infra.leftovers import unless_gone
from infra.recipe import RECIPES
from infra.settings import PROJECT_TAG, STACK_TAG
from infra.target import (
    another_stack,
    deployments,
    installed,
    is_core_device,
    is_own,
    latest_deployment,
    without,
)
from infra.waiting import Clock, RolloutFailed

if TYPE_CHECKING:
    from mypy_boto3_greengrassv2 import GreengrassV2Client

_OURS = frozenset(RECIPES)


def uninstall(
    client: GreengrassV2Client,
    *,
    target: str,
    devices: Sequence[str],
    name: str,
    keep: str,
    clock: Clock,
    say: Callable[[str], None] = print,
) -> None:
    """Take our components off the devices, leave the others', and wait until that is so.

    `keep` is the deployment that Pulumi itself deletes next. What earlier, killed updates left
    under this stack's name goes here. A device whose record was deleted is gone for good. May be
    run again after it was interrupted. Where another stack of this program has taken the target
    over, the components there are that stack's, and stay.
    """
    devices = [device for device in devices if is_core_device(client, device)]
    latest = latest_deployment(client, target, devices)
    ours = frozenset() if latest and another_stack(name, latest.name) else _OURS
    others = latest.others(ours) if latest else {}
    ours_there = latest is not None and len(others) < len(latest.components)
    if ours_there or any(ours & installed(client, device).keys() for device in devices):
        leaving = client.create_deployment(
            targetArn=target,
            deploymentName=without(name),
            components=others,
            tags=dict(zip((PROJECT_TAG, STACK_TAG), name.split("/"), strict=True)),
        )["deploymentId"]
    else:
        leaving = latest.id if latest else ""
    said: dict[str, str] = {}
    while True:
        left = {device: ours & installed(client, device).keys() for device in devices}
        for device, components in left.items():
            now = f"still has {', '.join(sorted(components))}" if components else "is clean"
            if said.get(device) != now:
                said[device] = now
                say(f"{device} {now}")
        if not any(left.values()):
            break
        if not clock.tick():
            stuck = ", ".join(device for device, components in left.items() if components)
            raise RolloutFailed(
                f"{stuck} did not uninstall within {clock.seconds:.0f} s. Start the device, then"
                " pulumi destroy again. If it is gone for good: make abandon-device"
                f" DEVICE=NAME STACK={name.partition('/')[2]}, then pulumi destroy again"
            )
    for deployment in deployments(client, target):
        found, called = deployment["deploymentId"], deployment.get("deploymentName", "")
        if is_own(name, called) and found != keep and not (found == leaving and others):
            with unless_gone():
                with suppress(client.exceptions.ConflictException):  # it was over before
                    client.cancel_deployment(deploymentId=found)
                client.delete_deployment(deploymentId=found)
