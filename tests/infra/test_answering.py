"""Green means that every device answers; a destroy means that none of ours is left on any.

Time passes only when the code waits, and each moment something may happen on the devices.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from infra import answering
from infra.answering import Answering, wait
from infra.answering import _AnsweringProvider as Provider
from infra.clients import Clients
from infra.recipe import CHECK, CONSUMER, SERVICE
from infra.target import FAILED
from infra.waiting import Clock, RolloutFailed
from tests.infra.fakes import GOOD, NAME, OTHER, THING_ARN, WANTED, Account, Device, Time, spec

OLD = {SERVICE: ("1.1.1", "RUNNING"), CHECK: ("1.1.1", "FINISHED")}


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


def test_a_device_that_answers_is_green_when_it_goes_on_to(
    account: Account, waiting: Waiting, deployment: str
) -> None:
    press = account.devices["press-1"]
    press.installed = {**OTHER, **GOOD}
    for word in ("SUCCEEDED", "COMPLETED"):  # a group's and a thing's
        press.deploys(deployment, word)
        waiting.until()
        assert waiting.time.passed == 5, "nothing but that was left to wait for"


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
    assert waiting.time.passed == 10, "as many moments as it took, not the whole time"
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


def test_what_crashes_in_a_loop_is_red_although_it_is_up_in_some_looks(
    account: Account, waiting: Waiting, deployment: str
) -> None:
    press = account.devices["press-1"]
    done(press, deployment, "SUCCEEDED")

    def consumer_is(state: str) -> Callable[[], None]:
        return lambda: press.installed.update({CONSUMER: ("1.3.4", state)})

    up, crashed, broken = (consumer_is(state) for state in ("RUNNING", "ERRORED", "BROKEN"))
    red = waiting.failure(crashed, up, broken, seconds=20)
    assert f"{CONSUMER} 1.3.4 BROKEN" in red


BEFORE = dict.fromkeys(WANTED, "1.0.0")


def arriving(account: Account, clients: Clients, *events: Callable[[], object]) -> tuple[str, str]:
    """What a release that is red says, and the name of the target's latest deployment then."""
    deployment = account.deploy(THING_ARN, NAME, {name: spec(one) for name, one in WANTED.items()})
    account.devices["press-1"].deploys(deployment, "SUCCEEDED")
    account.devices["press-1"].installed = GOOD | {CONSUMER: (WANTED[CONSUMER], "BROKEN")}
    time = Time(*events)
    with pytest.raises(RolloutFailed) as red:
        answering.arrive(
            clients.greengrass,
            deployment=deployment,
            components=WANTED,
            devices=["press-1"],
            name=NAME,
            clock=lambda: Clock(seconds=20, now=time.now, pause=time.pause),
            say=lambda _: None,
        )
    return str(red.value), account.deployments[-1]["deploymentName"]


def test_what_stays_broken_makes_room_for_the_last_release_that_was_good(
    account: Account, clients: Clients
) -> None:
    press = account.devices["press-1"]
    others = {"com.other": spec("1.0.0")}
    good = {name: spec(one) for name, one in BEFORE.items()} | others
    press.deploys(account.deploy(THING_ARN, NAME, good), "COMPLETED")
    red = {name: spec("1.1.0") for name in WANTED} | others
    press.deploys(account.deploy(THING_ARN, NAME, red), "FAILED")

    def back() -> None:
        press.deploys(account.deployments[-1]["deploymentId"], "COMPLETED")
        press.installed = {name: (version, "RUNNING") for name, version in BEFORE.items()}

    said, latest = arriving(account, clients, back)
    assert f"{CONSUMER} 1.3.4 BROKEN" in said
    assert f"put back and answers again: {SERVICE} 1.0.0" in said
    assert account.deployments[-1]["components"] == good, "others' stay as they were"
    assert latest.startswith(f"{NAME} (after "), "this stack's own, and none that is made again"


def test_where_no_release_was_good_before_the_message_says_so(
    account: Account, clients: Clients
) -> None:
    account.deploy(THING_ARN, "by hand", {"com.other": spec("1.0.0")})
    said, latest = arriving(account, clients)
    assert "no release of before" in said
    assert latest == NAME, "nothing was deployed in its place"


def test_a_release_of_before_that_does_not_answer_either_is_said_with_both_reasons(
    account: Account, clients: Clients
) -> None:
    good = account.deploy(THING_ARN, NAME, {name: spec(one) for name, one in BEFORE.items()})
    account.devices["press-1"].deploys(good, "COMPLETED")
    said, _ = arriving(account, clients)
    assert f"{CONSUMER} 1.3.4 BROKEN" in said
    assert "put back, doesn't answer" in said
    assert "not within 20 s" in said


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
    monkeypatch.setattr(answering, "_STEADY_SECONDS", 0)
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
    assert [one["deploymentName"] for one in account.deployments] == [NAME]


def test_its_place_in_the_state_does_not_move() -> None:
    assert Answering._resource_type_name == "dynamic/edge:Answering", (
        "a stack of today would uninstall its devices to take on the new name"
    )
