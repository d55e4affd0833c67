"""Repositories, against a registry that takes pushes."""

from __future__ import annotations

import base64
import json
import secrets

import boto3
import pytest

from greenhouse.providers.protocol.wire import UNKNOWN
from tests.greenhouse.providers.provider_engine import NONE, Engine, Rejected, State

REPOSITORY = "aws:ecr/repository:Repository"
LIFECYCLE = "aws:ecr/lifecyclePolicy:LifecyclePolicy"


@pytest.fixture
def name() -> str:
    return f"edge-inference/test-{secrets.token_hex(4)}"


def policy(count: int) -> str:
    return json.dumps(
        {
            "rules": [
                {
                    "rulePriority": 1,
                    "description": "untagged",
                    "selection": {
                        "tagStatus": "untagged",
                        "countType": "sinceImagePushed",
                        "countUnit": "days",
                        "countNumber": count,
                    },
                    "action": {"type": "expire"},
                }
            ]
        }
    )


def put_image(name: str, tag: str) -> None:
    boto3.client("ecr").put_image(
        repositoryName=name, imageManifest='{"schemaVersion": 2}', imageTag=tag
    )


def test_a_repository_lives_and_dies(engine: Engine, name: str, aws: dict[str, str]) -> None:
    wanted = {
        "name": name,
        "imageTagMutability": "IMMUTABLE",
        "imageScanningConfiguration": {"scanOnPush": True},
        "encryptionConfigurations": [{"encryptionType": "AES256"}],
        "tags": {"edge:stack": "local", "edge:x": "y"},
    }
    made = engine.create(REPOSITORY, **wanted)
    assert made.id == name
    address = aws["AWS_ENDPOINT_URL"].removeprefix("http://")
    assert made.outputs["repositoryUrl"] == f"{address}/{name}", (
        "AWS's host name would lead the Docker engine out of this machine"
    )
    assert made.outputs["registryId"] == "123456789012"
    assert made.outputs["arn"] == f"arn:aws:ecr:eu-west-1:123456789012:repository/{name}"

    ecr = boto3.client("ecr")
    (found,) = ecr.describe_repositories(repositoryNames=[name])["repositories"]
    assert found["imageTagMutability"] == "IMMUTABLE"
    assert found["imageScanningConfiguration"] == {"scanOnPush": True}
    assert engine.refresh(made)
    assert engine.diff(made, wanted).changes == NONE

    engine.up(made, name=name, tags={"edge:stack": "other"})
    (found,) = ecr.describe_repositories(repositoryNames=[name])["repositories"]
    assert found["imageTagMutability"] == "MUTABLE", "the default, once it is left out"
    assert found["imageScanningConfiguration"] == {"scanOnPush": False}
    tags = ecr.list_tags_for_resource(resourceArn=found["repositoryArn"])["tags"]
    assert tags == [{"Key": "edge:stack", "Value": "other"}]

    engine.delete(made)
    assert not engine.refresh(made)
    engine.delete(made)


def test_a_repository_that_somebody_made_is_not_taken_over(engine: Engine, name: str) -> None:
    engine.create(REPOSITORY, name=name)
    with pytest.raises(Rejected, match=r"(?s)RepositoryAlreadyExistsException.*pulumi import"):
        engine.create(REPOSITORY, name=name)


def test_images_hold_a_repository_unless_force_delete_says_otherwise(
    engine: Engine, name: str
) -> None:
    made = engine.create(REPOSITORY, name=name)
    put_image(name, "one")
    with pytest.raises(Rejected, match=r"(?s)RepositoryNotEmptyException.*force_delete"):
        engine.delete(made)
    engine.up(made, name=name, forceDelete=True)
    engine.delete(made)
    assert not engine.refresh(made)


def test_another_name_or_encryption_is_another_repository(engine: Engine, name: str) -> None:
    made = engine.create(REPOSITORY, name=name)
    assert list(engine.diff(made, {"name": "other"}).replaces) == ["name"]
    kms = [{"encryptionType": "KMS"}]
    assert list(engine.diff(made, {"name": name, "encryptionConfigurations": kms}).replaces) == [
        "encryptionConfigurations"
    ]


def test_a_preview_knows_the_name_but_not_the_address(engine: Engine, name: str) -> None:
    outputs = engine.preview(State(REPOSITORY, "it"), {"name": name})
    assert outputs["name"] == name
    assert outputs["repositoryUrl"] is UNKNOWN


def test_mutability_is_one_of_two_words(engine: Engine) -> None:
    with pytest.raises(Rejected, match="must be MUTABLE or IMMUTABLE here, not 'immutable'"):
        engine.check(State(REPOSITORY, "it"), {"imageTagMutability": "immutable"})


@pytest.mark.parametrize("wrong", ["Upper", "_a", "a//b", "a/"])
def test_a_name_that_ecr_would_refuse_is_refused(engine: Engine, wrong: str) -> None:
    with pytest.raises(Rejected, match="repositoryName must match"):
        engine.create(REPOSITORY, name=wrong)


def test_an_encryption_that_ecr_does_not_have_is_refused(engine: Engine, name: str) -> None:
    with pytest.raises(Rejected, match="encryptionType must be AES256 or KMS"):
        engine.create(REPOSITORY, name=name, encryptionConfigurations=[{"encryptionType": "none"}])


def test_lifecycle_rules_live_and_die(engine: Engine, name: str) -> None:
    engine.create(REPOSITORY, name=name)
    made = engine.create(LIFECYCLE, repository=name, policy=policy(14))
    ecr = boto3.client("ecr")

    def days() -> object:
        text = ecr.get_lifecycle_policy(repositoryName=name)["lifecyclePolicyText"]
        return json.loads(text)["rules"][0]["selection"]["countNumber"]

    assert days() == 14
    assert engine.refresh(made)
    respelt = json.dumps(json.loads(policy(14)), indent=2)
    assert engine.diff(made, {"repository": name, "policy": respelt}).changes == NONE
    engine.up(made, repository=name, policy=policy(7))
    assert days() == 7
    engine.delete(made)
    assert not engine.refresh(made)
    engine.delete(made)


def test_rules_that_ecr_would_refuse_are_refused(engine: Engine) -> None:
    wrong = policy(14).replace('"countNumber": 14', '"countNumber": "14"')
    with pytest.raises(Rejected, match=r"rules\[0\].selection.countNumber must be a whole number"):
        engine.check(State(LIFECYCLE, "it"), {"repository": "r", "policy": wrong})


def test_there_is_no_login_to_another_account(engine: Engine) -> None:
    token = "aws:ecr/getAuthorizationToken:getAuthorizationToken"
    assert engine.invoke(token, registryId="123456789012")["userName"] == "AWS"
    with pytest.raises(Rejected, match="no registry of the account 999999999999"):
        engine.invoke(token, registryId="999999999999")


def test_the_login_is_in_the_clear_and_leads_to_this_machine(
    engine: Engine, aws: dict[str, str]
) -> None:
    found = engine.invoke("aws:ecr/getAuthorizationToken:getAuthorizationToken")
    assert found["userName"] == "AWS"
    assert found["proxyEndpoint"] == aws["AWS_ENDPOINT_URL"]
    assert isinstance(found["password"], str), "the program marks it"
    assert isinstance(found["authorizationToken"], str)
    assert base64.b64decode(found["authorizationToken"]).decode() == (f"AWS:{found['password']}")
