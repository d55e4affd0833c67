"""Reads the status of a device with a deployment, and explains it to an operator."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import TYPE_CHECKING

from infra.account.greengrass import FAILED, SUCCEEDED, execution, installed_components
from infra.account.logs import on_the_device
from infra.errors import RolloutFailed
from infra.names import is_check

if TYPE_CHECKING:
    from mypy_boto3_greengrassv2 import GreengrassV2Client

_MOVING = frozenset({"STARTING", "STOPPING", "ERRORED"})
Words = Callable[[str, str], Sequence[str]]  # Device and component to the log's last lines.
_TOLD_IN_FULL = 5  # A failed update only names the devices after these.


@dataclass(frozen=True, kw_only=True)
class DeviceStatus:
    """One device, as the API shows it now."""

    device: str
    status: str  # The status of the deployment on this device.
    reason: str
    errors: tuple[str, ...]
    wanted: Mapping[str, str]
    installed: Mapping[str, tuple[str, str]]  # Component to version and state.
    since: Mapping[str, datetime | None]  # The times when our components entered their states.

    @property
    def _states(self) -> dict[str, str]:
        """The states of our components that are there in the wanted version."""
        return {
            name: self.installed[name][1]
            for name, version in self.wanted.items()
            if self.installed.get(name, ("", ""))[0] == version
        }

    @property
    def broken(self) -> bool:
        return "BROKEN" in self._states.values()

    @property
    def failed(self) -> bool:
        """Whether it failed and is at rest: no rollback and no restart is under way."""
        if self.status == "FAILED":
            return _MOVING.isdisjoint(self._states.values())
        return self.status in FAILED or (self.status in SUCCEEDED and self.broken)

    @property
    def answers(self) -> bool:
        states = self._states
        return self.status in SUCCEEDED and all(
            _is_up(name, states.get(name, "")) for name in self.wanted
        )

    @property
    def ended(self) -> bool:
        """Whether the deployment succeeded, but a component that must keep running has ended.

        Nothing restarts it, because neither runtime counts an end with 0 as a failure.
        """
        return self.status in SUCCEEDED and any(
            state == "FINISHED" and not _is_up(name, state) for name, state in self._states.items()
        )

    @property
    def summary(self) -> str:
        states = ", ".join(f"{name} {state}" for name, state in self._states.items())
        return f"{self.status}{f' ({states})' if states else ''}"

    @property
    def _down(self) -> list[str]:
        """Our components that are there but not up."""
        return [name for name, state in self._states.items() if not _is_up(name, state)]

    @property
    def _culprit(self) -> str:
        """Our component that the reason names, else one that is down, else "".

        Also "" if Docker or an artifact failed: nothing was started then, so no component has new
        words (developer guide, "Detailed deployment error codes").
        """
        if any(one.startswith(("DOCKER_", "ARTIFACT_")) for one in self.errors):
            return ""
        named = (name for name in self.wanted if name in self.reason)
        return next(chain(named, self._down), "")

    def explain(self, client: GreengrassV2Client, stack: str, words: Words) -> str:
        """Why this device doesn't answer, what it runs now, and where its log is."""
        with _recorded(client, self.device):
            core = client.get_core_device(coreDeviceThingName=self.device)
            there = installed_components(client, self.device)
        why = [self.reason, *(f"{one} is {self._states[one]}" for one in self._down)]
        runs = sorted(
            f"{one['componentName']} {one['componentVersion']} {one.get('lifecycleState', '')}"
            for one in there
        )
        details = [
            f"  {one['componentName']}: {one['lifecycleStateDetails']}"
            for one in there
            if one["componentName"] in self._down and one.get("lifecycleStateDetails")
        ]
        said = words(self.device, self._culprit) if self._culprit else ()
        return "\n".join(
            [
                ": ".join([f"{self.device}: deployment {self.status}", *filter(None, why)]),
                *([f"  {' > '.join(self.errors)}"] if self.errors else []),
                *details,
                *(f"  | {line}" for line in said),
                f"  runs now: {', '.join(runs) or 'nothing'};"
                f" {core.get('status', 'of unknown health')}, last heard of"
                f" {core.get('lastStatusUpdateTimestamp')}",
                *self._log(core.get("runtime", ""), stack),
            ]
        )

    def _log(self, runtime: str, stack: str) -> list[str]:
        """Commands that show the log of the failed component, or the nucleus' own log."""
        named = self._culprit
        here = f"make logs STACK={stack} DEVICE={self.device} COMPONENT={named}"
        there = f"{on_the_device(runtime, named)}  # on the device: its own words"
        return [f"    {there}", *([f"    {here}"] if named else [])]


def _is_up(component: str, state: str) -> bool:
    """Service and consumer must be RUNNING. FINISHED is good for the check only."""
    return state == "RUNNING" or (is_check(component) and state == "FINISHED")


def read_status(
    client: GreengrassV2Client, device: str, deployment: str, wanted: Mapping[str, str]
) -> DeviceStatus:
    """A device's status with a deployment; without details if it hasn't received it."""
    with _recorded(client, device):
        status, reason, errors = execution(client, device, deployment)
        there = [] if status == "QUEUED" else installed_components(client, device)
    return DeviceStatus(
        device=device,
        status=status,
        reason=reason,
        errors=errors,
        wanted=wanted,
        installed={
            one["componentName"]: (one["componentVersion"], one.get("lifecycleState", ""))
            for one in there
        },
        since={
            one["componentName"]: one.get("lastStatusChangeTimestamp")
            for one in there
            if one["componentName"] in wanted
        },
    )


@contextmanager
def _recorded(client: GreengrassV2Client, device: str) -> Iterator[None]:
    """Raise RolloutFailed if AWS has no record of the device any more."""
    try:
        yield
    except client.exceptions.ResourceNotFoundException:
        raise RolloutFailed(
            f"{device} is no core device any more: its record was deleted while we waited.",
            "If it isn't gone for good, restart Greengrass on it, so that it reports itself again."
            " If it is, set another thing (a group goes on without it). Then deploy again:",
            "pulumi config set thing NAME",
            "pulumi up",
        ) from None


def reasons(
    client: GreengrassV2Client, devices: Sequence[DeviceStatus], stack: str, words: Words
) -> str:
    """The reason for each device. Of many devices, failed ones come first; the rest are named."""
    ordered = sorted(devices, key=lambda one: (not one.broken, one.status != "FAILED"))
    told = [one.explain(client, stack, words) for one in ordered[:_TOLD_IN_FULL]]
    if rest := ordered[_TOLD_IN_FULL:]:
        told.append(
            f"and {len(rest)} more: {', '.join(f'{one.device} {one.status}' for one in rest)}"
        )
    return "\n".join(told)
