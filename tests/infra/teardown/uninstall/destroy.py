"""A destroy over an account in memory."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from infra.rollout.clock import Clock
from infra.teardown.uninstall import uninstall
from tests.infra.fakes import (
    CONTEXT,
    GOOD,
    GROUP_ARN,
    NAME,
    OTHER,
    THING_ARN,
    WANTED,
    Account,
    Time,
    spec,
)

OTHERS = {"com.other": spec("1.0.0", configurationUpdate={"merge": '{"a":1}'})}


OURS = {name: spec(version) for name, version in WANTED.items()}


def devices_obey(account: Account) -> None:
    """Each device removes what none of its targets' latest deployments names, and reports it."""
    for name, device in account.devices.items():
        group = GROUP_ARN if name in account.groups.get("presses", []) else ""
        targets = (THING_ARN.replace("press-1", name), group)
        in_force = [
            one
            for one in account.deployments
            if one["isLatestForTarget"] and one["targetArn"] in targets
        ]
        if not in_force:
            continue  # A deleted deployment changes no device.
        wanted = {component for one in in_force for component in one["components"]}
        device.installed = {name: one for name, one in device.installed.items() if name in wanted}
        for one in in_force:
            device.deploys(one["deploymentId"], "SUCCEEDED")


def left(account: Account) -> dict[str, set[str]]:
    return {one["deploymentName"]: set(one["components"]) for one in account.deployments}


class Destroy:
    """An uninstall on devices that obey after a moment."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self.target, self.devices = THING_ARN, ["press-1"]
        self.said: list[str] = []
        self.events: list[Callable[[], object]] = []  # They happen before the devices obey.
        self.obedient = True

    def run(self, killed_after: int | None = None) -> None:
        obey = [partial(devices_obey, self._account)] * 10 if self.obedient else []
        self.time = Time(*self.events, *obey)
        killed = None if killed_after is None else len(self._account.asked) + killed_after
        self._account.killed_at = killed
        uninstall(
            CONTEXT,
            target=self.target,
            devices=self.devices,
            components=WANTED.keys(),
            clock=Clock(seconds=60, now=self.time.now, pause=self.time.pause),
            say=self.said.append,
        )


def released(account: Account, others: dict[str, Any]) -> None:
    """The release runs beside others' components. An earlier, killed `up` left a deployment."""
    account.deploy(THING_ARN, "by hand", others)
    account.deploy(THING_ARN, f"{NAME} (after 1234)", {**others, **OURS})
    account.deploy(THING_ARN, NAME, {**others, **OURS})
    account.devices["press-1"].installed = {**GOOD, **(OTHER if others else {})}
