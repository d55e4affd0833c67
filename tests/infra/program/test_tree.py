"""The whole program under a mock of the engine: what it registers, and what waits for what."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.account.clients import Role
from infra.account.context import Context
from infra.settings import Misconfigured
from tests.infra.fakes import ACCOUNT, REGION, Account
from tests.infra.program.registered import ENDS, PROVIDERS, Program, by_urn, waits_for
from tests.infra.pulumi_engine import Engine
from tests.infra.pulumi_yaml import ROOT

BESIDE = (*ENDS, *PROVIDERS)  # the components


# The tree of resources


def test_everything_belongs_to_a_component(deployed: Engine) -> None:
    strays = [
        one.name
        for one in deployed.registered
        if one.parent not in by_urn(deployed)
        and not one.type.startswith("edge:")
        and one.name not in BESIDE
    ]
    assert strays == [], "without parent=self it stands beside its component"


def test_components_make_only_what_they_are_named_for(deployed: Engine) -> None:
    for one in deployed.registered:
        if not one.type.startswith("edge:") and one.name not in BESIDE:
            parent = by_urn(deployed)[one.parent]
            where = one.type.partition(":")[2].split("/")[0].split(":")[0]
            allowed = {
                "edge:registry:Registry": {"ecr", "index", "dynamic"},
                "edge:artifacts:Artifacts": {"s3"},
                "edge:release:Components": {"greengrassv2", "dynamic", "s3"},
                "edge:rollout:Rollout": {"greengrassv2", "iam", "dynamic"},
            }[parent.type]
            assert where in allowed, f"{one.name} in {parent.type}"


def test_a_destroy_begins_with_what_may_refuse_it_and_ends_with_what_is_left(
    deployed: Engine,
) -> None:
    """Pulumi destroys a resource only after everything that was made after it."""
    residue, nobody_follows = deployed.one("edge:Residue"), deployed.one("edge:NobodyFollows")
    made = [one for one in deployed.registered if not one.type.startswith("edge:")]
    for one in made:
        if one is not residue:
            assert waits_for(deployed, one, residue), f"{one.name} may outlive the list"
        if one is not nobody_follows:
            assert waits_for(deployed, nobody_follows, one), f"{one.name} may be gone already"


def test_nothing_looked_up_is_changed_by_looking(account: Account, program: Program) -> None:
    program.run(thing="press-1")
    assert account.changes == [], "a preview runs the same lines"


def test_the_same_tree_registers_the_same_twice(program: Program) -> None:
    def shown(engine: Engine) -> dict[str, Any]:
        return {
            one.urn: json.dumps(one.inputs, sort_keys=True, default=vars)
            for one in engine.registered
        }

    assert shown(program.run(thing="press-1")) == shown(program.run(thing="press-1")), (
        "an unchanged tree would show changes"
    )


@pytest.mark.parametrize(
    ("function", "answer", "found"),
    [
        (
            "aws:index/getCallerIdentity:getCallerIdentity",
            {"accountId": "999999999999"},
            "the aws provider works in account 999999999999, eu-west-1",
        ),
        (
            "aws:index/getRegion:getRegion",
            {"region": "us-east-1"},
            f"the aws provider works in account {ACCOUNT}, us-east-1",
        ),
        (
            "aws-native:index:getAccountId",
            {"accountId": "999999999999"},
            "the aws-native provider works in account 999999999999, eu-west-1",
        ),
        (
            "aws-native:index:getRegion",
            {"region": "us-east-1"},
            f"the aws-native provider works in account {ACCOUNT}, us-east-1",
        ),
    ],
)
def test_a_provider_that_works_elsewhere_is_named(
    account: Account, program: Program, function: str, answer: dict[str, str], found: str
) -> None:
    program.told = {function: answer}
    with pytest.raises(Misconfigured) as refused:
        program.run(thing="press-1")
    assert found in str(refused.value)
    assert f"boto3, which asks the devices, in account {ACCOUNT}, {REGION}" in str(refused.value)
    assert [operation for operation, _ in account.asked] == ["GetCallerIdentity"], (
        "or it would say that the thing doesn't exist"
    )


def test_an_account_that_does_not_say_whose_keys_these_are_is_asked_nothing_else(
    account: Account, program: Program
) -> None:
    account.denied = {"GetCallerIdentity"}
    with pytest.raises(Misconfigured, match=r"whose credentials these are .*\n.*AccessDenied"):
        program.run(thing="press-1")
    assert program.engine.registered == []


def test_nothing_in_an_account_is_made_or_asked_by_a_default_provider(deployed: Engine) -> None:
    """Each default provider would look for a region and a login of its own."""
    made = {one.urn: one for one in deployed.registered if one.name in PROVIDERS}
    asked = {name: urn for name, urn in deployed.invoked.items() if name.startswith("aws")}
    by = {one.name: one.provider for one in deployed.registered if one.type.startswith("aws")}
    assert len(by) > 15
    assert len(asked) == 5
    packages = {one.name: one.type.partition(":")[0] for one in deployed.registered}
    for name, urn in (by | asked).items():
        package = packages.get(name) or name.partition(":")[0]
        assert made[urn].type == f"pulumi:providers:{package}", f"{name} has {urn or 'none'}"
    assert yaml.safe_load((ROOT / "Pulumi.yaml").read_text())["config"][
        "pulumi:disable-default-providers"
    ] == {"value": list(PROVIDERS)}, "or one that is forgotten is found on AWS only"


@pytest.mark.parametrize("stack", ["a shell's", "the stack's"])
def test_the_state_keeps_no_login_of_a_shell(
    program: Program, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, stack: str
) -> None:
    """A destroy may run in another shell, and the SDKs put these into an explicit provider."""
    (tmp_path / "config").write_text("[profile of-this-shell]\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_PROFILE", "of-this-shell")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/of/this/shell")
    monkeypatch.setenv("AWS_REGION", "us-west-2")
    if stack == "the stack's":
        program.aws["aws:profile"] = "plant"
    engine = program.run(thing="press-1")
    for kind in PROVIDERS:
        inputs = engine.one(f"pulumi:providers:{kind}").inputs
        assert inputs["region"] == REGION
        assert inputs.get("profile") == program.aws.get("aws:profile")
        assert "sharedCredentialsFile" not in inputs


def test_both_providers_and_boto3_are_given_the_same_role_and_tags(program: Program) -> None:
    role = {"roleArn": f"arn:aws:iam::{ACCOUNT}:role/deployer", "externalId": "plant-7"}
    program.aws |= {
        "aws:assumeRoles": json.dumps([role]),
        "aws:defaultTags": json.dumps({"tags": {"team": "edge"}}),
    }
    engine = program.run(thing="press-1")
    of_aws = engine.one("pulumi:providers:aws").inputs
    of_native = engine.one("pulumi:providers:aws-native").inputs
    assert json.loads(of_aws["assumeRoles"]) == [role]
    assert json.loads(of_native["assumeRole"]) == role
    for inputs in (of_aws, of_native):
        assert json.loads(inputs["defaultTags"]) == {"tags": {"team": "edge"}}
    for kind in ("Residue", "KeptVersions", "CleanDevices", "Answering", "NobodyFollows"):
        kept = engine.one(f"edge:{kind}").inputs
        remembered = Context.remembered(kept)
        assert remembered.clients.role == Role(arn=role["roleArn"], external_id="plant-7")
        assert remembered.default_tags == {"team": "edge"}


@pytest.mark.parametrize(
    "values",
    [
        {"thing": "nobody"},
        {"thing": "press-1", "samples": "edge/consumer/consumer.py"},
        {"thing": "press-1", "memory": 20},
    ],
)
def test_a_refusal_comes_before_the_first_resource(program: Program, values: Any) -> None:
    with pytest.raises(Misconfigured):
        program.run(**values)
    assert {one.name for one in program.engine.registered} <= {"residue", *PROVIDERS}, (
        "an `up` would stop half-way"
    )
