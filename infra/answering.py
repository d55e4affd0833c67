"""Devices that answer, or a red update; devices that are clean, before a destroy goes on.

AWS calls a deployment created when it is recorded. `Answering` waits for the devices themselves:
the deployment succeeded on each, and each of our components runs in the wanted version,
com.ml.check among them, which only golden answers let start. Nucleus Lite calls a deployment
successful too easily, hence both. On destroy it takes our components off the devices before
anything else goes: deleting a deployment leaves devices as they are.

Both belong to one dynamic resource: its delete runs under a bare `pulumi destroy`, its failing
create or update leaves the old state, so the next `up` waits again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pulumi
from pulumi import dynamic

from infra.clients import Clients
from infra.putback import put_back
from infra.target import FAILED, SUCCEEDED, execution, installed
from infra.uninstall import uninstall
from infra.waiting import Clock, RolloutFailed, plain_failure

if TYPE_CHECKING:
    from mypy_boto3_greengrassv2 import GreengrassV2Client

UP = frozenset({"RUNNING", "FINISHED"})
_STEADY_SECONDS = 5.0  # what crashes a second after its start is BROKEN by then: three starts


class _AnsweringProvider(dynamic.ResourceProvider):
    """Thin: the work is in `wait` and `uninstall`."""

    serialize_as_secret_always = False

    def create(self, props: dict[str, Any]) -> dynamic.CreateResult:
        with plain_failure():
            _wait(props)
        return dynamic.CreateResult(id_=props["target"], outs=props)

    def diff(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> dynamic.DiffResult:
        # without __provider: how this class is stored says nothing about the devices
        changed = [key for key in news if key != "__provider" and olds.get(key) != news[key]]
        return dynamic.DiffResult(
            changes=bool(changed),
            replaces=["target"] if "target" in changed else [],
            delete_before_replace=False,
        )

    def update(self, _id: str, _olds: dict[str, Any], news: dict[str, Any]) -> dynamic.UpdateResult:
        with plain_failure():
            _wait(news)
        return dynamic.UpdateResult(outs=news)

    def delete(self, _id: str, props: dict[str, Any]) -> None:
        with plain_failure():
            uninstall(
                _greengrass(props),
                target=props["target"],
                devices=props["devices"],
                name=props["name"],
                keep=props["deployment"],
                clock=Clock(seconds=props["timeout"]),
            )


class Answering(dynamic.Resource, module="edge", name="Answering"):
    """The devices of a target, answering."""

    deployment: pulumi.Output[str]

    def __init__(
        self, name: str, props: dict[str, Any], *, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__(_AnsweringProvider(), name, props, opts)


def _greengrass(props: Mapping[str, Any]) -> GreengrassV2Client:
    return Clients(region=props["region"], profile=props.get("profile")).greengrass


def _wait(props: Mapping[str, Any]) -> None:
    arrive(
        _greengrass(props),
        deployment=props["deployment"],
        components=props["components"],
        devices=props["devices"],
        name=props["name"],
        clock=lambda: Clock(seconds=props["timeout"]),
    )


class StaysBroken(RolloutFailed):
    """The release failed, and a device still has what failed."""


def arrive(
    client: GreengrassV2Client,
    *,
    deployment: str,
    components: Mapping[str, str],
    devices: Sequence[str],
    name: str,
    clock: Callable[[], Clock],
    say: Callable[[str], None] = print,
) -> None:
    """Wait for a release; where it stays broken, put the last good one back, and wait for that.

    Raises RolloutFailed in either case, with what failed and what the devices run now.
    """
    try:
        wait(
            client,
            deployment=deployment,
            components=components,
            devices=devices,
            clock=clock(),
            say=say,
        )
    except StaysBroken as red:
        back = put_back(
            client,
            deployment=deployment,
            ours=components.keys(),
            devices=devices,
            name=name,
            say=say,
        )
        if back is None:
            raise RolloutFailed(
                f"{red}\nno release of before is there to put back: mend this one, then pulumi up"
                " again; or pulumi destroy"
            ) from None
        versions = {
            component: spec["componentVersion"]
            for component, spec in back["components"].items()
            if component in components
        }
        try:
            wait(
                client,
                deployment=back["deploymentId"],
                components=versions,
                devices=devices,
                clock=clock(),
                say=say,
            )
        except RolloutFailed as still:
            raise RolloutFailed(
                f"{red}\nand the release of before, put back, doesn't answer:\n{still}"
            ) from None
        listed = ", ".join(f"{component} {version}" for component, version in versions.items())
        raise RolloutFailed(
            f"{red}\nthe last good release was put back and answers again: {listed}. Mend the"
            " new one, then pulumi up again"
        ) from None


def wait(
    client: GreengrassV2Client,
    *,
    deployment: str,
    components: Mapping[str, str],
    devices: Sequence[str],
    clock: Clock,
    say: Callable[[str], None] = print,
) -> None:
    """Return once every device runs these versions by this deployment, and goes on to.

    A deployment is done as soon as all its components run, so what crashes soon after its start
    is up in some looks: two looks, seconds apart, must show all of them up. One line for each
    change on a device. Raises RolloutFailed when a device failed, when another deployment took
    this one's place, and when the time is over.
    """
    said: dict[str, str] = {}
    answered = False
    while True:
        seen = [look(client, device, deployment, components) for device in devices]
        for one in seen:
            if said.get(one.device) != one.summary:
                said[one.device] = one.summary
                say(f"{one.device}: {one.summary}")
        if failed := [one for one in seen if one.failed]:
            reasons = "\n".join(one.explain(client) for one in failed)
            raise (StaysBroken if any(one.broken for one in failed) else RolloutFailed)(reasons)
        if all(one.answers for one in seen):
            if answered:
                return
            answered = True
            clock.pause(_STEADY_SECONDS)
            continue
        answered = False
        if not client.get_deployment(deploymentId=deployment)["isLatestForTarget"]:
            raise RolloutFailed(
                f"deployment {deployment} was replaced by another one on the same target while we"
                " waited. See who: aws greengrassv2 list-deployments; then pulumi up again"
            )
        if not clock.tick():
            late = "\n".join(one.explain(client) for one in seen if not one.answers)
            raise RolloutFailed(
                f"{late}\nnot within {clock.seconds:.0f} s. The deployment goes on waiting for a"
                " device that is off: start it, then pulumi up again; for more patience: pulumi"
                " config set rollout-timeout SECONDS"
            )


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One device, as the API shows it now."""

    device: str
    status: str  # of the deployment on this device
    reason: str
    errors: tuple[str, ...]
    wanted: Mapping[str, str]
    installed: Mapping[str, tuple[str, str]]  # component to version and state

    @property
    def broken(self) -> bool:
        return any(
            self.installed.get(name) == (version, "BROKEN") for name, version in self.wanted.items()
        )

    @property
    def failed(self) -> bool:
        return self.status in FAILED or (self.status in SUCCEEDED and self.broken)

    @property
    def answers(self) -> bool:
        return self.status in SUCCEEDED and all(
            self.installed.get(name, ("", ""))[0] == version and self.installed[name][1] in UP
            for name, version in self.wanted.items()
        )

    @property
    def summary(self) -> str:
        states = ", ".join(
            f"{name} {self.installed[name][1]}"
            for name, version in self.wanted.items()
            if self.installed.get(name, ("", ""))[0] == version
        )
        return f"{self.status}{f' ({states})' if states else ''}"

    def explain(self, client: GreengrassV2Client) -> str:
        """Why this device doesn't answer, what it runs now, where its own words are."""
        core = client.get_core_device(coreDeviceThingName=self.device)
        heard = core.get("lastStatusUpdateTimestamp")
        runs = ", ".join(
            f"{name} {version} {state}" for name, (version, state) in sorted(self.installed.items())
        )
        suspects = [name for name in self.wanted if name in self.reason] or list(self.wanted)
        lines = [
            f"{self.device}: deployment {self.status}{f': {self.reason}' if self.reason else ''}",
            f"  runs now: {runs or 'nothing'}",
            f"  {core.get('status', 'of unknown health')}, last heard of {heard}",
            f"  its own words: /greengrass/v2/logs/{suspects[0]}.log on the device",
        ]
        if self.errors:
            lines.insert(1, f"  {' > '.join(self.errors)}")
        return "\n".join(lines)


def look(
    client: GreengrassV2Client, device: str, deployment: str, wanted: Mapping[str, str]
) -> Seen:
    """How far a device is with a deployment."""
    status, reason, errors = execution(client, device, deployment)
    return Seen(
        device=device,
        status=status,
        reason=reason,
        errors=errors,
        wanted=wanted,
        installed=installed(client, device),
    )
