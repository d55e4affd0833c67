"""Green means that every device answers; a destroy means that none of ours is left on any.

Time passes only when the code waits, and each moment something may happen on the devices.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest

from infra.answering import Answering, Clock, RolloutFailed, uninstall, wait
from infra.answering import _AnsweringProvider as Provider
from infra.clients import Clients
from infra.recipe import CHECK, CONSUMER, SERVICE
from infra.target import FAILED
from tests.infra.fakes import THING_ARN, Account, Device, Killed, Time, spec

NAME = "edge-inference/dev"
WANTED = {SERVICE: "1.2.3", CONSUMER: "1.3.4", CHECK: "1.4.5"}
GOOD = {SERVICE: ("1.2.3", "RUNNING"), CONSUMER: ("1.3.4", "RUNNING"), CHECK: ("1.4.5", "RUNNING")}
OLD = {SERVICE: ("1.1.1", "RUNNING"), CHECK: ("1.1.1", "FINISHED")}
OTHER = {"com.other": ("1.0.0", "RUNNING")}
OTHERS = {"com.other": spec("1.0.0", configurationUpdate={"merge": '{"a":1}'})}


@pytest.fixture
def deployment(account: Account) -> str:
    return account.deploy(THING_ARN, NAME, {name: spec(one) for name, one in WANTED.items()})


class Waiting:
    """A wait for the devices; `seconds` of patience, and what it said."""

    def __init__(self, clients: Clients, deployment: str, devices: Sequence[str]) -> None:
        self._clients, self._deployment, self._devices = clients, deployment, devices
        self.time = Time()
        self.said: list[str] = []

    def until(self, *events: Callable[[], object], seconds: float = 5) -> None:
        self.time = Time(*events)
        wait(
            self._clients.greengrass,
            deployment=self._deployment,
            components=WANTED,
            devices=self._devices,
            clock=Clock(seconds=seconds, now=self.time.now, pause=self.time.pause),
            say=self.said.append,
        )

    def failure(self, *events: Callable[[], object], seconds: float = 5) -> str:
        with pytest.raises(RolloutFailed) as failed:
            self.until(*events, seconds=seconds)
        return str(failed.value)


@pytest.fixture
def waiting(account: Account, clients: Clients, deployment: str) -> Waiting:
    return Waiting(clients, deployment, sorted(account.devices))


def done(device: Device, deployment: str, word: str) -> None:
    device.deploys(deployment, word)
    device.installed.update(GOOD)


def test_a_device_that_answers_is_green_at_once(
    account: Account, waiting: Waiting, deployment: str
) -> None:
    press = account.devices["press-1"]
    press.installed = {**OTHER, **GOOD}
    for word in ("SUCCEEDED", "COMPLETED"):  # a group's and a thing's
        press.deploys(deployment, word)
        waiting.until()
        assert waiting.time.passed == 0, "nothing was left to wait for"


def test_a_component_that_did_its_work_and_ended_is_as_good_as_one_that_runs(
    account: Account, waiting: Waiting, deployment: str
) -> None:
    account.devices["press-1"].installed = GOOD | {CHECK: ("1.4.5", "FINISHED")}
    account.devices["press-1"].deploys(deployment, "SUCCEEDED")
    waiting.until()


@pytest.mark.parametrize(
    ("status", "installed"),
    [
        ("QUEUED", GOOD),
        ("IN_PROGRESS", GOOD),
        ("SUCCEEDED", {}),
        ("SUCCEEDED", OLD),
        ("SUCCEEDED", {name: one for name, one in GOOD.items() if name != CHECK}),
        ("SUCCEEDED", GOOD | {CHECK: ("1.4.4", "RUNNING")}),
        ("SUCCEEDED", GOOD | {SERVICE: ("1.2.3", "ERRORED")}),
        ("SUCCEEDED", GOOD | {SERVICE: ("1.2.3", "STARTING")}),
        ("SUCCEEDED", GOOD | {SERVICE: ("1.2.3", "INSTALLED")}),
        ("SUCCEEDED", GOOD | {CHECK: ("1.4.5", "NEW")}),
        ("COMPLETED", GOOD | {CHECK: ("1.4.5", "STOPPING")}),
    ],
)
def test_status_and_versions_and_states_must_all_be_right(
    account: Account, waiting: Waiting, deployment: str, status: str, installed: Any
) -> None:
    account.devices["press-1"].deploys(deployment, status)
    account.devices["press-1"].installed = installed
    assert "not within 5 s" in waiting.failure(), "Lite says SUCCEEDED for less than that"


def test_every_device_of_a_group_has_to_answer(
    account: Account, clients: Clients, deployment: str
) -> None:
    account.devices["press-2"] = Device(installed=dict(OLD))
    account.devices["press-1"].installed = GOOD
    account.devices["press-1"].deploys(deployment, "SUCCEEDED")
    late = Waiting(clients, deployment, ["press-1", "press-2"]).failure()
    assert "press-2: deployment QUEUED" in late
    assert "press-1" not in late, "whoever answers is no part of the reason"


def test_the_wait_ends_as_soon_as_the_device_answers_and_each_change_is_said_once(
    account: Account, waiting: Waiting, deployment: str
) -> None:
    press = account.devices["press-1"]
    press.installed = dict(OLD)
    waiting.until(
        lambda: press.deploys(deployment, "IN_PROGRESS"),
        lambda: None,
        lambda: press.installed.update({SERVICE: ("1.2.3", "STARTING")}),
        lambda: None,
        lambda: done(press, deployment, "SUCCEEDED"),
        seconds=100,
    )
    assert waiting.time.passed == 5, "as many moments as it took, not the whole time"
    assert waiting.said == [
        "press-1: QUEUED",
        "press-1: IN_PROGRESS",
        f"press-1: IN_PROGRESS ({SERVICE} STARTING)",
        f"press-1: SUCCEEDED ({SERVICE} RUNNING, {CONSUMER} RUNNING, {CHECK} RUNNING)",
    ], "a log of repeated lines hides the one that matters"


@pytest.mark.parametrize("status", sorted(FAILED))
def test_a_device_that_failed_is_red_at_once_with_its_own_reason(
    account: Account, waiting: Waiting, deployment: str, status: str
) -> None:
    press = account.devices["press-1"]
    press.installed, press.status = {**OLD, **OTHER}, "UNHEALTHY"
    press.deploys(
        deployment,
        status,
        reason=f"FAILED_ROLLBACK_COMPLETE: {CHECK} is broken",
        statusDetails={"errorStack": ["DEPLOYMENT_FAILURE", "COMPONENT_BROKEN"]},
    )
    said = waiting.failure()
    assert waiting.time.passed == 0, "it won't become better by waiting"
    assert f"press-1: deployment {status}: FAILED_ROLLBACK_COMPLETE: {CHECK} is broken" in said
    assert "DEPLOYMENT_FAILURE > COMPONENT_BROKEN" in said
    assert f"runs now: {CHECK} 1.1.1 FINISHED, {SERVICE} 1.1.1 RUNNING, com.other 1.0.0" in said, (
        "a device that rolled back serves the old release: the operator has to know"
    )
    assert "UNHEALTHY, last heard of 2026-11-23 07:00" in said
    assert f"/{CHECK}.log" in said, "the log of the component that the reason names"


def test_a_failure_without_a_reason_still_says_where_to_look(
    account: Account, waiting: Waiting, deployment: str
) -> None:
    account.devices["press-1"].deploys(deployment, "FAILED")
    said = waiting.failure()
    assert re.search(r"deployment FAILED\n", said)
    assert "runs now: nothing" in said
    assert f"/greengrass/v2/logs/{SERVICE}.log" in said


@pytest.mark.parametrize("broken", [SERVICE, CHECK])
def test_what_broke_after_the_success_is_red_at_once(
    account: Account, waiting: Waiting, deployment: str, broken: str
) -> None:
    press = account.devices["press-1"]
    press.installed = GOOD | {broken: (WANTED[broken], "BROKEN")}
    press.deploys(deployment, "SUCCEEDED")
    assert f"{broken} {WANTED[broken]} BROKEN" in waiting.failure()
    assert waiting.time.passed == 0, "the nucleus has given it up after three starts"


def test_an_old_version_that_is_broken_is_what_the_new_one_is_for(
    account: Account, waiting: Waiting, deployment: str
) -> None:
    press = account.devices["press-1"]
    press.installed = {SERVICE: ("1.1.1", "BROKEN")}
    press.deploys(deployment, "IN_PROGRESS")
    waiting.until(lambda: done(press, deployment, "COMPLETED"))


def test_a_version_that_is_broken_while_the_device_still_works_at_it_may_recover(
    account: Account, waiting: Waiting, deployment: str
) -> None:
    press = account.devices["press-1"]
    press.installed = GOOD | {CHECK: ("1.4.5", "BROKEN")}
    press.deploys(deployment, "IN_PROGRESS")
    waiting.until(lambda: done(press, deployment, "COMPLETED"))


def test_a_deployment_that_was_replaced_meanwhile_is_not_waited_for(
    account: Account, waiting: Waiting, deployment: str
) -> None:
    said = waiting.failure(lambda: account.deploy(THING_ARN, "by hand", {}), seconds=1000)
    assert f"deployment {deployment} was replaced by another one" in said
    assert "aws greengrassv2 list-deployments" in said
    assert waiting.time.passed == 1, "it will never be done: the device does the other one"


def test_a_device_that_is_off_is_named_with_what_to_type(waiting: Waiting) -> None:
    said = waiting.failure(seconds=120)
    assert waiting.time.passed == 120, "the whole patience, and no more"
    assert "press-1: deployment QUEUED" in said
    assert "last heard of 2026-11-23 07:00" in said
    assert "not within 120 s" in said
    assert "pulumi config set rollout-timeout SECONDS" in said


# The uninstall


def devices_obey(account: Account) -> None:
    """Each device removes what the latest deployment of the thing doesn't name."""
    latest = [one for one in account.deployments if one["isLatestForTarget"]]
    wanted = latest[-1]["components"] if latest else {}
    for device in account.devices.values():
        device.installed = {name: one for name, one in device.installed.items() if name in wanted}


