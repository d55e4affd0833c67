"""Component versions through the real boto3 client."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from botocore.exceptions import ClientError

from greenhouse.home import ACCOUNT, REGION

if TYPE_CHECKING:
    from mypy_boto3_greengrassv2 import GreengrassV2Client
    from mypy_boto3_s3 import S3Client

Make = Callable[..., dict[str, Any]]
Unique = Callable[[str], str]
LINUX: Any = {"attributes": {"os": "linux", "architecture": "amd64"}}


def refusal(error: pytest.ExceptionInfo[ClientError]) -> tuple[str, int]:
    answer = error.value.response
    return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]


def create(client: GreengrassV2Client, document: dict[str, Any], **more: Any) -> Any:
    return client.create_component_version(inlineRecipe=json.dumps(document).encode(), **more)


def stored(client: GreengrassV2Client, arn: str) -> Any:
    return json.loads(client.get_component(arn=arn, recipeOutputFormat="JSON")["recipe"])


def with_artifacts(*uris: str, **more: Any) -> list[dict[str, Any]]:
    return [
        {
            "Platform": {"os": "linux", "runtime": "*"},
            "Lifecycle": {"run": "exec sleep 60"},
            "Artifacts": [{"Uri": uri, **more} for uri in uris],
        }
    ]


@pytest.fixture
def bucket(s3: S3Client, unique: Unique) -> str:
    name = unique("artifacts")
    s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    return name


def test_a_component_version_is_created_and_described(
    greengrass: GreengrassV2Client, recipe: Make
) -> None:
    document = recipe(ComponentDescription="says hello", ComponentPublisher="us")
    created = create(greengrass, document, tags={"team": "edge"})
    name = document["ComponentName"]
    arn = f"arn:aws:greengrass:{REGION}:{ACCOUNT}:components:{name}:versions:1.0.0"
    assert created["arn"] == arn
    assert created["status"] == {"componentState": "REQUESTED", "message": "NONE", "errors": {}}
    described = greengrass.describe_component(arn=arn)
    assert described["status"]["componentState"] == "DEPLOYABLE"
    assert (described["publisher"], described["description"]) == ("us", "says hello")
    assert described["platforms"] == [{"attributes": {"os": "linux", "runtime": "*"}}]
    assert described["tags"] == {"team": "edge"}
    assert described["creationTimestamp"] == created["creationTimestamp"]


def test_a_recipe_comes_back_in_the_format_that_is_asked_for(
    greengrass: GreengrassV2Client, recipe: Make
) -> None:
    text = yaml.safe_dump(recipe()).encode()
    arn = greengrass.create_component_version(inlineRecipe=text)["arn"]
    answer = greengrass.get_component(arn=arn, recipeOutputFormat="YAML")
    assert answer["recipeOutputFormat"] == "YAML"
    assert yaml.safe_load(answer["recipe"]) == stored(greengrass, arn)


def test_a_version_can_not_be_made_twice_even_with_the_same_content(
    greengrass: GreengrassV2Client, recipe: Make
) -> None:
    document = recipe()
    create(greengrass, document)
    with pytest.raises(ClientError) as error:
        create(greengrass, document, tags={"a": "b"})
    assert refusal(error) == ("ConflictException", 409)
    assert "already exists and can't be created again with tags" in str(error.value)
    assert error.value.response["resourceType"] == "ComponentVersion"  # type: ignore[typeddict-item]  # the modelled member


def test_a_client_token_gives_the_first_answer_again(
    greengrass: GreengrassV2Client, recipe: Make, unique: Unique
) -> None:
    document, token = recipe(), unique("token")
    first = create(greengrass, document, clientToken=token)
    again = create(greengrass, document, clientToken=token)
    assert again["arn"] == first["arn"]
    assert again["creationTimestamp"] == first["creationTimestamp"]


def test_the_digest_of_each_s3_artifact_is_computed_at_creation_and_replaces_the_authors(
    greengrass: GreengrassV2Client, s3: S3Client, bucket: str, recipe: Make
) -> None:
    body = b"a model" * 1000
    s3.put_object(Bucket=bucket, Key="models/one.json", Body=body)
    uri = f"s3://{bucket}/models/one.json"
    document = recipe(
        Manifests=with_artifacts(uri, Digest="mine", Algorithm="MD5") + with_artifacts(uri)
    )
    arn = create(greengrass, document)["arn"]
    s3.put_object(Bucket=bucket, Key="models/one.json", Body=b"overwritten later")
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    for manifest in stored(greengrass, arn)["Manifests"]:
        (artifact,) = manifest["Artifacts"]
        assert artifact["Digest"] == digest, (
            "the digest is of the bytes at creation: an overwrite must not pass"
        )
        assert artifact["Algorithm"] == "SHA-256"


def test_a_docker_artifact_gets_no_digest(greengrass: GreengrassV2Client, recipe: Make) -> None:
    arn = create(greengrass, recipe(Manifests=with_artifacts("docker:alpine:3")))["arn"]
    assert "Digest" not in stored(greengrass, arn)["Manifests"][0]["Artifacts"][0]


@pytest.mark.parametrize("uri", ["s3://{bucket}/none", "s3://no-such-bucket/x", "s3:///x"])
def test_an_artifact_that_can_not_be_read_refuses_the_component_in_the_words_of_aws(
    greengrass: GreengrassV2Client, bucket: str, recipe: Make, uri: str
) -> None:
    asked = uri.format(bucket=bucket)
    document = recipe(Manifests=with_artifacts(asked))
    with pytest.raises(ClientError) as error:
        create(greengrass, document)
    assert refusal(error) == ("ValidationException", 400)
    assert (  # The text of aws-cli#6261.
        "Invalid Input: Encountered following errors in Artifacts:"
        f" {{{asked} = Specified artifact resource cannot be accessed}}"
    ) in str(error.value)
    create(greengrass, {**document, "Manifests": with_artifacts()})  # No half-made version stayed.


def test_versions_are_listed_greatest_first_and_page_by_page(
    greengrass: GreengrassV2Client, recipe: Make
) -> None:
    document = recipe()
    for version in ("1.2.0", "1.10.0", "1.2.0-rc.1", "0.9.0", "2.0.0"):
        create(greengrass, {**document, "ComponentVersion": version})
    arn = f"arn:aws:greengrass:{REGION}:{ACCOUNT}:components:{document['ComponentName']}"
    pages = list(
        greengrass.get_paginator("list_component_versions").paginate(
            arn=arn, PaginationConfig={"PageSize": 2}
        )
    )
    assert [[one["componentVersion"] for one in page["componentVersions"]] for page in pages] == [
        ["2.0.0", "1.10.0"],
        ["1.2.0", "1.2.0-rc.1"],
        ["0.9.0"],
    ]


def test_the_next_page_survives_the_deletion_of_what_was_shown(
    greengrass: GreengrassV2Client, recipe: Make
) -> None:
    document = recipe()
    for version in ("3.0.0", "2.0.0", "1.0.0"):
        create(greengrass, {**document, "ComponentVersion": version})
    arn = f"arn:aws:greengrass:{REGION}:{ACCOUNT}:components:{document['ComponentName']}"
    left = []
    for page in greengrass.get_paginator("list_component_versions").paginate(
        arn=arn, PaginationConfig={"PageSize": 1}
    ):
        for one in page["componentVersions"]:
            greengrass.delete_component(arn=one["arn"])
            left.append(one["componentVersion"])
    assert left == ["3.0.0", "2.0.0", "1.0.0"]


def test_components_are_listed_with_their_greatest_version(
    greengrass: GreengrassV2Client, recipe: Make
) -> None:
    document = recipe()
    for version in ("1.9.0", "1.10.0"):
        create(greengrass, {**document, "ComponentVersion": version})
    listed = {
        one["componentName"]: one["latestVersion"]["componentVersion"]
        for page in greengrass.get_paginator("list_components").paginate()
        for one in page["components"]
    }
    assert listed[document["ComponentName"]] == "1.10.0"
    assert not [name for name in listed if name.startswith("aws.greengrass.")], "PRIVATE by default"


def test_a_deleted_version_is_gone_and_may_be_made_again(
    greengrass: GreengrassV2Client, recipe: Make
) -> None:
    document = recipe()
    arn = create(greengrass, document, tags={"a": "b"})["arn"]
    greengrass.delete_component(arn=arn)
    for call in (greengrass.delete_component, greengrass.get_component):
        with pytest.raises(ClientError) as error:
            call(arn=arn)
        assert refusal(error) == ("ResourceNotFoundException", 404)
    create(greengrass, document)
    assert greengrass.describe_component(arn=arn)["tags"] == {}, "tags go with their resource"


def test_the_components_of_aws_are_public_and_stay(greengrass: GreengrassV2Client) -> None:
    listed = {
        one["componentName"]: one["latestVersion"]
        for one in greengrass.list_components(scope="PUBLIC")["components"]
    }
    assert {name: one["componentVersion"] for name, one in listed.items()} == {
        "aws.greengrass.DockerApplicationManager": "2.0.8",
        "aws.greengrass.Nucleus": "2.18.0",
        "aws.greengrass.TokenExchangeService": "2.0.3",
    }
    arn = listed["aws.greengrass.TokenExchangeService"]["arn"]
    assert arn.startswith(f"arn:aws:greengrass:{REGION}:aws:components:")
    assert stored(greengrass, arn)["ComponentName"] == "aws.greengrass.TokenExchangeService"
    with pytest.raises(ClientError) as error:
        greengrass.delete_component(arn=arn)
    assert refusal(error) == ("AccessDeniedException", 403)


def test_a_candidate_resolves_to_the_greatest_version_that_meets_everyone(
    greengrass: GreengrassV2Client, recipe: Make
) -> None:
    document = recipe()
    for version in ("1.0.0", "1.4.0", "1.5.0", "2.0.0"):
        create(greengrass, {**document, "ComponentVersion": version})
    name = document["ComponentName"]
    (found,) = greengrass.resolve_component_candidates(
        platform=LINUX,
        componentCandidates=[
            {
                "componentName": name,
                "versionRequirements": {"com.a": "^1.0.0", "thinggroup/x": "<1.5.0"},
            }
        ],
    )["resolvedComponentVersions"]
    assert found["componentVersion"] == "1.4.0"
    assert json.loads(found["recipe"]) == stored(greengrass, found["arn"])


def test_an_aws_component_resolves_as_a_dependency(greengrass: GreengrassV2Client) -> None:
    resolved = greengrass.resolve_component_candidates(
        platform=LINUX,
        componentCandidates=[
            {
                "componentName": f"aws.greengrass.{name}",
                "versionRequirements": {"com.ml.xgboost": wanted},
            }
            for name, wanted in (
                ("DockerApplicationManager", "~2.0.0"),
                ("TokenExchangeService", "^2.0.0"),
                ("Nucleus", ">=2.1.0 <3.0.0"),
            )
        ],
    )["resolvedComponentVersions"]
    assert len(resolved) == 3


@pytest.mark.parametrize(
    ("platform", "wanted"),
    [
        (LINUX, {"a": ">2.0.0", "b": "<2.0.0"}),  # "this operation returns an error", API model
        (LINUX, {"a": "^3.0.0"}),
        ({"attributes": {"os": "windows"}}, {"a": "*"}),
    ],
)
def test_requirements_that_nothing_meets_are_an_error(
    greengrass: GreengrassV2Client,
    component: Callable[..., str],
    platform: Any,
    wanted: dict[str, str],
) -> None:
    with pytest.raises(ClientError) as error:
        greengrass.resolve_component_candidates(
            platform=platform,
            componentCandidates=[{"componentName": component(), "versionRequirements": wanted}],
        )
    assert refusal(error) == ("ResourceNotFoundException", 404)


def test_tags_are_added_changed_listed_and_removed(
    greengrass: GreengrassV2Client, recipe: Make
) -> None:
    arn = create(greengrass, recipe(), tags={"a": "1", "b": "2"})["arn"]
    greengrass.tag_resource(resourceArn=arn, tags={"b": "3", "c/d=": "4"})
    greengrass.untag_resource(resourceArn=arn, tagKeys=["a", "none"])
    assert greengrass.list_tags_for_resource(resourceArn=arn)["tags"] == {"b": "3", "c/d=": "4"}
    with pytest.raises(ClientError) as error:
        greengrass.tag_resource(resourceArn=arn, tags={"aws:mine": "x"})
    assert refusal(error) == ("ValidationException", 400)
    with pytest.raises(ClientError) as error:
        greengrass.tag_resource(resourceArn=arn.replace("1.0.0", "1.0.1"), tags={"a": "b"})
    assert refusal(error) == ("ResourceNotFoundException", 404)
