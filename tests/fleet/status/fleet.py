"""A fleet for the tests of the commands."""

# ruff: noqa: N803  # the API's own names for its parameters

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from typer.testing import CliRunner

import fleet.__main__ as commands
from fleet.observe import observe
from infra.account.clients import Clients
from tests.infra.fakes import REGION, THING_ARN, WANTED, Account, spec

AT = datetime(2026, 11, 23, 12, tzinfo=UTC)

Main = Callable[..., tuple[int, str, str]]

OURS = {name: spec(version) for name, version in WANTED.items()}


@dataclass
class Fleet(Account):
    """The account, as a command sees it that looks at all of it."""

    heard: dict[str, datetime] = field(default_factory=dict)  # Devices whose last report isn't new.

    def _get_core_device(self, *, coreDeviceThingName: str) -> dict[str, Any]:
        core = super()._get_core_device(coreDeviceThingName=coreDeviceThingName)
        heard = self.heard.get(coreDeviceThingName, datetime.now(UTC))
        return {**core, "lastStatusUpdateTimestamp": heard}

    def sends(self, name: str, components: dict[str, Any], status: str, reason: str = "") -> str:
        """A deployment, and its outcome on press-1."""
        found = self.deploy(THING_ARN, name, components)
        self.deployments[-1]["creationTimestamp"] = AT
        self.devices["press-1"].deploys(
            found,
            status,
            deploymentName=name,
            targetArn=THING_ARN,
            reason=reason,
            creationTimestamp=AT,
            modifiedTimestamp=AT,
        )
        return found


def drift(stack: str | None = None) -> tuple[str, ...]:
    """The drift of the only target and its only device."""
    [target] = observe(Clients(region=REGION, profile=None), "edge-inference", stack).targets
    [device] = target.devices
    return (*target.drift, *device.drift)


def run(*arguments: str) -> str:
    done = CliRunner().invoke(commands.app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout
