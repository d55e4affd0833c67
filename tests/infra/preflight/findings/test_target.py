"""Failures on the devices are named before anything is made, with what to type."""

from __future__ import annotations

from typing import Any

import pytest

from infra.names import CHECK
from infra.preflight.neighbours import SHARED
from infra.preflight.target import CHECK_TOO_LATE, TAKEN_OVER, TOO_SLOW, VERSION_DELETED
from infra.preflight.unread import NOT_READABLE
from infra.settings import Misconfigured
from tests.infra.fakes import (
    GROUP_ARN,
    THING_ARN,
    Account,
    Device,
    component_arn,
    spec,
)
from tests.infra.preflight.findings.found import UPSTREAM, findings, of_a_group, the_one

pytestmark = pytest.mark.usefixtures("account")


def test_a_device_that_fits_raises_nothing(account: Account) -> None:
    assert findings() == []
    assert account.changes == [], "it only looks"


def test_a_stack_that_only_publishes_asks_for_no_device_and_no_role(account: Account) -> None:
    assert findings(thing="") == []
    assert account.asked == [], "a publisher may have no right to ask"


# Others


def test_a_takeover_is_refused_but_for_the_very_deployment_that_may_be_overwritten(
    account: Account,
) -> None:
    theirs = account.deploy(THING_ARN, "by hand", {CHECK: spec("9.9.9")})
    found = the_one(findings())
    assert found.rule is TAKEN_OVER
    assert f"thing/press-1, deployment 'by hand' ({theirs}" in found.where
    assert f"pulumi up --config override={theirs}" in found.text
    assert findings(override=theirs) == []
    account.deploy(THING_ARN, "by hand, later", {CHECK: spec("9.9.10")})
    assert the_one(findings(override=theirs)).rule is TAKEN_OVER, (
        "an override of one deployment doesn't cover the next"
    )


NEIGHBOUR = component_arn("com.other", "1.0.0")


def test_components_of_others_are_no_finding_while_a_deployment_can_name_them(
    account: Account,
) -> None:
    others = {"com.other": spec("1.0.0"), "aws.greengrass.Nucleus": spec("2.18.0")}
    account.deploy(THING_ARN, "by hand", others)
    assert findings() == []


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ({}, "deleted"),
        (
            {"componentState": "FAILED", "errors": {"s3://gone/file": "no such key"}},
            "FAILED no such key",
        ),
    ],
)
def test_a_component_of_others_that_no_deployment_can_name_is_refused_before_it_is_lost(
    account: Account, status: dict[str, Any], said: str
) -> None:
    account.deploy(THING_ARN, "by hand", {"com.other": spec("1.0.0")})
    account.undeployable[NEIGHBOUR] = status
    found = the_one(findings())
    assert found.rule is VERSION_DELETED
    assert found.where == f"com.other 1.0.0 on thing/press-1: {said}"
    assert "pulumi config set keep-components false" in found.text
    assert findings(keep_components=False) == [], "then it goes, and no deployment asks for it"


def test_a_component_of_others_that_may_not_be_read_is_a_warning(account: Account) -> None:
    account.deploy(THING_ARN, "by hand", {"com.other": spec("1.0.0")})
    account.denied.add("DescribeComponent")
    found = the_one(findings())
    assert (found.rule, found.where) == (NOT_READABLE, "com.other 1.0.0")
    assert "allow DescribeComponent" in found.text


def test_a_device_that_also_gets_our_components_by_another_target_is_a_warning(
    account: Account,
) -> None:
    """Their next release would fail there, and no destroy could clean the device."""
    theirs = {CHECK: spec("1.2.3"), "com.other": spec("1.0.0")}
    group = account.deploy(GROUP_ARN, "by hand", theirs)
    account.devices["press-1"].deploys(group, "SUCCEEDED")
    found = the_one(findings())
    assert found.rule is SHARED
    assert found.where == (
        f"press-1: 'by hand' (deployment {group} to thinggroup/presses) has {CHECK} 1.2.3"
    )


@pytest.mark.parametrize("later", [{"com.other": spec("1.0.0")}, {}])
def test_components_that_another_target_has_stopped_deploying_are_no_finding(
    account: Account, later: dict[str, Any]
) -> None:
    group = account.deploy(GROUP_ARN, "edge-inference/presses", {CHECK: spec("1.2.3")})
    account.devices["press-1"].deploys(group, "SUCCEEDED")
    account.deploy(GROUP_ARN, "without edge-inference/presses", later)
    assert findings() == []


def test_devices_whose_deployments_may_not_be_read_are_refused(account: Account) -> None:
    account.denied.add("ListEffectiveDeployments")
    with pytest.raises(Misconfigured, match="could remove what others deployed"):
        findings()


@pytest.mark.parametrize(
    ("values", "seconds"),
    [
        ({"devices_per_minute": 1, "rollout_timeout": 120}, 120),
        ({"devices_per_minute": 1, "rollout_timeout": 121}, None),
        ({"devices_per_minute": 1, "rollout_timeout": 120, "quorum": 60}, None),
        ({"devices_per_minute": 3, "rollout_timeout": 10, "check_timeout": 9}, None),
        ({"rollout_timeout": 10, "check_timeout": 9}, None),
    ],
)
def test_a_rate_at_which_the_update_ends_before_the_last_device_begins_is_refused(
    account: Account, values: dict[str, Any], seconds: int | None
) -> None:
    group = of_a_group(account, Device(), Device(), Device())
    found = findings(**group, **values)
    if seconds is None:
        assert found == []
    else:
        assert the_one(found).rule is TOO_SLOW
        assert f"after {seconds} s" in the_one(found).text
        assert f"rollout-timeout {seconds + 900}" in the_one(found).text
        assert "Set 15 minutes more" in the_one(found).text, "how the number is made"


def test_a_check_that_may_outlast_the_update_is_a_warning() -> None:
    found = the_one(findings(check_timeout=120, rollout_timeout=120))
    assert (found.rule, found.where) == (
        CHECK_TOO_LATE,
        "check-timeout 120, rollout-timeout 120",
    )
    assert "pulumi config set rollout-timeout 1020" in found.text
    assert "set check-timeout and 15 minutes" in found.text, "how the number is made"
    assert findings(check_timeout=119, rollout_timeout=120) == []


def test_the_patience_of_another_stack_s_check_is_not_this_one_s_to_mend(account: Account) -> None:
    account.devices["press-1"].architecture = "aarch64"
    # As long as the default check-timeout.
    values = {"release_from": "dev", "rollout_timeout": 110}
    assert findings(stack="b", upstream=UPSTREAM, **values) == []
