"""A wait for devices, and what they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from infra.account.clients import Clients
from infra.errors import RolloutFailed
from infra.names import CHECK, CONSUMER, SERVICE
from infra.rollout import gate
from infra.rollout.clock import Clock
from infra.rollout.gate import await_devices
from tests.infra.fakes import (
    CONTEXT,
    DEVICE_ROLE,
    GOOD,
    NAME,
    THING_ARN,
    WANTED,
    Account,
    Device,
    Time,
    spec,
)

OLD = {SERVICE: ("1.1.1", "RUNNING"), CHECK: ("1.1.1", "FINISHED")}


class Waiting:
    """A wait for the devices: `seconds` of patience, and what it said."""

    def __init__(self, clients: Clients, deployment: str, devices: Sequence[str]) -> None:
        self._clients, self._deployment, self._devices = clients, deployment, devices
        self.quorum = 100
        self.time = Time()
        self.said: list[str] = []

    def until(self, *events: Callable[[], object], seconds: float = 5) -> None:
        self.time = Time(*events)
        await_devices(
            self._clients.greengrass,
            deployment=self._deployment,
            components=WANTED,
            devices=self._devices,
            quorum=self.quorum,
            stack=CONTEXT.stack,
            clock=Clock(seconds=seconds, now=self.time.now, pause=self.time.pause),
            say=self.said.append,
        )

    def failure(self, *events: Callable[[], object], seconds: float = 5) -> str:
        with pytest.raises(RolloutFailed) as failed:
            self.until(*events, seconds=seconds)
        return str(failed.value)


def done(device: Device, deployment: str, word: str) -> None:
    device.deploys(deployment, word)
    device.installed.update(GOOD)


BEFORE = dict.fromkeys(WANTED, "1.0.0")


def arriving(
    account: Account,
    *events: Callable[[], object],
    red: dict[str, Any] | None = None,
    devices: Sequence[str] = ("press-1",),
    before: Mapping[str, str] | None = None,
    say: Callable[[str], None] = lambda _line: None,
) -> tuple[str, str]:
    """The message of a failed release, and the name of the target's latest deployment then."""
    components = red or {name: spec(one) for name, one in WANTED.items()}
    deployment = account.deploy(THING_ARN, NAME, components)
    account.devices["press-1"].deploys(deployment, "SUCCEEDED")
    account.devices["press-1"].installed = GOOD | {CONSUMER: (WANTED[CONSUMER], "BROKEN")}
    time = Time(*events)
    with pytest.raises(RolloutFailed) as failed:
        gate.await_release(
            CONTEXT,
            deployment=deployment,
            components=WANTED,
            before=before or {},
            devices=devices,
            quorum=100,
            role=DEVICE_ROLE,
            clock=lambda: Clock(seconds=20, now=time.now, pause=time.pause),
            say=say,
        )
    return str(failed.value), account.deployments[-1]["deploymentName"]
