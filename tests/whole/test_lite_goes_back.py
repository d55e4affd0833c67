"""Nucleus Lite never goes back by itself: `up` does it, and never trusts its SUCCEEDED.

The tests tell one story on a group with a Lite device. Each test goes on where the one before
stopped.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from typing import Any

import pytest

from greenhouse import account
from greenhouse.environment import aws_environment
from tests.whole.calls import Calls
from tests.whole.crashes.killing import UP, assert_it_is_there_once, kill_group, killed_once
from tests.whole.place import OURS, STACK, Place
from tests.whole.sabotage import (
    Good,
    Sabotage,
    a_consumer_that_crashes,
    a_pull_that_is_denied,
    a_service_that_ends,
    an_image_that_cannot_start,
    assert_up_fails,
)

pytestmark = pytest.mark.whole

CONSUMER = "com.ml.consumer"
SERVICE = "com.ml.xgboost"
DEPLOY = "CreateResource Deployment"  # By the program's resource.
DEPLOY_BACK = "POST /greengrass/v2/deployments"  # By the wait for its answers.


@dataclass(frozen=True)
class Lite:
    """The device, and what it answers before anything is broken."""

    place: Place
    components: dict[str, str]
    files: set[str]  # Their ARNs.
    good: Good

    def assert_as_before(self) -> None:
        states = self.place.states()
        assert {name: states[name][0] for name in OURS} == self.components
        assert self.place.await_answers(self.good.model) == self.good.predictions

    def readable(self) -> set[str]:
        """The objects that the device's role may read, by this stack's policy."""
        client = account.session(self.place.ports).client(
            "iam", endpoint_url=aws_environment(self.place.ports)["AWS_ENDPOINT_URL"]
        )
        policy: Any = client.get_role_policy(
            RoleName="GreengrassV2TokenExchangeRole", PolicyName=f"edge-inference-{STACK}"
        )["PolicyDocument"]
        [objects] = [one["Resource"] for one in policy["Statement"] if one["Sid"] == "Artifacts"]
        return set(objects)


@pytest.fixture(scope="module")
def lite(watched: Place) -> Lite:
    there = copy(watched)
    there.thing = f"{watched.thing}-lite"
    there.add_device(there.thing, group="lites", flavour="lite")
    there.configure(thing=None, thing_group="lites")
    good, outputs = Good.of(there), there.outputs()
    return Lite(there, outputs["components"], set(outputs["objects"]), good)


@dataclass(frozen=True)
class Red:
    """An update whose consumer crashes."""

    said: str
    back: tuple[str, ...]  # The changes of the account after it had deployed the release.


@pytest.fixture(scope="module")
def red(lite: Lite, calls: Calls) -> Red:
    changes: list[str] = []
    calls.answered = changes.append
    with a_consumer_that_crashes(lite.place):
        said = lite.place.up(ok=False)
    return Red(said, tuple(changes[changes.index(DEPLOY) + 1 :]))


def test_a_release_that_stays_broken_makes_room_for_the_last_good_release(
    lite: Lite, red: Red
) -> None:
    assert f"{CONSUMER} BROKEN" in red.said, red.said
    assert "The last good release was restored and answers again" in red.said, red.said
    lite.assert_as_before()
    assert lite.files < lite.readable(), "a device that has just come would have to download them"


def test_the_same_failed_release_is_tried_again_and_never_believed(lite: Lite) -> None:
    """Lite tries again what has failed before (lite-resend)."""
    with a_consumer_that_crashes(lite.place):
        said = lite.place.up(ok=False)
    assert f"{CONSUMER} BROKEN" in said, said
    assert "The last good release was restored and answers again" in said, said
    lite.assert_as_before()


@pytest.mark.matrix
def test_a_failing_up_killed_at_each_change_of_its_way_back_succeeds_once_it_is_mended(
    lite: Lite, red: Red, calls: Calls
) -> None:
    assert red.back == ("PutRolePolicy", DEPLOY_BACK)
    for last in red.back:
        with a_consumer_that_crashes(lite.place):
            killed_on_the_way_back(lite.place, calls, at=last)
        lite.place.up()
        assert_it_is_there_once(lite.place)
    lite.assert_as_before()


def killed_on_the_way_back(place: Place, calls: Calls, *, at: str) -> None:
    changes: list[str] = []

    def counts(change: str) -> bool:
        changes.append(change)
        return change == at and DEPLOY in changes[:-1]

    assert killed_once(place, calls, *UP, kill=kill_group, counts=counts) == [at]


def test_an_up_without_changes_starts_a_service_that_has_ended(lite: Lite) -> None:
    """It would succeed with nothing running."""
    lite.place.stop_component(SERVICE)
    said = lite.place.up()
    assert f"deploys, as {lite.place.thing} has {SERVICE} FINISHED" in said, said
    lite.assert_as_before()
    assert lite.place.states()[SERVICE][1] == "RUNNING"


ON_LITE = {
    "image that can't start": (
        an_image_that_cannot_start,
        r"(?s)com\.ml\.xgboost is BROKEN.*was restored and answers again",
    ),
    "service that is FINISHED": (
        a_service_that_ends,
        r"(?s)com\.ml\.\w+ is FINISHED.*was restored and answers again",
    ),
    # Nothing was stopped for it, and Lite gives no reasons.
    "pull denied": (a_pull_that_is_denied, r"(?s)deployment FAILED.*journalctl -u 'ggl\.\*'"),
}


@pytest.mark.parametrize(
    ("sabotage", "reason"),
    [
        pytest.param(*row, id=name, marks=() if name == "pull denied" else pytest.mark.matrix)
        for name, row in ON_LITE.items()
    ],
)
def test_up_fails_with_its_reason_the_device_answers_and_up_succeeds_after_the_repair(
    lite: Lite, sabotage: Sabotage, reason: str
) -> None:
    try:
        assert_up_fails(lite.place, lite.good, sabotage, reason)
        lite.assert_as_before()
    finally:
        lite.place.up()
    assert lite.place.await_answers(lite.good.model) == lite.good.predictions
    assert lite.files == lite.readable(), "no right outlives the release it was for"
