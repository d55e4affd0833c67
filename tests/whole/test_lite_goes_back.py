"""Nucleus Lite never goes back by itself: `up` does it, and never believes its SUCCEEDED.

One story on a group with a Lite device: each test goes on where the one before it stopped.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest

from greenhouse import account
from greenhouse.home import aws_environment
from tests.whole.place import OURS, STACK, Place

pytestmark = pytest.mark.whole

CONSUMER = "com.ml.consumer"


@dataclass(frozen=True)
class Lite:
    """The device, and what it answers before anything is broken."""

    place: Place
    components: dict[str, str]
    files: set[str]  # ARNs
    model: str
    predictions: list[float]

    def assert_as_before(self) -> None:
        states = self.place.states()
        assert {name: states[name][0] for name in OURS} == self.components
        assert self.place.await_answers(self.model) == self.predictions

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
def lite(place: Place) -> Lite:
    thing = f"{place.thing}-lite"
    place.add_device(thing, group="lites", flavour="lite")
    place.configure(thing=None, thing_group="lites", consumer_interval=1)
    there = replace(place, thing=thing)
    there.up()
    outputs = there.outputs()
    answers = there.await_answers(outputs["model"])
    return Lite(there, outputs["components"], set(outputs["objects"]), outputs["model"], answers)


@contextmanager
def a_consumer_that_crashes(place: Place) -> Iterator[None]:
    first = "from __future__ import annotations\n"
    with place.edited(
        "edge/consumer/consumer.py",
        lambda text: text.replace(first, f"{first}raise SystemExit(70)\n"),
    ):
        yield


def test_what_stays_broken_makes_room_for_the_last_good_release(lite: Lite) -> None:
    with a_consumer_that_crashes(lite.place):
        said = lite.place.up(ok=False)
    assert f"{CONSUMER} BROKEN" in said, said
    assert "the last good release was put back and answers again" in said, said
    lite.assert_as_before()
    assert lite.files < lite.readable(), "a device that has just come would have to download them"


def test_the_same_red_release_is_tried_again_and_never_believed(lite: Lite) -> None:
    """Lite calls a success what it has failed at before, sent again (lite-redeploy-broken)."""
    with a_consumer_that_crashes(lite.place):
        said = lite.place.up(ok=False)
    assert f"{CONSUMER} BROKEN" in said, said
    assert "the last good release was put back and answers again" in said, said
    lite.assert_as_before()


def test_the_repair_is_green(lite: Lite) -> None:
    lite.place.up()
    lite.assert_as_before()
    assert lite.files == lite.readable(), "no right outlives the release it was for"
