"""What would go wrong on the devices is said before anything is made, with what to type."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra import policies
from infra.account.target import Target
from infra.names import CHECK, COMPONENTS
from infra.preflight import preflight
from infra.preflight.device import DEVICE_ARCHITECTURE, LITE_SYSTEMD, LITE_THING, NUCLEUS_VERSION
from infra.preflight.neighbours import SHARED
from infra.preflight.role import ROLE_FULL, ROLE_MISSING, ROLE_RIGHTS, ROLE_TRUST
from infra.preflight.target import CHECK_TOO_LATE, KEPT_GONE, TAKEN_OVER, TOO_SLOW
from infra.preflight.unread import NOT_READABLE
from infra.preflight.wanted import Wanted
from infra.settings import Misconfigured
from recipes.findings import Finding, Severity
from recipes.rules import RULES, required
from tests.infra.engine import DIGEST, Engine
from tests.infra.fakes import (
    ACCOUNT,
    CONTEXT,
    DEVICE_ROLE,
    REGION,
    THING_ARN,
    Account,
    Device,
    component_arn,
    spec,
)
from tests.infra.pulumi_yaml import config_of, load

pytestmark = pytest.mark.usefixtures("account")

UPSTREAM: dict[str, Any] = {
    "release": "cafe0123",
    "image": {"aarch64": f"somewhere@{DIGEST}"},
    "objects": ["arn:aws:s3:::theirs/1/model.json"],
    "repository_arn": "arn:aws:ecr:eu-west-1:123456789012:repository/theirs",
    "components": dict.fromkeys(COMPONENTS, "1.2.3"),
}
LITE = "aws_nucleus_lite"


def findings(*, stack: str = "dev", upstream: Any = None, **values: object) -> list[Finding]:
    """What the preflight of a stack finds; info, which no `up` shows, left out."""
    config = config_of(None, **{"thing": "press-1", **values})
    settings = load(config, stack)
    context = replace(CONTEXT, stack=stack)
    target = Target.find(settings, context)
    found: list[Finding] = []
    Engine(upstream=upstream).run(
        lambda: found.extend(preflight.findings(settings, context, target)), stack=stack
    )
    return [one for one in found if one.rule.severity is not Severity.INFO]


def the_one(found: list[Finding]) -> Finding:
    assert len(found) == 1, [one.line for one in found]
    return found[0]


def of_a_group(account: Account, *devices: Device) -> dict[str, str]:
    """A group of these devices, press-1 apart."""
    names = [f"press-{number}" for number in range(2, 2 + len(devices))]
    account.devices |= dict(zip(names, devices, strict=True))
    account.groups = {"presses": names}
    return {"thing": "", "thing_group": "presses"}


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
    assert f"pulumi up --config override={theirs}" in found.fix
    assert findings(override=theirs) == []
    account.deploy(THING_ARN, "by hand, later", {CHECK: spec("9.9.10")})
    assert the_one(findings(override=theirs)).rule is TAKEN_OVER, (
        "who means one deployment hasn't seen the next"
    )


NEIGHBOUR = component_arn("com.other", "1.0.0")


def test_what_others_run_there_is_no_finding_while_a_deployment_can_name_it(
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
    assert found.rule is KEPT_GONE
    assert found.where == f"com.other 1.0.0 on thing/press-1: {said}"
    assert "pulumi config set keep-components false" in found.fix
    assert findings(keep_components=False) == [], "then it goes, and nobody asks for it"


def test_a_component_of_others_that_may_not_be_read_is_a_warning(account: Account) -> None:
    account.deploy(THING_ARN, "by hand", {"com.other": spec("1.0.0")})
    account.denied.add("DescribeComponent")
    found = the_one(findings())
    assert (found.rule, found.where) == (NOT_READABLE, "com.other 1.0.0")
    assert "allow DescribeComponent" in found.fix


GROUP_ARN = f"arn:aws:iot:{REGION}:{ACCOUNT}:thinggroup/presses"


def test_a_device_that_gets_our_components_by_another_target_too_is_a_warning(
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
def test_what_another_target_has_stopped_deploying_is_no_finding(
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
        assert f"after {seconds} s" in the_one(found).fix
        assert f"rollout-timeout {seconds + 900}" in the_one(found).fix


def test_a_check_that_may_outlast_the_update_is_a_warning() -> None:
    found = the_one(findings(check_timeout=120, rollout_timeout=120))
    assert (found.rule, found.where) == (
        CHECK_TOO_LATE,
        "check-timeout 120, rollout-timeout 120",
    )
    assert "pulumi config set rollout-timeout 1020" in found.fix
    assert findings(check_timeout=119, rollout_timeout=120) == []


def test_the_patience_of_another_stack_s_check_is_not_this_one_s_to_mend(account: Account) -> None:
    account.devices["press-1"].architecture = "aarch64"
    values = {"release_from": "dev", "rollout_timeout": 110}  # as long as the default check-timeout
    assert findings(stack="b", upstream=UPSTREAM, **values) == []


# Devices


def test_a_device_of_another_architecture_is_named_with_the_command_that_adds_it(
    account: Account,
) -> None:
    account.devices["press-1"].architecture = "aarch64"
    found = the_one(findings())
    assert found.rule is DEVICE_ARCHITECTURE
    assert found.where == "press-1 (aarch64; the release: amd64)"
    assert found.fix == "pulumi config set --path 'architectures[1]' aarch64"


@pytest.mark.parametrize(("said", "meant"), [("arm64", "aarch64"), ("x86_64", "amd64")])
def test_an_architecture_may_have_its_other_name(account: Account, said: str, meant: str) -> None:
    account.devices["press-1"].architecture = said
    assert findings(architectures=[meant]) == []


def test_a_device_that_does_not_say_its_architecture_is_a_warning(account: Account) -> None:
    account.devices["press-1"].architecture = ""
    found = the_one(findings())
    assert found.rule is NOT_READABLE
    assert "uname -m" in found.fix


def test_lite_is_reached_by_a_group_and_never_by_its_thing(account: Account) -> None:
    account.devices["press-1"] = Device(runtime=LITE, version="2.6.0")
    found = the_one(findings())
    assert found.rule is LITE_THING
    assert "aws iot add-thing-to-thing-group --thing-name press-1" in found.fix
    assert "pulumi config set thing-group" in found.fix
    group = of_a_group(account, Device(runtime=LITE, version="2.6.0"))
    assert findings(**group) == []


def test_what_lites_systemd_has_to_be_is_told_and_stops_nothing(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load(config_of(None, **of_a_group(account, Device(runtime=LITE, version="2.6.0"))))
    told: list[str] = []
    monkeypatch.setattr("pulumi.log.info", told.append)
    Engine(upstream=None).run(
        lambda: preflight.check(settings, CONTEXT, Target.find(settings, CONTEXT)),
        stack="dev",
    )
    [systemd] = told
    assert LITE_SYSTEMD.name in systemd
    assert "systemctl --version" in systemd


@pytest.mark.parametrize(
    ("runtime", "version", "least"),
    [(LITE, "2.2.2", "2.3"), ("aws_nucleus_classic", "2.0.5", "2.1"), ("", "2.0.5", "2.1")],
)
def test_a_nucleus_that_is_too_old_is_named_with_the_version_it_needs(
    account: Account, runtime: str, version: str, least: str
) -> None:
    group = of_a_group(account, Device(runtime=runtime, version=version))
    found = the_one(findings(**group))
    assert found.rule is NUCLEUS_VERSION
    assert found.where == f"press-2 ({version})"
    assert f"{least} or newer" in found.fix


@pytest.mark.parametrize(
    ("runtime", "version"),
    [(LITE, "2.3.0"), (LITE, "2.10.0"), ("aws_nucleus_classic", "2.1.0"), ("", "")],
)
def test_a_nucleus_that_is_new_enough_or_does_not_say_is_let_be(
    account: Account, runtime: str, version: str
) -> None:
    group = of_a_group(account, Device(runtime=runtime, version=version))
    assert findings(**group) == []


def test_every_device_of_a_group_is_looked_at(account: Account) -> None:
    group = of_a_group(account, Device(architecture="arm"), Device(), Device(architecture="x86"))
    assert [one.where.split()[0] for one in findings(**group)] == ["press-2", "press-4"]


def test_a_large_group_is_listed_and_not_asked_device_by_device(account: Account) -> None:
    devices = [Device() for _ in range(29)] + [Device(architecture="aarch64")]
    group = of_a_group(account, *devices)
    account.devices["press-1"].architecture = "arm"  # not in the group
    config = load(config_of(None, **group))
    target = Target.find(config, CONTEXT)
    found = list(preflight.findings(config, CONTEXT, target))
    mattering = [one for one in found if one.rule.severity is Severity.ERROR]
    assert the_one(mattering).where.startswith("press-31 ")
    asked = [operation for operation, _ in account.asked]
    assert "GetCoreDevice" not in asked, "a thousand devices would be a thousand requests"


# The role


def test_a_role_that_is_not_there_is_named_with_the_way_to_find_the_right_one() -> None:
    found = the_one(findings(device_role="Nobody"))
    assert (found.rule, found.where) == (ROLE_MISSING, "Nobody")
    assert "pulumi config set device-role" in found.fix
    assert "aws iot describe-role-alias" in found.fix


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
def test_what_would_still_stand_in_the_way_is_named_with_its_kind(
    account: Account, decision: dict[str, Any], fix: str
) -> None:
    account.decisions = {"ecr:BatchGetImage": decision}
    found = the_one(findings())
    assert found.rule is ROLE_RIGHTS
    assert "ecr:BatchGetImage" in found.where
    assert fix in found.fix
    assert "repository/edge-inference/dev" in found.fix


def test_a_denial_that_hangs_on_a_condition_is_no_refusal(account: Account) -> None:
    account.decisions = {
        "s3:GetObject": {
            "EvalDecision": "implicitDeny",
            "MissingContextValues": ["aws:RequestedRegion"],
        }
    }
    found = the_one(findings())
    assert found.rule is NOT_READABLE, "IAM's simulator doesn't know the request to come"
    assert "aws:RequestedRegion" in found.fix


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


def fill(account: Account, *stacks: str) -> int:
    """Each of these stacks gives the role what this program gives it; the size of one's policy."""
    for stack in stacks:
        settings = load(config_of(None, thing="press-1"), stack)
        context = replace(CONTEXT, stack=stack)
        wanted = Wanted.of(settings, context)
        account.policies[DEVICE_ROLE, context.policy] = policies.read_release(
            objects=wanted.objects, repository=wanted.repository
        )
    return len(json.dumps(account.policies[DEVICE_ROLE, context.policy], separators=(",", ":")))


