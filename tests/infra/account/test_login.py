"""Where and as whom a stack works: both providers and boto3 read it in the same way."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from infra.account.clients import Clients, Role
from infra.account.context import Context
from infra.account.login import Login
from infra.dynamic import ResidueProvider
from infra.errors import RolloutFailed
from infra.settings import Misconfigured
from tests.infra.fakes import ACCOUNT, CONTEXT, REGION

ARN = f"arn:aws:iam::{ACCOUNT}:role/deployer"
HERE = {"aws:region": REGION}


def test_one_key_says_the_region() -> None:
    assert Login.of(HERE, {}, "dev") == Login(region=REGION, profile=None, role=None)


@pytest.mark.parametrize(
    ("environment", "region"),
    [
        ({"AWS_REGION": "a", "AWS_DEFAULT_REGION": "b"}, "a"),
        ({"AWS_REGION": "", "AWS_DEFAULT_REGION": "b"}, "b"),
    ],
)
def test_a_shell_s_region_counts_where_no_key_says_one(
    environment: dict[str, str], region: str
) -> None:
    assert Login.of({}, environment, "dev").region == region
    assert Login.of(HERE, environment, "dev").region == REGION


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"aws:region": ""}, r"names no region\.\n    pulumi config set --stack dev aws:region REGION"),
    ({"aws-native:region": REGION}, "pulumi config rm --stack dev aws-native:region"),
    ({"aws-native:profile": "plant"}, r"given what the aws: keys say\.\n.* aws-native:profile"),
    ({"aws:allowedAccountIds": "[]"}, "pulumi config rm --stack dev aws:allowedAccountIds"),
    ({"aws:assumeRole": {"roleArn": ARN}}, "aws:assumeRole isn't read"),
    ({"aws:assumeRoles": "deployer"}, "neither YAML nor JSON"),
    ({"aws:assumeRoles": {"roleArn": ARN}}, "not a list"),
    (
        {"aws:assumeRoles": [{"roleArn": ARN}] * 2},
        r"2 roles\.\n.* provider can assume a single role",
    ),
    (
        {"aws:assumeRoles": [{"roleArn": "deployer"}]},
        r"no ARN of an IAM role\.\n.*\[0\].roleArn' ARN",
    ),
    ({"aws:assumeRoles": [ARN]}, "no ARN of an IAM role"),
    ({"aws:assumeRoles": [{"roleArn": ARN, "policy": "{}"}]}, r"\[0\].policy isn't read"),
    ({"aws:defaultTags": {"team": "edge"}}, "pulumi config set --stack dev --path 'aws:defaultT"),
    ({"aws:defaultTags": "[]"}, "not an object"),
]


@pytest.mark.parametrize(("config", "said"), REFUSED)
def test_a_value_that_not_all_can_get_is_refused_with_what_to_type(
    config: dict[str, Any], said: str
) -> None:
    with pytest.raises(Misconfigured, match=said):
        Login.of(HERE | config, {}, "dev")


@pytest.mark.parametrize("text", [False, True], ids=["as YAML has it", "as Pulumi hands it on"])
def test_a_role_and_default_tags_are_read(text: bool) -> None:
    config: dict[str, Any] = {
        "aws:assumeRoles": [{"roleArn": ARN, "externalId": "plant-7", "sessionName": "edge"}],
        "aws:defaultTags": {"tags": {"team": "edge"}},
    }
    if text:
        config = {key: json.dumps(value) for key, value in config.items()}
    found = Login.of(HERE | config, {}, "dev")
    assert found.role == Role(arn=ARN, external_id="plant-7", session="edge")
    assert found.default_tags == {"team": "edge"}


def test_boto3_asks_with_the_role_s_keys_and_gets_them_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "own")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "own")
    role = Role(arn=ARN, external_id="plant-7", session="edge")
    clients = Clients(region=REGION, profile=None, role=role)
    asked: list[dict[str, Any]] = []

    def assume(_self: Any, service: str, **keys: Any) -> Any:
        assert (service, keys["aws_access_key_id"]) == ("sts", "own")
        return _Sts(asked)

    with monkeypatch.context() as patch:
        patch.setattr("boto3.Session.client", assume)
        credentials = clients._session.get_credentials()
        assert credentials is not None
        assert credentials.get_frozen_credentials().access_key == "of-the-role"
        assert credentials.get_frozen_credentials().token == "for-an-hour"  # It is made up.
    assert asked == [{"RoleArn": ARN, "ExternalId": "plant-7", "RoleSessionName": "edge"}]
    assert clients._session.region_name == REGION


class _Sts:
    def __init__(self, asked: list[dict[str, Any]]) -> None:
        self._asked = asked

    def assume_role(self, **given: Any) -> dict[str, Any]:
        self._asked.append(given)
        return {
            "Credentials": {
                "AccessKeyId": "of-the-role",
                "SecretAccessKey": "made-up",
                "SessionToken": "for-an-hour",
                "Expiration": datetime.now(UTC) + timedelta(hours=1),
            },
            "AssumedRoleUser": {"Arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/deployer/edge"},
        }


@pytest.mark.parametrize(("what", "now"), [("region", "us-east-1"), ("account", "999999999999")])
def test_a_stack_that_would_move_is_stopped_by_its_first_diff(what: str, now: str) -> None:
    here = CONTEXT.props | {"target": "", "role": "r"}
    with pytest.raises(RolloutFailed, match=f"stack edge-inference/dev was made in {what}"):
        ResidueProvider().diff("kept", here, here | {what: now})
    assert not ResidueProvider().diff("kept", here, dict(here)).changes


def test_a_context_is_made_again_from_what_the_state_keeps() -> None:
    role = Role(arn=ARN, external_id=None, session=None)
    with_a_role = Context(
        account=ACCOUNT,
        region=REGION,
        partition="aws",
        profile="plant",
        project="edge-inference",
        stack="dev",
        assumed=role,
        default_tags={"team": "edge"},
    )
    assert Context.remembered(with_a_role.props | {"role": "of the devices"}) == with_a_role
    assert Context.remembered({**CONTEXT.props, "role": "of the devices"}) == CONTEXT