def left(account: Account) -> dict[str, set[str]]:
    return {one["deploymentName"]: set(one["components"]) for one in account.deployments}


class Destroy:
    """An uninstall on devices that obey after a moment."""

    def __init__(self, account: Account, clients: Clients) -> None:
        self._account, self._clients = account, clients
        self.keep = ""
        self.said: list[str] = []
        self.obedient = True

    def run(self, killed_after: int | None = None) -> None:
        time = Time(*[partial(devices_obey, self._account)] * 10 if self.obedient else [])
        killed = None if killed_after is None else len(self._account.asked) + killed_after
        self._account.killed_at = killed
        uninstall(
            self._clients.greengrass,
            target=THING_ARN,
            devices=["press-1"],
            name=NAME,
            keep=self.keep,
            clock=Clock(seconds=60, now=time.now, pause=time.pause),
            say=self.said.append,
        )


@pytest.fixture
def destroy(account: Account, clients: Clients) -> Destroy:
    return Destroy(account, clients)


def released(account: Account, destroy: Destroy, others: dict[str, Any]) -> None:
    """The release runs beside others' components; an earlier, killed `up` left a deployment."""
    ours = {name: spec(version) for name, version in WANTED.items()}
    account.deploy(THING_ARN, "by hand", others)
    account.deploy(THING_ARN, f"{NAME} (after 1234)", {**others, **ours})
    destroy.keep = account.deploy(THING_ARN, NAME, {**others, **ours})
    account.devices["press-1"].installed = {**GOOD, **(OTHER if others else {})}