def test_a_role_without_room_for_one_more_stack_is_said_before_iam_refuses_it(
    account: Account,
) -> None:
    each = fill(account, *(f"line-{number:02}" for number in range(10)))
    assert each * 10 <= 10_240 < each * 11, "docs/core-device.md says ten"
    found = the_one(findings(stack="line-10"))
    assert found.rule is ROLE_FULL
    assert found.where.startswith(f"{DEVICE_ROLE} ({each * 11:,} with ours: edge-inference-line-00")
    assert "pulumi config set device-role" in found.fix
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
def test_what_may_not_be_read_is_a_warning_and_no_refusal(account: Account, operation: str) -> None:
    fill(account, "other")
    account.denied = {operation}
    found = the_one(findings())
    assert (found.rule, found.rule.severity) == (NOT_READABLE, Severity.WARNING)
    assert operation in found.fix


def test_devices_whose_listing_is_withheld_are_asked_one_by_one(account: Account) -> None:
    group = of_a_group(account, *(Device() for _ in range(29)), Device(architecture="aarch64"))
    account.denied = {"ListCoreDevices"}
    assert the_one(findings(**group)).rule is DEVICE_ARCHITECTURE


# Followers


def test_a_follower_s_device_has_to_fit_what_was_published(account: Account) -> None:
    found = the_one(findings(stack="press-2", release_from="dev", upstream=UPSTREAM))
    assert found.where == "press-1 (amd64; the release: aarch64)"
    assert "pulumi config set --stack dev" in found.fix, "it is the publisher that has to build it"
    assert "pulumi up --stack dev" in found.fix
    account.devices["press-1"].architecture = "aarch64"
    assert findings(stack="press-2", release_from="dev", upstream=UPSTREAM) == []


