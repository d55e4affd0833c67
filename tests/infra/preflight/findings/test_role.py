"""A role that would keep a device from reading its release is named before the release is made."""

from __future__ import annotations

from typing import Any

import pytest

from infra.preflight.device import DEVICE_ARCHITECTURE
from infra.preflight.role import ROLE_FULL, ROLE_MISSING, ROLE_RIGHTS, ROLE_TRUST
from infra.preflight.unread import NOT_READABLE
from recipes.findings import Severity
from tests.infra.fakes import (
    DEVICE_ROLE,
    Account,
    Device,
)
from tests.infra.preflight.findings.found import fill, findings, of_a_group, the_one

pytestmark = pytest.mark.usefixtures("account")


# The role


def test_a_role_that_is_not_there_is_named_with_the_way_to_find_the_right_one() -> None:
    found = the_one(findings(device_role="Nobody"))
    assert (found.rule, found.where) == (ROLE_MISSING, "Nobody")
    assert "pulumi config set device-role" in found.text
    assert "aws iot describe-role-alias" in found.text


@pytest.mark.parametrize(
    "statement",
    [
        {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}},
        {"Effect": "Deny", "Principal": {"Service": "credentials.iot.amazonaws.com"}},
        {"Effect": "Allow", "Principal": {"AWS": "*"}},
        {
            "Effect": "Allow",
            "Principal": {"Service": "credentials.iot.amazonaws.com"},
            "Action": "sts:TagSession",
        },
        {"Effect": "Allow", "Principal": "*"},
    ],
)
def test_a_role_that_no_device_can_assume_is_refused(
    account: Account, statement: dict[str, Any]
) -> None:
    account.roles[DEVICE_ROLE] = {"Statement": [{"Action": "sts:AssumeRole"} | statement]}
    assert the_one(findings()).rule is ROLE_TRUST


@pytest.mark.parametrize(
    "statements",
    [
        {
            "Effect": "Allow",
            "Principal": {"Service": ["ec2.amazonaws.com", "credentials.iot.amazonaws.com"]},
            "Action": ["sts:TagSession", "sts:AssumeRole"],
        },
        [
            {"Effect": "Deny", "Principal": "*", "Action": "sts:TagSession"},
            {
                "Effect": "Allow",
                "Principal": {"Service": "credentials.iot.amazonaws.com"},
                "Action": "sts:*",
            },
        ],
    ],
)
def test_iam_s_short_forms_are_read_as_iam_reads_them(account: Account, statements: Any) -> None:
    account.roles[DEVICE_ROLE] = {"Statement": statements}
    assert findings() == []


@pytest.mark.parametrize(
    ("decision", "fix"),
    [
        (
            {
                "EvalDecision": "implicitDeny",
                "PermissionsBoundaryDecisionDetail": {"AllowedByPermissionsBoundary": False},
            },
            "permissions boundary",
        ),
        (
            {
                "EvalDecision": "explicitDeny",
                "OrganizationsDecisionDetail": {"AllowedByOrganizations": False},
            },
            "organization's policies",
        ),
        (
            {
                "EvalDecision": "explicitDeny",
                "MatchedStatements": [{"SourcePolicyId": "NoImages"}],
            },
            "from NoImages",
        ),
    ],
)
def test_anything_that_still_stands_in_the_way_is_named_with_its_kind(
    account: Account, decision: dict[str, Any], fix: str
) -> None:
    account.decisions = {"ecr:BatchGetImage": decision}
    found = the_one(findings())
    assert found.rule is ROLE_RIGHTS
    assert "ecr:BatchGetImage" in found.where
    assert fix in found.text
    assert "repository/edge-inference/dev" in found.text


def test_a_denial_that_hangs_on_a_condition_is_no_refusal(account: Account) -> None:
    account.decisions = {
        "s3:GetObject": {
            "EvalDecision": "implicitDeny",
            "MissingContextValues": ["aws:RequestedRegion"],
        }
    }
    found = the_one(findings())
    assert found.rule is NOT_READABLE, "IAM's simulator doesn't know the request to come"
    assert "aws:RequestedRegion" in found.text


def test_every_right_that_a_device_needs_is_asked_for(account: Account) -> None:
    findings()
    asked = {
        action
        for operation, request in account.asked
        if operation == "SimulatePrincipalPolicy"
        for action in request["ActionNames"]
    }
    assert asked == {
        "s3:GetObject",
        "ecr:BatchGetImage",
        "ecr:GetDownloadUrlForLayer",
        "ecr:GetAuthorizationToken",
    }


def test_a_role_without_room_for_one_more_stack_is_said_before_iam_refuses_it(
    account: Account,
) -> None:
    each = fill(account, *(f"line-{number:02}" for number in range(10)))
    assert each * 10 <= 10_240 < each * 11, "docs/core-device.md says ten"
    found = the_one(findings(stack="line-10"))
    assert found.rule is ROLE_FULL
    assert found.where.startswith(f"{DEVICE_ROLE} ({each * 11:,} with ours: edge-inference-line-00")
    assert "pulumi config set device-role" in found.text
    assert findings(stack="line-09") == [], "its own policy is replaced"


def test_a_role_may_be_full_to_the_last_character(account: Account) -> None:
    ours = fill(account, "dev")
    account.policies[DEVICE_ROLE, "theirs"] = {"Id": "é" * (10_240 - ours - len('{"Id":""}'))}
    assert findings() == [], "white space isn't counted, and a letter is one character"
    account.policies[DEVICE_ROLE, "theirs"]["Id"] += "é"
    assert the_one(findings()).rule is ROLE_FULL


@pytest.mark.parametrize(
    "operation", ["GetRole", "SimulatePrincipalPolicy", "ListRolePolicies", "GetRolePolicy"]
)
def test_a_denied_look_is_a_warning_and_no_refusal(account: Account, operation: str) -> None:
    fill(account, "other")
    account.denied = {operation}
    found = the_one(findings())
    assert (found.rule, found.rule.severity) == (NOT_READABLE, Severity.WARNING)
    assert operation in found.text


def test_devices_whose_listing_is_withheld_are_asked_one_by_one(account: Account) -> None:
    group = of_a_group(account, *(Device() for _ in range(29)), Device(architecture="aarch64"))
    account.denied = {"ListCoreDevices"}
    assert the_one(findings(**group)).rule is DEVICE_ARCHITECTURE
