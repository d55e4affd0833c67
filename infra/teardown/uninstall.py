"""Removes our components from the devices before a destroy, because deleting a deployment doesn't.

`CleanDevices` is created before the deployment whose components it removes. So the state holds it
even when an `up` fails, and a destroy always cleans the devices.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from infra.account.clients import Clients, unless_gone
from infra.account.context import Context
from infra.account.followers import also_deployed
from infra.account.greengrass import (
    FAILED,
    deployments,
    execution,
    installed,
)
from infra.account.logs import last_words
from infra.account.many_devices import core_devices_among, each_device
from infra.account.target import Deployed, latest_deployment, orphans_on, things_of
from infra.errors import RolloutFailed, told
from infra.rollout.clock import Clock
from infra.rollout.device_status import DeviceStatus, read_status, reasons
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
    """Remove our components from the devices, keep those of others, and wait for the devices.

    Then all deployments with this stack's name are deleted, also those that a killed or failed
    update left outside Pulumi's state. `devices` are those of the last update. Devices that joined
    later are waited for as well. A device whose record was deleted counts as gone. The wait ends
    for a device where the deployment without our components has failed.

    The uninstall can be run again after an interruption. If another stack with the same names has
    taken the target over, the components there belong to that stack and stay. So do components that
    another target deploys to the same device.
    """
    removal = _Removal.of(context, target, devices, components)
    removal.deploy_without_ours()
    removal.await_clean_devices(clock, say)
    removal.delete_own_deployments()


@dataclass(kw_only=True)
class _Removal:
    """What an uninstall removes from a target, and what it keeps there."""

    context: Context
    target: str
    reachable: bool  # AWS accepts a deployment to the target.
    members: frozenset[str]  # A deployment reaches these things.
    devices: list[str]  # The core devices that have to be clean.
    latest: Deployed | None
    ours: AbstractSet[str]  # Component names. Empty if another stack has taken the target over.
    others: Mapping[str, Any]  # Components that stay, as the API takes them.
    leaving: str  # The id of the deployment without ours, or of this stack's own latest one.

    @classmethod
    def of(
        cls, context: Context, target: str, devices: Sequence[str], components: AbstractSet[str]
    ) -> _Removal:
        clients, name = context.clients, context.deployment_name
        reachable = _target_exists(clients, target)
        members = frozenset(things_of(clients, target) if reachable else ())
        there = core_devices_among(clients.greengrass, target, sorted({*devices, *members}))
        latest = latest_deployment(clients.greengrass, target)
        taken_over = (
            latest and name.another_stack(latest.name) and latest.names == context.names
        )  # A stack with other names only carries ours on.
        ours = frozenset() if taken_over else components
        devices = [one.thing for one in there]
        others = (
            latest.others(ours) if latest else orphans_on(clients.greengrass, target, devices, ours)
        )
        return cls(
            context=context,
            target=target,
            reachable=reachable,
            members=members,
            devices=devices,
            latest=latest,
            ours=ours,
            others=others,
            leaving=latest.id if latest and name.is_own(latest.name) else "",
        )

    def deploy_without_ours(self) -> None:
        """Deploy without our components, if they are deployed or installed and nobody needs any."""
        latest, others = self.latest, self.others
        check_dependents(
            self.context, self.target, devices=self.devices, others=others, ours=self.ours
        )
        deployed = latest is not None and len(others) < len(latest.components)
        if self.reachable and (deployed or self._are_installed()):
            self.leaving = self.context.clients.greengrass.create_deployment(
                targetArn=self.target,
                deploymentName=str(self.context.deployment_name.without),
                components=others,
                deploymentPolicies=latest.policies if latest and others else {},
                tags=self.context.deployment_tags,
            )["deploymentId"]

    def _are_installed(self) -> bool:
        found = each_device(self.devices, partial(installed, self.context.clients.greengrass))
        return any(self.ours & there.keys() for there in found)

    def await_clean_devices(self, clock: Clock, say: Callable[[str], None]) -> None:
        """Wait until all are clean. Raises RolloutFailed if some can't be, or the time is over."""
        said: dict[str, str] = {}
        waiting = self.devices
        while waiting:
            left, hope = [], False
            for device, status in zip(waiting, each_device(waiting, self._status), strict=True):
                failed = status.failed
                if said.get(device) != status.words:
                    said[device] = status.words
                    say(f"{device} {status.words}")
                    failed = False  # The component list may arrive after the deployment's status.
                if not status.clean:
                    left.append(device)
                    hope |= device in self.members and not failed
            waiting = left
            if waiting and not (hope and clock.tick()):
                raise RolloutFailed(self._why_not(waiting, clock.seconds))

    def _status(self, device: str) -> _Status:
        reached = self.leaving if device in self.members else ""
        client = self.context.clients.greengrass
        return _status(client, device, self.target, self.ours, reached)

    def _why_not(self, devices: Sequence[str], seconds: float) -> str:
        client = self.context.clients.greengrass
        stay = {name: spec["componentVersion"] for name, spec in self.others.items()}
        reached = [one for one in devices if one in self.members]
        looks = each_device(reached, lambda one: read_status(client, one, self.leaving, stay))
        lost = [one for one in devices if one not in self.members]
        return _stuck(self.context, looks, lost, self.target, seconds)

    def delete_own_deployments(self) -> None:
        """Delete all with this stack's name, except the one that keeps others' components."""
        client, name = self.context.clients.greengrass, self.context.deployment_name
        for deployment in deployments(client, self.target):
            id_, called = deployment["deploymentId"], deployment.get("deploymentName", "")
            leaves = id_ == self.leaving
            replaced = name.is_removal(called) and self.leaving and not leaves
            keeps_others = leaves and self.others and self.reachable
            if replaced or (name.is_own(called) and not keeps_others):
                with unless_gone():
                    with suppress(client.exceptions.ConflictException):  # It has already ended.
                        client.cancel_deployment(deploymentId=id_)
                    client.delete_deployment(deploymentId=id_)


@dataclass(frozen=True, kw_only=True)
class _Status:
    """A device's progress with its uninstall."""

    clean: bool
    failed: bool = False  # This deployment won't clean it.
    words: str


def _target_exists(clients: Clients, target: str) -> bool:
    """Whether the thing or group exists. A core device's record may stay after its thing."""
    kind, _, name = target.rpartition(":")[2].partition("/")
    with unless_gone():
        if kind == "thing":
            clients.iot.describe_thing(thingName=name)
        else:
            clients.iot.describe_thing_group(thingGroupName=name)
        return True
    return False


def _status(
    client: GreengrassV2Client, device: str, target: str, ours: AbstractSet[str], leaving: str
) -> _Status:
    """A device is clean once the deployment without ours has ended there.

    Before that, it may be installing components that it doesn't show. `leaving` is empty if no such
    deployment is under way.
    """
    status = execution(client, device, leaving)[0] if leaving else ""
    there = ours & installed(client, device).keys()
    elsewhere = also_deployed(client, device, target) if there else {}
    if left := there - elsewhere.keys():
        failed = status in FAILED
        why = f": the deployment without them is {status}" if failed else ""
        return _Status(
            clean=False, failed=failed, words=f"still has {', '.join(sorted(left))}{why}"
        )
    if status in _UNDER_WAY:
        return _Status(clean=False, words=f"has not uninstalled yet ({status})")
    if there:
        targets = sorted({elsewhere[one] for one in there})
        return _Status(
            clean=True,
            words=f"keeps {', '.join(sorted(there))}, which {', '.join(targets)} deploys too",
        )
    return _Status(clean=True, words="is clean")


def _stuck(
    context: Context,
    seen: Sequence[DeviceStatus],
    lost: Sequence[str],
    target: str,
    seconds: float,
) -> str:
    """Why these devices aren't clean, and the commands. No deployment reaches those in `lost`."""
    failed = [one for one in seen if one.status in FAILED]
    off = [one.device for one in seen if one not in failed]
    where = target.rpartition(":")[2]
    lines = []
    if failed:
        words = partial(last_words, context.clients)
        why = reasons(context.clients.greengrass, failed, context.stack, words)
        lines.append(
            f"the deployment to {where} that removes our components has failed:\n{why}\n"
            "Mend what it names."
        )
    if off:
        lines.append(
            f"{', '.join(off)} did not uninstall within {seconds:.0f} s.\nStart the device."
        )
    if lost:
        lines.append(
            f"no deployment to {where} reaches {', '.join(lost)}: it was deleted, or they left it."
            "\nMake the thing or its group again, and put the thing into it."
        )
    return told(
        "\n".join(lines),
        "Then destroy again. If a device is gone for good, type first:",
        f"make abandon-device DEVICE=NAME STACK={context.stack}",
        "pulumi destroy",
    )