def test_ours_leave_the_device_and_the_account_but_for_what_pulumi_deletes_itself(
    account: Account, destroy: Destroy
) -> None:
    released(account, destroy, {})
    destroy.run()
    assert account.devices["press-1"].installed == {}
    assert left(account) == {"by hand": set(), NAME: set(WANTED)}, (
        "what killed updates left is in nobody's state: who, if not we?"
    )
    assert destroy.said == [f"press-1 still has {', '.join(sorted(WANTED))}", "press-1 is clean"]


def test_others_components_stay_with_their_configuration(
    account: Account, destroy: Destroy
) -> None:
    released(account, destroy, OTHERS)
    destroy.run()
    assert account.devices["press-1"].installed == OTHER
    assert left(account) == {
        "by hand": {"com.other"},
        NAME: set(WANTED) | {"com.other"},
        f"without {NAME}": {"com.other"},
    }, "the deployment that keeps theirs on the device has to stay"
    assert account.deployments[-1]["components"] == OTHERS
    assert account.deployments[-1]["isLatestForTarget"]
    assert account.deployments[-1]["deploymentStatus"] == "ACTIVE"


@pytest.mark.parametrize("others", [{}, OTHERS], ids=["alone", "beside others"])
def test_a_destroy_that_was_killed_at_any_request_is_finished_by_the_next(
    account: Account, destroy: Destroy, others: dict[str, Any]
) -> None:
    released(account, destroy, others)
    destroy.run()
    requests, expected = len(account.asked), left(account)
    for killed_after in range(requests):
        account.deployments.clear()
        released(account, destroy, others)
        with pytest.raises(Killed):
            destroy.run(killed_after)
        destroy.run()
        assert left(account) == expected, f"killed at request {killed_after} of {requests}"
        assert account.devices["press-1"].installed == (OTHER if others else {})


