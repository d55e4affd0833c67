"""The gate: an update succeeds only when the devices answer.

AWS reports a deployment as created before any device has it. `Answering` waits for the devices
themselves. On each of them the deployment must succeed, and our components must be there in the
wanted versions. Service and consumer must be RUNNING. com.ml.check must have succeeded, which it
does only on golden answers: it is RUNNING, or FINISHED on Nucleus Lite. Both conditions are needed,
because Lite calls a deployment successful too easily. A `quorum` below 100 lets the others be late.

A failed create or update leaves the old state, so the next `up` waits again. Another resource
removes our components on destroy (teardown/).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from infra.account.context import Context
from infra.account.greengrass import FAILED, deployments, versions_of
from infra.account.logs import last_words
from infra.account.many_devices import each_device
from infra.errors import RolloutFailed, told
from infra.rollout.clock import Clock
from infra.rollout.device_status import DeviceStatus, Words, read_status, reasons
from infra.rollout.restore import restore_previous

if TYPE_CHECKING:
    from mypy_boto3_greengrassv2 import GreengrassV2Client
    from mypy_boto3_greengrassv2.type_defs import GetDeploymentResponseTypeDef

# After 5 s, a component that crashes 1 s after each start has crashed three times and is BROKEN.
_STEADY_SECONDS = 5.0


_REPAIR = (
    "Repair the device. The next update starts components that are BROKEN. On a Java nucleus, a"
    " component that is FINISHED needs a restart of Greengrass first:",
    "sudo systemctl restart greengrass  # on the device, if a component is FINISHED",
    "pulumi up",
)

_NO_WAY = (RolloutFailed, BotoCoreError, ClientError)


class StaysBroken(RolloutFailed):
    """The release failed, and a device still has it."""


def await_release(
    context: Context,
    *,
    deployment: str,
    components: Mapping[str, str],
    before: Mapping[str, str],
    devices: Sequence[str],
    quorum: int,
    role: str,
    clock: Callable[[], Clock],
    say: Callable[[str], None] = print,
) -> None:
    """Wait for a release. If it stays broken, restore the earlier release and wait for that.

    `before` is the release that the last successful update left on this target, or empty. If it is
    the same release, the fault is the device's, and nothing is restored. `role` is the devices'
    role.

    Raises RolloutFailed when the release fails, also after a restore. It says what failed and what
    the devices run now. botocore's errors in the wait for the new release are passed on. A restore
    gets a clock of its own, so it may take as long again.
    """
    client = context.clients.greengrass
    await_versions = partial(
        await_devices,
        client,
        devices=devices,
        quorum=quorum,
        stack=context.stack,
        words=partial(last_words, context.clients),
        say=say,
    )
    try:
        await_versions(deployment=deployment, components=components, clock=clock())
    except StaysBroken as broken:
        if before == components:
            raise RolloutFailed(
                f"{broken}\nThis release has answered here before, so no other release is"
                " restored.",
                *_REPAIR,
            ) from None
        try:
            back = restore_previous(
                context,
                failed=_in_force(client, deployment, components),
                before=before,
                devices=devices,
                role=role,
                say=say,
            )
        except _NO_WAY as error:
            raise RolloutFailed(
                f"{broken}\nThe failed release stays, because the restore failed: {error}",
                "Mend the release, then deploy it:",
                "pulumi up",
            ) from None
        versions = versions_of(back.get("components", {}), context.names.components)
        try:
            await_versions(deployment=back["deploymentId"], components=versions, clock=clock())
        except _NO_WAY as still:
            raise RolloutFailed(
                f"{broken}\nThe earlier release was restored, but doesn't answer either:\n{still}",
                *(_REPAIR if isinstance(still, StaysBroken) else ()),
            ) from None
        listed = ", ".join(f"{component} {version}" for component, version in versions.items())
        raise RolloutFailed(
            f"{broken}\nThe last good release was restored and answers again: {listed}."
            if versions
            else f"{broken}\nThis release was removed. There is no earlier release to restore.",
            "Mend the new one, then deploy it:",
            "pulumi up",
        ) from None


def await_devices(
    client: GreengrassV2Client,
    *,
    deployment: str,
    components: Mapping[str, str],
    devices: Sequence[str],
    quorum: int,
    stack: str,
    clock: Clock,
    words: Words = lambda _device, _component: (),
    say: Callable[[str], None] = print,
) -> None:
    """Return when every device runs these versions by this deployment.

    A deployment is done when all its components run, so a component that crashes soon after its
    start may look up. So two looks, seconds apart, must show all components up, and none may have
    restarted in between. After that, the device isn't asked again. A service or consumer that is
    FINISHED in two looks is a failure, because nothing restarts it. `say` gets a line for each
    change on a device. When the time is over, `quorum` percent of the devices are enough, and the
    others are named.

    If another deployment replaces this one and carries these versions on, as another stack's does,
    the wait goes on with that deployment. Raises RolloutFailed when a device failed, when this
    deployment is replaced by one that lacks these versions, and when fewer devices than the quorum
    answer in time. Raises StaysBroken if a device still has the failed release.
    """
    watch = _Watch(client, deployment, components, clock, say, list(devices))
    overtime = False  # It is a second look at devices that answered as the time ended.
    while True:
        watch.ask_devices()
        failed = watch.failed
        if watch.silent and all(one.status == "CANCELED" for one in failed):
            follows = _not_cancelled(client, watch.deployment, components)
            if follows != watch.deployment:
                watch.deployment = follows
                continue
        if any(one.broken or one.ended for one in failed):
            raise StaysBroken(reasons(client, failed, stack, words))
        if failed:
            why = reasons(client, failed, stack, words)
            raise RolloutFailed(why, "Mend it, then deploy it again:", "pulumi up")
        if watch.silent and clock.tick():
            continue
        if overtime or not watch.once:
            break
        overtime = clock.over
        clock.pause(watch.until_second_look)
    late = [watch.seen[device] for device in watch.waiting]
    enough = len(devices) - len(late) >= math.ceil(len(devices) * quorum / 100)
    if not enough or any(one.status in FAILED for one in late):
        why = reasons(client, late, stack, words)
        raise RolloutFailed(
            f"{why}\nnot within {clock.seconds:.0f} s.",
            "The deployment waits on for a device that is off. Start it, or set a longer time, then"
            " deploy again:",
            "pulumi config set rollout-timeout SECONDS",
            "pulumi up",
        )
    if late:
        say(_short_of(late, devices, quorum, stack))


@dataclass
class _Watch:
    """The devices that are still polled: the silent ones, and those that answered `once`."""

    client: GreengrassV2Client
    deployment: str
    components: Mapping[str, str]
    clock: Clock
    say: Callable[[str], None]
    waiting: list[str]
    seen: dict[str, DeviceStatus] = field(default_factory=dict)
    once: dict[str, float] = field(default_factory=dict)  # The time of that answer, by the clock.
    ended: dict[str, float] = field(default_factory=dict)  # The start of that state, by the clock.

    def ask_devices(self) -> None:
        """Ask each device that is due, and report changes."""
        due = [
            device
            for device in self.waiting
            if device not in self.once or self.clock.now() >= self._due(device)
        ]
        looks = each_device(
            due, lambda device: read_status(self.client, device, self.deployment, self.components)
        )
        for device, now in zip(due, looks, strict=True):
            if device not in self.seen or self.seen[device].summary != now.summary:
                self.say(f"{device}: {now.summary}")
            twice = device in self.once and self.seen[device].since == now.since
            self.seen[device] = now
            self.once.pop(device, None)
            if now.ended:
                self.ended.setdefault(device, self.clock.now())
            else:
                self.ended.pop(device, None)
            if now.answers and twice:
                self.waiting.remove(device)
            elif now.answers:
                self.once[device] = self.clock.now()

    def _due(self, device: str) -> float:
        return self.once[device] + _STEADY_SECONDS

    @property
    def until_second_look(self) -> float:
        """Seconds until all of them are due for the second look."""
        return max(max(map(self._due, self.once)) - self.clock.now(), 0)

    @property
    def silent(self) -> list[DeviceStatus]:
        return [self.seen[device] for device in self.waiting if device not in self.once]

    @property
    def failed(self) -> list[DeviceStatus]:
        return [one for one in self.silent if one.failed or self._has_ended(one.device)]

    def _has_ended(self, device: str) -> bool:
        """True after FINISHED in two looks. After one, the component may be starting."""
        since = self.ended.get(device)
        return since is not None and self.clock.now() - since >= _STEADY_SECONDS


def _in_force(
    client: GreengrassV2Client, deployment: str, components: Mapping[str, str]
) -> GetDeploymentResponseTypeDef:
    """The deployment, or the deployment that replaced it and carries these components on.

    Raises RolloutFailed if another deployment replaced it without them, or if it is gone.
    """
    try:
        found = client.get_deployment(deploymentId=deployment)
    except client.exceptions.ResourceNotFoundException:
        raise RolloutFailed(
            f"deployment {deployment} was deleted while we waited.",
            "A device that has it goes on; the others won't get it. Deploy again:",
            "pulumi up --refresh",
        ) from None
    if not found["isLatestForTarget"]:
        newest = deployments(client, found["targetArn"])[0]
        carrying = client.get_deployment(deploymentId=newest["deploymentId"])
        if versions_of(carrying.get("components", {}), components) == dict(components):
            return carrying
        raise RolloutFailed(
            f"another deployment has replaced {deployment} while we waited:"
            f" '{newest.get('deploymentName', '')}' ({newest['deploymentId']},"
            f" {newest['creationTimestamp']}).",
            "Settle it with whoever made it, then deploy again:",
            f"aws greengrassv2 list-deployments --region {client.meta.region_name}",
            "pulumi up",
        )
    return found


def _not_cancelled(
    client: GreengrassV2Client, deployment: str, components: Mapping[str, str]
) -> str:
    """The deployment that brings these components. Raises RolloutFailed if there is none."""
    found = _in_force(client, deployment, components)
    if found["deploymentStatus"] == "CANCELED":
        raise RolloutFailed(
            f"deployment {deployment} was cancelled while we waited.",
            "That was done by hand, or by AWS IoT Jobs (abort-percent). Devices that haven't begun"
            " won't begin. Deploy it again:",
            "pulumi up",
        )
    return found["deploymentId"]


def _short_of(late: Sequence[DeviceStatus], devices: Sequence[str], quorum: int, stack: str) -> str:
    listed = ", ".join(f"{one.device} ({one.summary})" for one in late)
    return told(
        f"warning: {len(devices) - len(late)} of {len(devices)} devices answer, which is the quorum"
        f" of {quorum} %. Not yet: {listed}.",
        "These get this release when they are back. Nothing waits for that; see how it goes:",
        f"make status STACK={stack}",
    )
