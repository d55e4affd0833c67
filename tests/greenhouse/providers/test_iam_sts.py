"""Roles, policies, and who and where we are."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator

import boto3
import pytest

from tests.greenhouse.providers.provider_engine import NONE, Engine, Rejected, State

ROLE_POLICY = "aws:iam/rolePolicy:RolePolicy"
STATEMENT = {"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": ["arn:aws:s3:::b/*"]}
DOCUMENT = {"Version": "2012-10-17", "Statement": [STATEMENT]}
TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"Service": "credentials.iot.amazonaws.com"},
            "Action": "sts:AssumeRole",
        }
    ],
}


@pytest.fixture
def role(aws: dict[str, str]) -> Iterator[str]:
    del aws
    name = f"role-{secrets.token_hex(4)}"
    iam = boto3.client("iam")
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(TRUST))
    yield name
    for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]:
        iam.delete_role_policy(RoleName=name, PolicyName=policy)
    iam.delete_role(RoleName=name)


def test_a_policy_in_a_role_lives_and_dies(engine: Engine, role: str) -> None:
    wanted = {"role": role, "name": "read", "policy": json.dumps(DOCUMENT)}
    made = engine.create(ROLE_POLICY, **wanted)
    assert made.id == f"{role}:read"
    iam = boto3.client("iam")
    assert iam.get_role_policy(RoleName=role, PolicyName="read")["PolicyDocument"] == DOCUMENT
    assert engine.refresh(made)
    assert engine.diff(made, wanted).changes == NONE

    narrower = {**DOCUMENT, "Statement": [{**STATEMENT, "Resource": "arn:aws:s3:::b/c"}]}
    engine.up(made, **{**wanted, "policy": json.dumps(narrower)})
    assert iam.get_role_policy(RoleName=role, PolicyName="read")["PolicyDocument"] == narrower

    iam.put_role_policy(RoleName=role, PolicyName="read", PolicyDocument=json.dumps(DOCUMENT))
    assert engine.refresh(made)
    assert engine.diff(made, {**wanted, "policy": json.dumps(narrower)}).changes != NONE, "drift"

    engine.delete(made)
    assert not engine.refresh(made)
    engine.delete(made)


def test_the_role_must_be_there(engine: Engine) -> None:
    with pytest.raises(Rejected, match=r"(?s)NoSuchEntity.*name an existing role"):
        engine.create(ROLE_POLICY, role="nobody", name="read", policy=json.dumps(DOCUMENT))


@pytest.mark.parametrize(
    ("statements", "reason"),
    [
        ([], "Syntax errors in policy"),
        ([{**STATEMENT, "Action": []}], "Policy statement must contain actions"),
        (
            [{"Effect": "Allow", "Action": "s3:GetObject"}],
            "Policy statement must contain resources",
        ),
        ([{**STATEMENT, "Principal": "*"}], "Policy document should not specify a principal"),
    ],
)
def test_a_role_policy_that_iam_would_refuse_is_refused_in_its_words(
    engine: Engine, role: str, statements: list[object], reason: str
) -> None:
    document = {"Version": "2012-10-17", "Statement": statements}
    with pytest.raises(Rejected, match=f"MalformedPolicyDocument: {reason}"):
        engine.create(ROLE_POLICY, role=role, name="read", policy=document)


def test_the_inline_policies_of_a_role_have_10240_characters_together(
    engine: Engine, role: str
) -> None:
    wide = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "x" * 5_000}
    document = {"Version": "2012-10-17", "Statement": [wide]}
    first = engine.create(ROLE_POLICY, role=role, name="one", policy=document)
    engine.create(ROLE_POLICY, role=role, name="two", policy=json.dumps(document, indent=2000))
    engine.up(first, role=role, name="one", policy=document)  # It doesn't count twice.
    with pytest.raises(Rejected, match="LimitExceeded: Maximum policy size of 10240 bytes"):
        engine.create(ROLE_POLICY, role=role, name="three", policy=DOCUMENT | {"Id": "x" * 200})


def test_a_name_that_iams_own_model_does_not_take_is_refused(engine: Engine, role: str) -> None:
    with pytest.raises(Rejected, match=r"PolicyName must match \[\\w\+=,\.@-\]\+"):
        engine.create(ROLE_POLICY, role=role, name="two words", policy=DOCUMENT)
    assert boto3.client("iam").list_role_policies(RoleName=role)["PolicyNames"] == []


def test_a_policy_without_a_name_gets_one(engine: Engine, role: str) -> None:
    made = engine.create(ROLE_POLICY, "device-read", role=role, policy=DOCUMENT)
    assert made.inputs["name"].startswith("device-read-")
    assert json.loads(made.inputs["policy"]) == DOCUMENT
    assert engine.diff(made, {"role": role, "policy": DOCUMENT}).changes == NONE


def test_another_role_is_another_policy(engine: Engine, role: str) -> None:
    wanted = {"role": role, "name": "read", "policy": DOCUMENT}
    made = engine.create(ROLE_POLICY, **wanted)
    assert list(engine.diff(made, {**wanted, "role": "other"}).replaces) == ["role"]


def test_an_input_that_is_not_given_is_named(engine: Engine) -> None:
    with pytest.raises(Rejected, match=r"(?s)policy is required.*role is required"):
        engine.check(State(ROLE_POLICY, "it"), {})


def test_functions_know_their_arguments(engine: Engine) -> None:
    with pytest.raises(Rejected, match="name: greenhouse takes region"):
        engine.invoke("aws:index/getRegion:getRegion", name="x")
    with pytest.raises(Rejected, match="name: greenhouse takes no argument"):
        engine.invoke("aws:index/getCallerIdentity:getCallerIdentity", name="x")
    with pytest.raises(Rejected, match="no function aws:iam/getRole:getRole; there are: aws:"):
        engine.invoke("aws:iam/getRole:getRole", name="x")


def test_who_and_where_we_are(engine: Engine) -> None:
    assert engine.invoke("aws:index/getCallerIdentity:getCallerIdentity")["accountId"] == (
        "123456789012"
    )
    assert engine.invoke("aws:index/getPartition:getPartition")["partition"] == "aws"
    assert engine.invoke("aws:index/getRegion:getRegion")["region"] == "eu-west-1"


def test_the_region_is_the_stacks_before_it_is_the_environments(engine: Engine) -> None:
    engine.configure("aws", region="eu-central-1", version="7.51.1")
    assert engine.invoke("aws:index/getRegion:getRegion")["region"] == "eu-central-1"


def test_each_connection_has_its_own_region(engine: Engine, ports: dict[str, int]) -> None:
    engine.configure("aws", region="eu-central-1")
    with Engine(ports) as other:
        other.configure("aws", region="us-east-1")
        assert engine.invoke("aws:index/getRegion:getRegion")["region"] == "eu-central-1"
        assert other.invoke("aws:index/getRegion:getRegion")["region"] == "us-east-1"
