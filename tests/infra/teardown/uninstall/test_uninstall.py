"""After a destroy nothing of ours is left on any device, and everything of others is."""

from __future__ import annotations

from typing import Any

import pytest

from infra.account.target import DEFAULT_POLICIES
from infra.errors import RolloutFailed
from infra.names import SERVICE
from tests.infra.fakes import (
    GOOD,
    GROUP_ARN,
    NAME,
    OTHER,
    THING_ARN,
    WANTED,
    Account,
    Device,
    Killed,
    component_arn,
    spec,
)
from tests.infra.teardown.uninstall.destroy import OTHERS, OURS, Destroy, left, released

pytestmark = pytest.mark.usefixtures("account")


def test_ours_leave_the_device_and_the_account(account: Account, destroy: Destroy) -> None:
    released(account, {})
    destroy.run()
    assert account.devices["press-1"].installed == {}
    assert left(account) == {"by hand": set()}, (
        "leftovers of killed updates are in no state: only we can remove them"
    )
    assert destroy.said == [f"press-1 still has {', '.join(sorted(WANTED))}", "press-1 is clean"]


def test_others_components_stay_with_their_configuration(
    account: Account, destroy: Destroy
) -> None:
    released(account, OTHERS)
    destroy.run()
    assert account.devices["press-1"].installed == OTHER
    assert left(account) == {
        "by hand": {"com.other"},
        f"without {NAME}": {"com.other"},
    }, "the deployment that keeps theirs on the device has to stay"
    assert account.deployments[-1]["components"] == OTHERS
    assert account.deployments[-1]["isLatestForTarget"]
    assert account.deployments[-1]["deploymentStatus"] == "ACTIVE"


@pytest.mark.parametrize("is_root", [True, False], ids=["a root", "only a root's dependency"])
def test_a_destroy_stops_before_anything_goes_under_a_component_that_depends_on_ours(
    account: Account, destroy: Destroy, is_root: bool
) -> None:
    """The device would keep ours running, and the account would have nothing of it."""
    released(account, OTHERS)
    panel = component_arn("com.acme.panel", "1.0.0")
    account.components[panel] = {}
    account.recipes[panel] = {
        "ComponentDependencies": {SERVICE: {"DependencyType": "SOFT"}, "com.other": {}}
    }
    device = account.devices["press-1"]
    (device.installed if is_root else device.dependencies)["com.acme.panel"] = ("1.0.0", "RUNNING")
    before = left(account)
    with pytest.raises(RolloutFailed) as refused:
        destroy.run()
    assert left(account) == before
    assert account.changes == []
    assert f"com.acme.panel 1.0.0 depends on {SERVICE}" in str(refused.value)


def test_the_deployment_that_keeps_theirs_keeps_how_they_deploy(
    account: Account, destroy: Destroy
) -> None:
    theirs = {"failureHandlingPolicy": "DO_NOTHING"}
    account.deploy(THING_ARN, NAME, {**OTHERS, **OURS}, policies=theirs)
    account.devices["press-1"].installed = {**GOOD, **OTHER}
    destroy.run()
    assert account.deployments[-1]["deploymentPolicies"] == DEFAULT_POLICIES | theirs


@pytest.mark.parametrize("others", [{}, OTHERS], ids=["alone", "beside others"])
def test_a_destroy_that_was_killed_at_any_request_is_finished_by_the_next(
    account: Account, destroy: Destroy, others: dict[str, Any]
) -> None:
    released(account, others)
    destroy.run()
    requests, expected = len(account.asked), left(account)
    for killed_after in range(requests):
        account.deployments.clear()
        released(account, others)
        with pytest.raises(Killed):
            destroy.run(killed_after)
        destroy.run()
        assert left(account) == expected, f"killed at request {killed_after} of {requests}"
        assert account.devices["press-1"].installed == (OTHER if others else {})


def test_a_destroy_after_a_destroy_changes_nothing(account: Account, destroy: Destroy) -> None:
    released(account, OTHERS)
    destroy.run()
    before, changes = left(account), len(account.changes)
    destroy.run()
    assert left(account) == before
    assert account.changes[changes:] == [], "no deployment that says again what was said"


def test_devices_without_anything_of_ours_are_left_alone(
    account: Account, destroy: Destroy
) -> None:
    account.deploy(THING_ARN, "by hand", OTHERS)
    account.devices["press-1"].installed = dict(OTHER)
    destroy.run()
    assert account.changes == []


def test_ours_go_although_somebody_else_s_deployment_came_after(
    account: Account, destroy: Destroy
) -> None:
    released(account, {})
    account.deploy(THING_ARN, "by hand, later", OTHERS)
    account.devices["press-1"].installed |= OTHER
    destroy.run()
    assert account.devices["press-1"].installed == OTHER
    assert "by hand, later" in left(account), "theirs is in their hands"


