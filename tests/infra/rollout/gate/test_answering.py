"""An update succeeds only if every device answers.

Time passes only when the code waits. At each moment something may happen on the devices.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from infra.account.clients import Clients
from infra.account.greengrass import FAILED
from infra.names import CHECK, CONSUMER, SERVICE
from infra.rollout.gate import StaysBroken
from tests.infra.fakes import (
    GOOD,
    NOON,
    OTHER,
    WANTED,
    Account,
    Device,
)
from tests.infra.rollout.gate.waiting import OLD, Waiting, done

pytestmark = pytest.mark.usefixtures("account")


def test_an_update_succeeds_when_its_device_answers_and_goes_on_answering(
    account: Account, waiting: Waiting, deployment: str
) -> None:
    press = account.devices["press-1"]
    press.installed = {**OTHER, **GOOD}
    for word in ("SUCCEEDED", "COMPLETED"):  # A group's and a thing's.
        press.deploys(deployment, word)
        waiting.until()
        assert waiting.time.passed == 5, "nothing but that was left to wait for"


def test_a_check_that_did_its_work_and_ended_is_as_good_as_one_that_runs(
    account: Account, waiting: Waiting, deployment: str
) -> None:
    account.devices["press-1"].installed = GOOD | {CHECK: ("1.4.5", "FINISHED")}
    account.devices["press-1"].deploys(deployment, "SUCCEEDED")
    waiting.until()


@pytest.mark.parametrize("name", [SERVICE, CONSUMER])
def test_a_service_or_consumer_that_has_ended_makes_room_for_what_was_there_before(
    account: Account, waiting: Waiting, deployment: str, name: str
) -> None:
    """Lite calls a deployment a success even if its containers never ran (lite-ml-dam-run-ends)."""
    press = account.devices["press-1"]
    done(press, deployment, "SUCCEEDED")
    press.installed[name] = (WANTED[name], "FINISHED")
    with pytest.raises(StaysBroken, match=f"{name} is FINISHED"):
        waiting.until(seconds=100)
    assert 5 <= waiting.time.passed < 10, "two looks, and not the whole time"


def test_a_component_that_starts_as_the_deployment_ends_may_be_finished_in_one_look(
    account: Account, waiting: Waiting, deployment: str
) -> None:
    press = account.devices["press-1"]
    done(press, deployment, "SUCCEEDED")
    press.installed[SERVICE] = (WANTED[SERVICE], "FINISHED")
    waiting.until(lambda: None, lambda: press.installed.update(GOOD), seconds=100)
    assert waiting.time.passed == 7, "two moments, and the second look"


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
    assert "press-1" not in late, "the devices that answer are no part of the reason"


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
def test_a_failed_device_fails_the_update_at_once_with_its_own_reason(
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
    assert "Mend it, then deploy it again:\n    pulumi up" in said
    assert f"/{CHECK}.log" in said, "the log of the component that the reason names"


def test_a_component_that_was_never_started_sends_nobody_to_its_old_log(
    account: Account, waiting: Waiting, deployment: str
) -> None:
    account.devices["press-1"].deploys(
        deployment,
        "FAILED",
        reason=f"FAILED_NO_STATE_CHANGE: the image of {CHECK} can't be pulled",
        statusDetails={"errorStack": ["DEPLOYMENT_FAILURE", "DOCKER_ERROR"]},
    )
    said = waiting.failure()
    assert "/greengrass/v2/logs/greengrass.log" in said
    assert "COMPONENT=" not in said


def test_a_failure_without_a_reason_still_says_where_to_look(
    account: Account, waiting: Waiting, deployment: str
) -> None:
    account.devices["press-1"].deploys(deployment, "FAILED")
    said = waiting.failure()
    assert re.search(r"deployment FAILED\n", said)
    assert "runs now: nothing" in said
    assert "/greengrass/v2/logs/greengrass.log" in said, (
        "a component that was never started has no log"
    )


def test_a_crash_loop_fails_the_update_although_it_is_up_in_some_looks(
    account: Account, waiting: Waiting, deployment: str
) -> None:
    press = account.devices["press-1"]
    done(press, deployment, "SUCCEEDED")

    def consumer_is(state: str) -> Callable[[], None]:
        return lambda: press.installed.update({CONSUMER: ("1.3.4", state)})

    up, crashed, broken = (consumer_is(state) for state in ("RUNNING", "ERRORED", "BROKEN"))
    red = waiting.failure(crashed, up, broken, seconds=20)
    assert f"{CONSUMER} 1.3.4 BROKEN" in red


def restarting(account: Account, waiting: Waiting, deployment: str) -> Callable[[], None]:
    """A consumer that has just started, on a device that is done. A call starts it again."""
    press = account.devices["press-1"]
    done(press, deployment, "SUCCEEDED")

    def started_again() -> None:
        press.since[CONSUMER] = NOON + timedelta(seconds=waiting.time.passed)

    started_again()
    return started_again


def test_a_component_that_restarted_between_two_looks_has_not_answered_twice(
    account: Account, waiting: Waiting, deployment: str
) -> None:
    """A crash loop may be up at each of two looks, as its starts are slow on a slow device."""
    started_again = restarting(account, waiting, deployment)
    waiting.until(started_again, started_again, lambda: None, seconds=100)
    assert waiting.time.passed == 15, "three looks that found it up, and the one that confirmed it"


def test_a_component_that_never_stays_up_fails_the_update_when_the_time_is_over(
    account: Account, waiting: Waiting, deployment: str
) -> None:
    started_again = restarting(account, waiting, deployment)
    said = waiting.failure(*[started_again] * 20, seconds=30)
    assert "not within 30 s" in said
    assert waiting.time.passed <= 40
