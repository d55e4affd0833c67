"""A device has several targets, a group has several devices, and a target may be gone."""

from __future__ import annotations

from typing import Any

import pytest

from infra.dynamic import CleanDevices
from infra.dynamic import CleanDevicesProvider as Provider
from infra.errors import RolloutFailed
from tests.infra.fakes import (
    CONTEXT,
    GOOD,
    GROUP_ARN,
    NAME,
    THING_ARN,
    WANTED,
    Account,
)
from tests.infra.teardown.uninstall.destroy import (
    OTHERS,
    OURS,
    Destroy,
    devices_obey,
    left,
    released,
)

pytestmark = pytest.mark.usefixtures("account")

PROPS: dict[str, Any] = {
    **CONTEXT.props,
    "target": THING_ARN,
    "devices": ["press-1"],
    "components": WANTED,
    "timeout": 0,
}


@pytest.mark.usefixtures("presses")
def test_a_device_that_joined_the_group_since_is_cleared_with_it(
    account: Account, destroy: Destroy
) -> None:
    destroy.run()
    assert account.devices["press-2"].installed == {}
    assert "press-2 is clean" in destroy.said


@pytest.mark.usefixtures("presses")
def test_components_that_another_target_deploys_stay_and_nobody_waits_for_them(
    account: Account, destroy: Destroy
) -> None:
    """This happens when a stack moves from a thing to a group of the thing."""
    account.deploy(THING_ARN, NAME, OURS)
    devices_obey(account)
    destroy.target = THING_ARN
    destroy.run()
    assert account.devices["press-1"].installed == GOOD
    assert destroy.said[-1] == (
        f"press-1 keeps {', '.join(sorted(WANTED))}, which thinggroup/presses deploys too"
    )
    assert [one["targetArn"] for one in account.deployments] == [GROUP_ARN]


@pytest.mark.usefixtures("presses")
@pytest.mark.parametrize("status", ["CANCELED", "FAILED"])
def test_components_that_another_target_no_longer_deploys_have_to_go(
    account: Account, destroy: Destroy, status: str
) -> None:
    account.deployments[-1]["deploymentStatus"] = status
    account.deploy(THING_ARN, NAME, OURS)
    destroy.target, destroy.obedient = THING_ARN, False
    with pytest.raises(RolloutFailed):
        destroy.run()
    assert destroy.said == [f"press-1 still has {', '.join(sorted(WANTED))}"]


@pytest.mark.parametrize("status", ["IN_PROGRESS", "QUEUED"])
def test_a_device_that_shows_nothing_yet_is_clean_only_once_it_has_obeyed(
    account: Account, destroy: Destroy, status: str
) -> None:
    """It may be downloading what an earlier deployment told it to."""
    account.deploy(THING_ARN, NAME, OURS)
    destroy.obedient = False
    if status == "IN_PROGRESS":
        account.devices["press-1"].deploys("00000002-of-without-edge-inference-dev", status)
    with pytest.raises(RolloutFailed, match="press-1 did not uninstall within 60 s"):
        destroy.run()
    assert destroy.said == [f"press-1 has not uninstalled yet ({status})"]
    destroy.obedient = True
    destroy.run()
    assert left(account) == {}


# A target that is gone


def test_a_destroy_without_thing_and_device_removes_only_the_deployments(
    account: Account, destroy: Destroy
) -> None:
    released(account, OTHERS)
    account.things.clear()
    account.devices.clear()
    destroy.run()
    assert left(account) == {"by hand": {"com.other"}}
    assert "CreateDeployment" not in account.changes, "AWS would refuse it, each time"


@pytest.mark.usefixtures("presses")
def test_devices_of_a_group_that_is_gone_are_named_at_once_with_the_way_to_reach_them(
    account: Account, destroy: Destroy
) -> None:
    account.groups.clear()
    with pytest.raises(RolloutFailed) as failed:
        destroy.run()
    assert destroy.time.passed == 0, "no deployment is on its way"
    assert "no deployment to thinggroup/presses reaches press-1: it was deleted" in str(
        failed.value
    )
    assert "make abandon-device DEVICE=NAME STACK=dev" in str(failed.value)
    account.groups = {"presses": ["press-1"]}  # The message advises this.
    destroy.run()
    assert left(account) == {}


@pytest.mark.usefixtures("presses")
def test_a_device_that_left_the_group_is_named_once_the_others_are_clean(
    account: Account, destroy: Destroy
) -> None:
    account.groups = {"presses": ["press-2"]}
    with pytest.raises(RolloutFailed, match="thinggroup/presses reaches press-1"):
        destroy.run()
    assert destroy.said[-1] == "press-2 is clean"
    account.devices["press-1"].installed = {}
    destroy.run()
    assert left(account) == {}


# Between Pulumi and the devices


def test_a_destroy_ends_at_the_devices(account: Account) -> None:
    released(account, {})
    with pytest.raises(RolloutFailed, match="press-1 did not uninstall within 0 s"):
        Provider().delete("id", PROPS)
    devices_obey(account)
    Provider().delete("id", PROPS)
    assert left(account) == {"by hand": set()}


@pytest.mark.parametrize("key", ["components", "devices", "timeout", "stack"])
def test_a_change_is_only_remembered(key: str) -> None:
    diff = Provider().diff("id", PROPS, PROPS | {key: "another"})
    assert diff.changes
    assert not diff.replaces, "a replacement would uninstall what it has just installed"


def test_its_place_in_the_state_does_not_move() -> None:
    assert CleanDevices._resource_type_name == "dynamic/edge:CleanDevices", (
        "a stack of today would uninstall its devices to take on the new name"
    )