def test_a_follower_s_role_has_to_read_what_was_published(account: Account) -> None:
    findings(stack="press-2", release_from="dev", upstream=UPSTREAM)
    asked = {
        resource
        for operation, request in account.asked
        if operation == "SimulatePrincipalPolicy"
        for resource in request["ResourceArns"]
    }
    assert asked == {*UPSTREAM["objects"], UPSTREAM["repository_arn"], "*"}


def test_a_follower_of_a_stack_without_a_release_is_told_to_publish_first() -> None:
    with pytest.raises(Misconfigured, match="'dev' has published no release") as refused:
        findings(stack="press-2", release_from="dev", upstream={})
    assert "pulumi up --stack dev" in str(refused.value)


# The recipes


def test_a_recipe_that_would_grow_too_long_is_refused_before_its_image_is_built(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert findings(architectures=["amd64", "aarch64"]) == []
    monkeypatch.setattr(required, "MAX_RECIPE_BYTES", 3_000)
    found = findings(architectures=["amd64", "aarch64"])
    assert {one.rule.name for one in found} == {"recipe-size"}
    assert found[0].where.startswith("com.ml.")


def test_a_preview_measures_the_recipes_as_they_will_be_registered() -> None:
    settings = load(config_of(None, thing="press-1"))
    [first, *_] = Wanted.of(settings, CONTEXT).recipes
    image = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/edge-inference/dev@{DIGEST}"
    [manifest] = first["Manifests"]
    assert len(manifest["Artifacts"][0]["Uri"]) == len(f"docker:{image}")


# How it is said


def test_every_error_is_said_at_once_and_every_warning_once(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    account.devices["press-1"] = Device(architecture="arm", runtime=LITE, version="2.6.0")
    account.denied = {"GetRole"}
    settings = load(config_of(None, thing="press-1"))
    target = Target.find(settings, CONTEXT)
    warned: list[str] = []
    monkeypatch.setattr("pulumi.log.warn", warned.append)
    with pytest.raises(Misconfigured) as refused:
        preflight.check(settings, CONTEXT, target)
    said = str(refused.value)
    assert "nothing was changed" in said
    for rule in (DEVICE_ARCHITECTURE, LITE_THING):
        assert f"error {rule.name}: {rule.reason} → " in said, "fixing one to meet the next is slow"
    [warning] = warned
    assert "GetRole" in warning
    assert "info" not in said


def test_warnings_alone_do_not_stop_an_update(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    account.denied = {"GetRole"}
    warned: list[str] = []
    monkeypatch.setattr("pulumi.log.warn", warned.append)
    settings = load(config_of(None, thing="press-1"))
    preflight.check(settings, CONTEXT, Target.find(settings, CONTEXT))
    assert len(warned) == 1


def test_the_number_of_requests_does_not_grow_with_the_release(account: Account) -> None:
    settings = load(config_of(None, thing="press-1", architectures=["amd64", "aarch64"]))
    target = Target.find(settings, CONTEXT)
    fill(account, "dev")  # which is replaced, and not read
    account.asked.clear()
    preflight.findings(settings, CONTEXT, target)
    assert [operation for operation, _ in account.asked] == [
        "ListDeployments",  # which stacks' models are neighbours
        "ListEffectiveDeployments",
        "GetRole",
        *["SimulatePrincipalPolicy"] * 3,  # objects, image, registry token
        "ListRolePolicies",
    ]


def test_the_rules_in_the_docs_are_those_in_the_code() -> None:
    table = Path("docs/preflight.md").read_text()
    rules = (*RULES, *preflight.RULES)
    for rule in rules:
        row = f"| `{rule.name}` | {rule.severity} | {rule.bites} | {rule.reason} | {rule.source} |"
        assert row in table, f"docs/preflight.md has no line\n{row}"
    assert table.count("\n| `") == len(rules), "a rule that is gone still stands there"
