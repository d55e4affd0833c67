"""A publisher is not destroyed while others deploy what it has published."""

from __future__ import annotations

from typing import Any

import pytest

from infra.account.followers import Follower, followers
from infra.names import COMPONENTS, PROJECT_TAG, STACK_TAG
from tests.infra.fakes import (
    CONTEXT,
    GROUP_ARN,
    NAME,
    THING_ARN,
    Account,
    Device,
    component_arn,
    spec,
)

pytestmark = pytest.mark.usefixtures("account")

TAGS = {PROJECT_TAG: "edge-inference", STACK_TAG: "dev"}
PRESS_2 = THING_ARN.replace("press-1", "press-2")
RELEASE = {name: spec("1.2.3") for name in COMPONENTS}


@pytest.fixture(autouse=True)
def _published(account: Account) -> None:
    account.components = {component_arn(name, "1.2.3"): TAGS for name in COMPONENTS}
    account.devices["press-2"] = Device()
    account.groups = {"presses": ["press-2"]}
    account.deploy(THING_ARN, NAME, RELEASE)


def found() -> list[Follower]:
    return list(followers(CONTEXT, THING_ARN))


def test_without_a_follower_only_the_deployments_are_listed(account: Account) -> None:
    assert found() == []
    assert {operation for operation, _ in account.asked} == {"ListDeployments"}


@pytest.mark.parametrize("target", [PRESS_2, GROUP_ARN])
def test_a_stack_that_follows_is_named_with_its_target_and_the_way_out(
    account: Account, target: str
) -> None:
    deployment = account.deploy(target, "edge-inference/press-2 (after 1234)", RELEASE)
    [follower] = found()
    assert follower.stack == "press-2"
    assert follower.target == target.rpartition(":")[2]
    assert deployment in follower.text
    assert "com.ml.xgboost 1.2.3" in follower.text
    assert "pulumi destroy --stack press-2" in follower.text
    assert "release-from" in follower.text


def test_a_deployment_by_hand_follows_as_well(account: Account) -> None:
    deployment = account.deploy(PRESS_2, "a trial", {"com.ml.xgboost": spec("1.2.3")})
    [follower] = found()
    assert follower.stack == ""
    assert follower.components == ("com.ml.xgboost 1.2.3",)
    assert f"cancel-deployment --deployment-id {deployment}" in follower.text


def test_a_stack_that_took_the_publisher_s_own_target_over_follows(account: Account) -> None:
    account.deploy(THING_ARN, "edge-inference/press-2", RELEASE)
    assert [one.stack for one in found()] == ["press-2"]


def cancelled(account: Account) -> None:
    account.deployments[-1]["deploymentStatus"] = "CANCELED"


def replaced(account: Account) -> None:
    account.deploy(PRESS_2, "edge-inference/press-2", {"com.other": spec("1.0.0")})


def abandoned(account: Account) -> None:
    del account.devices["press-2"]


def another_s(account: Account) -> None:
    theirs = TAGS | {STACK_TAG: "press-2"}
    account.components = dict.fromkeys(account.components, theirs)


def pruned(account: Account) -> None:
    account.components.clear()


@pytest.mark.parametrize("end", [cancelled, replaced, abandoned, another_s, pruned])
def test_a_stack_that_no_longer_follows_is_no_follower(account: Account, end: Any) -> None:
    account.deploy(PRESS_2, "edge-inference/press-2", RELEASE)
    assert found()
    end(account)
    assert found() == []


def test_a_group_that_is_gone_is_no_follower(account: Account) -> None:
    account.deploy(GROUP_ARN, "edge-inference/presses", RELEASE)
    account.groups.clear()
    assert found() == []


@pytest.mark.parametrize("name", [NAME, f"{NAME} (after 1234)", f"without {NAME}"])
def test_leftovers_of_the_stack_on_another_target_are_its_own(account: Account, name: str) -> None:
    account.deploy(PRESS_2, name, RELEASE)
    assert found() == []


def test_a_deployment_by_hand_on_the_own_target_goes_with_the_stack(account: Account) -> None:
    account.deploy(THING_ARN, "by hand", RELEASE | {"com.other": spec("1.0.0")})
    assert found() == []


def test_a_target_that_may_not_be_looked_at_is_taken_for_there(account: Account) -> None:
    account.deploy(PRESS_2, "edge-inference/press-2", RELEASE)
    account.denied = {"GetCoreDevice"}
    assert found(), "the workflows' role may look at its own stacks' devices only"