def test_a_destroy_after_a_destroy_changes_nothing(account: Account, destroy: Destroy) -> None:
    released(account, destroy, OTHERS)
    destroy.run()
    before, changes = left(account), len(account.changes)
    destroy.run()
    assert left(account) == before
    assert account.changes[changes:] == [], "no deployment that says again what was said"


def test_where_nothing_of_ours_is_there_the_devices_are_left_alone(
    account: Account, destroy: Destroy
) -> None:
    account.deploy(THING_ARN, "by hand", OTHERS)
    account.devices["press-1"].installed = dict(OTHER)
    destroy.run()
    assert account.changes == []


def test_ours_go_although_somebody_else_s_deployment_came_after(
    account: Account, destroy: Destroy
) -> None:
    released(account, destroy, {})
    account.deploy(THING_ARN, "by hand, later", OTHERS)
    account.devices["press-1"].installed |= OTHER
    destroy.run()
    assert account.devices["press-1"].installed == OTHER
    assert "by hand, later" in left(account), "theirs is in their hands"


def test_the_deployments_of_a_stack_whose_name_begins_like_ours_stay(
    account: Account, destroy: Destroy
) -> None:
    account.deploy(THING_ARN, f"{NAME}2", OTHERS)
    released(account, destroy, {})
    destroy.run()
    assert f"{NAME}2" in left(account)


def test_a_stack_that_has_taken_the_device_over_keeps_its_release_there(
    account: Account, destroy: Destroy
) -> None:
    released(account, destroy, {})
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
    released(account, destroy, {})
    destroy.obedient = False
    with pytest.raises(RolloutFailed, match="press-1 did not uninstall within 60 s") as failed:
        destroy.run()
    assert "pulumi destroy again" in str(failed.value)
    assert "delete-core-device" in str(failed.value)
    assert NAME in left(account), "what the next destroy starts from"


def test_a_device_that_is_gone_for_good_is_not_waited_for(
    account: Account, destroy: Destroy
) -> None:
    released(account, destroy, {})
    destroy.obedient = False
    with pytest.raises(RolloutFailed):
        destroy.run()
    del account.devices["press-1"]  # as the message advises
    destroy.run()
    assert left(account) == {"by hand": set(), NAME: set(WANTED)}


# Between Pulumi and the wait


PROPS: dict[str, Any] = {
    "region": "eu-west-1",
    "profile": None,
    "target": THING_ARN,
    "devices": ["press-1"],
    "components": WANTED,
    "name": NAME,
    "timeout": 0,
}


def test_a_red_rollout_stores_nothing_so_the_next_up_waits_again(
    account: Account, deployment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "tracebacklimit", 7, raising=False)
    props = PROPS | {"deployment": deployment}
    with pytest.raises(RolloutFailed, match="not within 0 s"):
        Provider().create(props)
    assert sys.tracebacklimit == 0, "Pulumi would print a traceback around the reason"
    with pytest.raises(RolloutFailed):
        Provider().update("id", props, props)
    account.devices["press-1"].installed = GOOD
    account.devices["press-1"].deploys(deployment, "COMPLETED")
    assert Provider().create(props).outs == props
    assert Provider().update("id", {}, props).outs == props


@pytest.mark.parametrize("key", ["deployment", "components", "devices", "timeout", "name"])
def test_what_the_devices_have_to_do_anew_is_waited_for_in_place(key: str) -> None:
    olds = PROPS | {"deployment": "1", "__provider": "an older Python's bytes"}
    diff = Provider().diff("id", olds, olds | {key: "another", "__provider": "new bytes"})
    assert diff.changes
    assert not diff.replaces, "a replacement would uninstall what it has just installed"


def test_another_target_is_deployed_to_before_the_old_one_is_cleared() -> None:
    olds = PROPS | {"deployment": "1"}
    diff = Provider().diff("id", olds, olds | {"target": "another"})
    assert (diff.changes, diff.replaces, diff.delete_before_replace) == (True, ["target"], False)


def test_how_the_provider_is_stored_is_no_change() -> None:
    olds = PROPS | {"deployment": "1", "__provider": "an older Python's bytes"}
    assert not Provider().diff("id", olds, olds | {"__provider": "new bytes"}).changes


def test_a_destroy_ends_at_the_devices(account: Account, deployment: str) -> None:
    account.devices["press-1"].installed = {}
    Provider().delete("id", PROPS | {"deployment": deployment})
    assert "CreateDeployment" in account.changes, "a deployment without ours reaches the device"
    assert left(account) == {NAME: set(WANTED)}


def test_its_place_in_the_state_does_not_move() -> None:
    assert Answering._resource_type_name == "dynamic/edge:Answering", (
        "a stack of today would uninstall its devices to take on the new name"
    )
