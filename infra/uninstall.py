"""Devices that are clean before a destroy goes on: deleting a deployment changes none of them.

`CleanDevices` is made before the deployment whose components it takes off: whatever becomes of an
`up`, what may be on a device has somebody in the state who takes it off again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pulumi
from pulumi import dynamic

from infra.clients import Clients
from infra.destroy import Remembered
from infra.leftovers import unless_gone
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
from infra.waiting import Clock, RolloutFailed, plain_failure

if TYPE_CHECKING:
    from mypy_boto3_greengrassv2 import GreengrassV2Client


class _CleanDevicesProvider(Remembered):
    def delete(self, _id: str, props: dict[str, Any]) -> None:
        with plain_failure():
            uninstall(
                Clients(region=props["region"], profile=props.get("profile")).greengrass,
                target=props["target"],
                devices=props["devices"],
                components=props["components"].keys(),
                name=props["name"],
                clock=Clock(seconds=props["timeout"]),
            )


class CleanDevices(dynamic.Resource, module="edge", name="CleanDevices"):
    """Once it is destroyed, a target's devices and deployments are without our components.

    Named for its target, not replaced with it: whoever goes back to a target after a red move meets
    the same resource. A replaced one would still be destroyed, under the devices that answer again.
    """

    def __init__(self, props: dict[str, Any], opts: pulumi.ResourceOptions) -> None:
        super().__init__(_CleanDevicesProvider(), props["target"], props, opts)


def uninstall(
    client: GreengrassV2Client,
    *,
    target: str,
    devices: Sequence[str],
    components: AbstractSet[str],
    name: str,
    clock: Clock,
    say: Callable[[str], None] = print,
) -> None:
    """Take our components off the devices, leave the others', and wait until that is so.

    Then all deployments go that have this stack's name, whether Pulumi's state knows them or a
    killed or red update left them. A device whose record was deleted is gone for good. May be run
    again after it was interrupted. Where another stack of this program has taken the target over,
    the components there are that stack's, and stay.
    """
    devices = [device for device in devices if is_core_device(client, device)]
    latest = latest_deployment(client, target, devices)
    ours = frozenset() if latest and another_stack(name, latest.name) else components
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
        for device, found in left.items():
            now = f"still has {', '.join(sorted(found))}" if found else "is clean"
            if said.get(device) != now:
                said[device] = now
                say(f"{device} {now}")
        if not any(left.values()):
            break
        if not clock.tick():
            stuck = ", ".join(device for device, found in left.items() if found)
            raise RolloutFailed(
                f"{stuck} did not uninstall within {clock.seconds:.0f} s. Start the device, then"
                " pulumi destroy again. If it is gone for good: make abandon-device"
                f" DEVICE=NAME STACK={name.partition('/')[2]}, then pulumi destroy again"
            )
    for deployment in deployments(client, target):
        id_, called = deployment["deploymentId"], deployment.get("deploymentName", "")
        if is_own(name, called) and not (id_ == leaving and others):
            with unless_gone():
                with suppress(client.exceptions.ConflictException):  # it was over before
                    client.cancel_deployment(deploymentId=id_)
                client.delete_deployment(deploymentId=id_)
