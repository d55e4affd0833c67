"""Reads about a target's devices, many at a time.

A device takes two or three calls of about 50 ms. One after another, 500 devices would take minutes.
botocore repeats throttled calls after random pauses (`clients.py`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from botocore.exceptions import ClientError

from infra.account.clients import at_once, error_code
from infra.account.greengrass import core_devices, effective_deployments

if TYPE_CHECKING:
    from mypy_boto3_greengrassv2 import GreengrassV2Client

ASKED_SINGLY = 20  # Above this, list: a call then has a hundred devices, but no versions.
# The second means that there is no such group.
_UNLISTED = frozenset({"AccessDeniedException", "ResourceNotFoundException"})
_Answer = TypeVar("_Answer")


class DeviceUnread(ClientError):
    """AWS refused to read one device; the error names it."""

    def __init__(self, device: str, error: ClientError) -> None:
        super().__init__(error.response, error.operation_name)
        self.args = (f"{device}: {error}",)


@dataclass(frozen=True, kw_only=True)
class CoreDevice:
    """What a core device has reported; a field is empty if the device or the listing lacks it."""

    thing: str
    architecture: str
    runtime: str
    version: str


def each_device(devices: Sequence[str], question: Callable[[str], _Answer]) -> list[_Answer]:
    """The results for these devices, in their order.

    Raises the error of the first device that failed, in that order. AWS's errors become
    DeviceUnread.
    """

    def named(device: str) -> _Answer:
        try:
            return question(device)
        except ClientError as error:
            raise DeviceUnread(device, error) from error

    return at_once(named, devices)


def core_devices_among(
    client: GreengrassV2Client, target: str, things: Sequence[str]
) -> list[CoreDevice]:
    """Those of a target's things that are core devices: a nucleus has reported under their names.

    `target` is an ARN. For a large group, AWS lists the devices that a deployment to the group has
    reached. If many things are left, as in a new group, all core devices of the account are listed.
    Where AWS refuses to list, each thing is asked.
    """
    said: dict[str, Any] = {}
    singly = list(things)
    for group in (target, ""):
        if len(singly) > ASKED_SINGLY:
            listed = _listed(client, group)
            if listed is None:
                break
            said |= listed
            singly = [thing for thing in things if thing not in said] if group else []
    answers = each_device(singly, partial(_core_device, client))
    said |= dict(zip(singly, answers, strict=True))
    return [
        CoreDevice(
            thing=thing,
            architecture=one.get("architecture", ""),
            runtime=one.get("runtime", ""),
            version=one.get("coreVersion", ""),
        )
        for thing in things
        if (one := said.get(thing))
    ]


def execution_states(
    client: GreengrassV2Client, devices: Iterable[str]
) -> defaultdict[str, set[str]]:
    """The states of each deployment on these devices. Each device is asked once."""
    states: defaultdict[str, set[str]] = defaultdict(set)
    for found in each_device(sorted(devices), partial(effective_deployments, client)):
        for one in found:
            states[one["deploymentId"]].add(one["coreDeviceExecutionStatus"])
    return states


def _listed(client: GreengrassV2Client, group: str) -> dict[str, Any] | None:
    try:
        return {one["coreDeviceThingName"]: one for one in core_devices(client, group)}
    except ClientError as error:
        if error_code(error) not in _UNLISTED:
            raise
    return None


def _core_device(client: GreengrassV2Client, thing: str) -> Any:
    try:
        return client.get_core_device(coreDeviceThingName=thing)
    except client.exceptions.ResourceNotFoundException:
        return None
