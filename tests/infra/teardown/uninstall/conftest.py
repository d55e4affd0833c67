"""Fixtures of these tests."""

from __future__ import annotations

import pytest

from tests.infra.fakes import (
    GOOD,
    GROUP_ARN,
    NAME,
    Account,
    Device,
)
from tests.infra.teardown.uninstall.destroy import OURS, Destroy, devices_obey


@pytest.fixture
def destroy(account: Account) -> Destroy:
    return Destroy(account)


# A device has several targets, and a group several devices


@pytest.fixture
def presses(account: Account, destroy: Destroy) -> None:
    """A group of two devices with the release. The second device joined after the last update."""
    account.devices["press-2"] = Device()
    account.groups = {"presses": ["press-1", "press-2", "a-sensor"]}
    account.deploy(GROUP_ARN, NAME, OURS)
    for device in account.devices.values():
        device.installed = dict(GOOD)
    devices_obey(account)
    destroy.target = GROUP_ARN
