"""Many devices at once: quorum, order, and what is reported of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from infra.account.clients import Clients
from infra.names import CHECK
from tests.infra.fakes import (
    GOOD,
    WANTED,
    Account,
    Device,
)
from tests.infra.rollout.gate.waiting import OLD, Waiting, done

pytestmark = pytest.mark.usefixtures("account")


# Groups


@pytest.fixture
def presses(account: Account, clients: Clients, deployment: str) -> Waiting:
    """Ten devices. The last has not heard of the deployment."""
    for number in range(1, 11):
        press = account.devices[f"press-{number}"] = Device()
        if number < 10:
            done(press, deployment, "SUCCEEDED")
    return Waiting(clients, deployment, list(account.devices))


def test_a_device_that_has_answered_twice_is_not_asked_again(
    account: Account, presses: Waiting
) -> None:
    presses.failure(seconds=600)
    asked = [
        given["coreDeviceThingName"]
        for operation, given in account.asked
        if operation == "ListEffectiveDeployments"
    ]
    assert all(asked.count(f"press-{number}") == 2 for number in range(1, 10))


def test_the_longer_it_takes_the_rarer_is_the_question(account: Account, presses: Waiting) -> None:
    presses.failure(seconds=3600)
    assert presses.time.passed == pytest.approx(3600), "the whole patience, and no more"
    looks = [name for name, _ in account.asked].count("GetDeployment")
    assert 3600 / 15 < looks < 3600 / 15 + 60, "once in 15 s, more often only at the beginning"


def test_the_quorum_is_enough_once_the_time_is_over_and_the_others_are_named(
    presses: Waiting,
) -> None:
    presses.quorum = 90
    presses.until(seconds=120)
    assert presses.time.passed == 120, "a device that is late has the whole time"
    assert presses.said[-1].startswith(
        "warning: 9 of 10 devices answer, which is the quorum of 90 %. Not yet: press-10 (QUEUED)."
    )
    assert "make status STACK=dev" in presses.said[-1]


def test_an_update_short_of_the_quorum_fails(presses: Waiting) -> None:
    presses.quorum = 91
    assert "press-10: deployment QUEUED" in presses.failure(seconds=120)


def test_a_device_that_answers_only_as_the_time_ends_is_looked_at_again(
    account: Account, presses: Waiting, deployment: str
) -> None:
    presses.quorum = 95
    last = account.devices["press-10"]
    moments: list[Callable[[], object]] = [lambda: None] * 4
    presses.until(*moments, lambda: done(last, deployment, "SUCCEEDED"), seconds=5)
    assert presses.time.passed == 10
    assert not [line for line in presses.said if "warning" in line]


@pytest.mark.parametrize("moving", [True, False])
def test_a_failed_device_fails_the_update_for_any_quorum(
    account: Account, presses: Waiting, deployment: str, moving: bool
) -> None:
    presses.quorum = 1
    last = account.devices["press-10"]
    last.deploys(deployment, "FAILED")
    last.installed = GOOD | {CHECK: (WANTED[CHECK], "ERRORED")} if moving else dict(OLD)
    assert "press-10: deployment FAILED" in presses.failure()


def test_a_large_fleet_gets_its_first_failures_in_full_and_the_rest_by_name(
    account: Account, presses: Waiting, deployment: str
) -> None:
    """AWS IoT Jobs cancels the rollout for waiting devices after too many failures."""
    for press in account.devices.values():
        press.deploys(deployment, "CANCELED")
    account.devices["press-8"].deploys(deployment, "FAILED", reason="FAILED_NO_STATE_CHANGE")
    said = presses.failure()
    assert said.startswith("press-8: deployment FAILED: FAILED_NO_STATE_CHANGE")
    assert said.count("runs now") == 5
    assert "and 5 more: press-5 CANCELED, press-6 CANCELED, press-7 CANCELED" in said
