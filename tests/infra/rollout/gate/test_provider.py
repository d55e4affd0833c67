"""The provider between Pulumi and the wait."""

from __future__ import annotations

from typing import Any

import pytest

from infra.dynamic import Answering
from infra.dynamic import AnsweringProvider as Provider
from infra.errors import RolloutFailed
from infra.names import CONSUMER
from infra.rollout import gate
from tests.infra.fakes import (
    CONTEXT,
    DEVICE_ROLE,
    GOOD,
    THING_ARN,
    WANTED,
    Account,
    Device,
    spec,
)
from tests.infra.rollout.gate.waiting import BEFORE

pytestmark = pytest.mark.usefixtures("account")

# Between Pulumi and the wait


PROPS: dict[str, Any] = {
    **CONTEXT.props,
    "target": THING_ARN,
    "devices": ["press-1"],
    "components": WANTED,
    "quorum": 100,
    "role": DEVICE_ROLE,
    "rights": "{}",
    "latest": "1",
    "timeout": 0,
}


def test_a_failed_rollout_stores_nothing_so_the_next_up_waits_again(
    account: Account, deployment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "_STEADY_SECONDS", 0)
    props = PROPS | {"deployment": deployment}
    with pytest.raises(RolloutFailed, match="not within 0 s"):
        Provider().create(props)
    with pytest.raises(RolloutFailed):
        Provider().update("id", props, props)
    account.devices["press-1"].installed = GOOD
    account.devices["press-1"].deploys(deployment, "COMPLETED")
    assert Provider().create(props).outs == props
    assert Provider().update("id", {}, props).outs == props


@pytest.mark.parametrize("news", [{"devices": ["press-1", "press-2"]}, {"deployment": "anew"}])
def test_a_device_that_breaks_long_after_takes_its_good_release_from_nobody(
    account: Account, deployment: str, news: dict[str, Any]
) -> None:
    """A device joined and is waited for, or there is a new deployment.

    Pulumi has deleted the old one.
    """
    press = account.devices["press-1"]
    account.devices["press-2"] = Device()
    press.installed = GOOD | {CONSUMER: (WANTED[CONSUMER], "BROKEN")}
    for one in (deployment, "anew"):
        press.deploys(one, "COMPLETED")
    olds = PROPS | {"deployment": deployment}
    with pytest.raises(RolloutFailed) as red:
        Provider().update("id", olds, olds | news)
    assert f"{CONSUMER} is BROKEN" in str(red.value)
    assert "no other release is restored.\nRepair the device." in str(red.value)
    assert account.changes == []


@pytest.mark.parametrize("target", [THING_ARN, "another"])
def test_a_release_goes_back_to_the_last_successful_update_of_the_same_target(
    account: Account, deployment: str, target: str
) -> None:
    account.devices["press-1"].installed = GOOD | {CONSUMER: (WANTED[CONSUMER], "BROKEN")}
    account.devices["press-1"].deploys(deployment, "COMPLETED")
    olds = PROPS | {"deployment": "deleted", "components": BEFORE, "target": target}
    with pytest.raises(RolloutFailed):
        Provider().update("id", olds, PROPS | {"deployment": deployment})
    back = {name: spec(one) for name, one in BEFORE.items()} if target == THING_ARN else {}
    assert account.deployments[-1]["components"] == back


@pytest.mark.parametrize("key", ["deployment", "components", "target", "devices", "timeout"])
def test_an_update_that_the_devices_have_to_repeat_is_waited_for_in_place(key: str) -> None:
    olds = PROPS | {"deployment": "1", "__provider": "an older Python's bytes"}
    diff = Provider().diff("id", olds, olds | {key: "another", "__provider": "new bytes"})
    assert diff.changes
    assert not diff.replaces


def test_how_the_provider_is_stored_and_what_a_run_has_looked_up_are_no_change() -> None:
    olds = PROPS | {"deployment": "1", "__provider": "an older Python's bytes"}
    news = olds | {"__provider": "new bytes", "latest": "2"}
    assert not Provider().diff("id", olds, news).changes


def test_its_place_in_the_state_does_not_move() -> None:
    assert Answering._resource_type_name == "dynamic/edge:Answering", (
        "a stack of today would wait for its devices again"
    )