def test_the_deployments_of_a_stack_whose_name_begins_like_ours_stay(
    account: Account, destroy: Destroy
) -> None:
    account.deploy(THING_ARN, f"{NAME}2", OTHERS)
    released(account, {})
    destroy.run()
    assert f"{NAME}2" in left(account)


def test_a_stack_that_has_taken_the_device_over_keeps_its_release_there(
    account: Account, destroy: Destroy
) -> None:
    released(account, {})
    ours = {name: spec("2.0.0") for name in WANTED}
    account.deploy(THING_ARN, "edge-inference/press-1", ours)
    installed = dict.fromkeys(WANTED, ("2.0.0", "RUNNING"))
    account.devices["press-1"].installed = dict(installed)
    destroy.run()
    assert account.devices["press-1"].installed == installed, (
        "the device was moved to another stack, whose users are being answered"
    )
    assert "edge-inference/press-1" in left(account)
    assert "CreateDeployment" not in account.changes


def test_a_device_that_does_not_obey_is_named_with_what_to_type(
    account: Account, destroy: Destroy
) -> None:
    released(account, {})
    destroy.obedient = False
    with pytest.raises(RolloutFailed, match="press-1 did not uninstall within 60 s") as failed:
        destroy.run()
    assert "Then destroy again." in str(failed.value)
    assert "make abandon-device DEVICE=NAME STACK=dev" in str(failed.value)
    assert NAME in left(account), "the next destroy starts from it"


LEAVING = "00000004-of-without-edge-inference-dev"  # The deployment of the uninstall.


def failing(account: Account, status: str) -> dict[str, Any]:
    """The device's report on the deployment without ours, from which it went back."""
    details = {
        "reason": "FAILED_ROLLBACK_COMPLETE: com.other is BROKEN",
        "statusDetails": {"errorStack": ["DEPLOYMENT_FAILURE", "COMPONENT_BROKEN"]},
    }
    account.devices["press-1"].deploys(LEAVING, status, **details)
    return details


@pytest.mark.parametrize("status", ["FAILED", "REJECTED", "TIMED_OUT", "CANCELED"])
def test_a_device_where_the_uninstall_failed_is_told_of_with_its_reason_and_soon(
    account: Account, destroy: Destroy, status: str
) -> None:
    released(account, OTHERS)
    failing(account, status)
    destroy.obedient = False
    with pytest.raises(RolloutFailed) as failed:
        destroy.run()
    said = str(failed.value)
    assert "the deployment to thing/press-1 that removes our components has failed:" in said
    assert f"press-1: deployment {status}: FAILED_ROLLBACK_COMPLETE: com.other is BROKEN" in said
    assert "DEPLOYMENT_FAILURE > COMPONENT_BROKEN" in said
    assert "/greengrass/v2/logs/com.other.log" in said, "whose log says more"
    assert said.endswith("\n    pulumi destroy")
    assert "Start the device" not in said, "it is on"
    assert destroy.time.passed < 2, "it can't change any more"
    devices = account.devices["press-1"]
    devices.executions.clear()
    destroy.obedient = True
    destroy.run()
    assert devices.installed == OTHER, "as the message says"


def test_a_state_that_a_device_shows_a_moment_after_its_failure_counts(
    account: Account, destroy: Destroy
) -> None:
    """The deployment failed by another's component, where the device doesn't go back."""
    released(account, OTHERS)
    failing(account, "FAILED")
    destroy.run()
    assert account.devices["press-1"].installed == OTHER


@pytest.mark.parametrize("late", ["press-2 is clean", "press-2 did not uninstall within 60 s"])
def test_the_others_of_a_group_are_waited_for_although_one_failed(
    account: Account, destroy: Destroy, late: str
) -> None:
    account.devices["press-2"] = Device(installed=dict(GOOD))
    account.devices["press-1"].installed = dict(GOOD)
    account.groups = {"presses": ["press-1", "press-2"]}
    account.deploy(GROUP_ARN, NAME, OURS)
    leaving = "00000002-of-without-edge-inference-dev"
    account.devices["press-1"].deploys(leaving, "FAILED", reason="no room left")

    def uninstalls() -> None:
        account.devices["press-2"].installed = {}
        account.devices["press-2"].deploys(leaving, "SUCCEEDED")

    destroy.target, destroy.devices, destroy.obedient = GROUP_ARN, ["press-1", "press-2"], False
    destroy.events = [*[lambda: None] * 3, *([uninstalls] if "clean" in late else [])]
    with pytest.raises(RolloutFailed, match="press-1: deployment FAILED: no room left") as failed:
        destroy.run()
    assert late in "\n".join([*destroy.said, str(failed.value)])


def test_a_device_that_is_gone_for_good_is_not_waited_for(
    account: Account, destroy: Destroy
) -> None:
    released(account, {})
    destroy.obedient = False
    with pytest.raises(RolloutFailed):
        destroy.run()
    del account.devices["press-1"]  # The message advises this.
    destroy.run()
    assert left(account) == {"by hand": set()}
