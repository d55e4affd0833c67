"""Components and deployments, against greenhouse's own cloud."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from pulumi.runtime.proto import provider_pb2

from greenhouse.providers.protocol.wire import UNKNOWN
from tests.greenhouse.providers.provider_engine import NONE, Engine, Rejected, State

COMPONENT = "aws-native:greengrassv2:ComponentVersion"
DEPLOYMENT = "aws-native:greengrassv2:Deployment"
UNKNOWN_CHANGES = provider_pb2.DiffResponse.DIFF_UNKNOWN


@pytest.fixture
def name() -> str:
    return f"com.example.test{secrets.token_hex(4)}"


@pytest.fixture
def thing(aws: dict[str, str]) -> Iterator[str]:
    """The ARN of a thing."""
    del aws
    iot, thing = boto3.client("iot"), f"thing-{secrets.token_hex(4)}"
    yield iot.create_thing(thingName=thing)["thingArn"]
    iot.delete_thing(thingName=thing)


def recipe(name: str, version: str = "1.0.0", script: str = "true") -> str:
    return json.dumps(
        {
            "RecipeFormatVersion": "2020-01-25",
            "ComponentName": name,
            "ComponentVersion": version,
            "ComponentDescription": "a test",
            "ComponentPublisher": "test",
            "Manifests": [
                {
                    "Platform": {"os": "linux", "runtime": "*"},
                    "Lifecycle": {"run": {"Script": script}},
                    "Artifacts": [],
                }
            ],
        }
    )


def deployed(name: str, thing: str) -> dict[str, Any]:
    return {
        "targetArn": thing,
        "deploymentName": "a test",
        "components": {
            name: {
                "componentVersion": "1.0.0",
                "configurationUpdate": {"merge": '{"a": 1}', "reset": ["/accessControl"]},
            }
        },
        "deploymentPolicies": {
            "failureHandlingPolicy": "ROLLBACK",
            "componentUpdatePolicy": {
                "action": "NOTIFY_COMPONENTS",
                "timeoutInSeconds": 60,
            },
        },
        "tags": {"edge:stack": "local"},
    }


@pytest.mark.parametrize(
    ("setting", "value", "reason"),
    [
        ("allowedAccountIds", "me", "invalid character 'm' looking for beginning of value"),
        ("forbiddenAccountIds", "12", r"cannot unmarshal number into Go value of type \[\]string"),
        ("defaultTags", '"a"', "cannot unmarshal string into Go value of type map"),
    ],
)
def test_a_setting_that_is_not_the_json_it_should_be_is_named(
    engine: Engine, setting: str, value: str, reason: str
) -> None:
    with pytest.raises(Rejected, match=f"failed to unmarshal '{setting}' config: .*{reason}"):
        engine.configure("aws-native", **{setting: value})


def test_a_component_version_lives_and_dies(engine: Engine, name: str) -> None:
    wanted = {"inlineRecipe": recipe(name), "tags": {"edge:stack": "local"}}
    made = engine.create(COMPONENT, **wanted)
    assert made.outputs["componentName"] == name
    assert made.outputs["componentVersion"] == "1.0.0"
    assert made.id == made.outputs["arn"]
    greengrass = boto3.client("greengrassv2")
    described = greengrass.describe_component(arn=made.id)
    assert described["status"]["componentState"] == "DEPLOYABLE"
    assert described["tags"] == {"edge:stack": "local"}
    assert engine.refresh(made)
    assert engine.diff(made, wanted).changes == NONE

    engine.up(made, inlineRecipe=recipe(name), tags={"edge:release": "r2"})
    assert greengrass.describe_component(arn=made.id)["tags"] == {"edge:release": "r2"}

    engine.delete(made)
    assert not engine.refresh(made)
    engine.delete(made)


def test_a_version_is_made_once(engine: Engine, name: str) -> None:
    engine.create(COMPONENT, inlineRecipe=recipe(name))
    with pytest.raises(Rejected, match=r'failed with "AlreadyExists": Component \['):
        engine.create(COMPONENT, inlineRecipe=recipe(name))


def test_a_change_is_left_to_the_engine_and_deletes_first(engine: Engine, name: str) -> None:
    made = engine.create(COMPONENT, inlineRecipe=recipe(name))
    diff = engine.diff(made, {"inlineRecipe": recipe(name, "2.0.0")})
    assert diff.changes == UNKNOWN_CHANGES
    assert diff.deleteBeforeReplace
    assert not diff.replaces, "replaceOnChanges is the SDK's, and the engine's to apply"


def test_a_recipe_is_never_updated_in_place(engine: Engine, name: str) -> None:
    made = engine.create(COMPONENT, inlineRecipe=recipe(name))
    with pytest.raises(
        Rejected, match=r"createOnlyProperties \[/properties/InlineRecipe\] cannot be updated"
    ):
        engine.up(made, inlineRecipe=recipe(name, "2.0.0"))


def test_a_recipe_that_greengrass_refuses_is_refused(engine: Engine) -> None:
    with pytest.raises(Rejected, match='failed with "InvalidRequest"'):
        engine.create(COMPONENT, inlineRecipe='{"RecipeFormatVersion": "2020-01-25"}')


def test_a_component_without_a_recipe_is_left_to_the_cloud(engine: Engine) -> None:
    assert engine.check(State(COMPONENT, "it"), {}) == {}, "as the plugin does"
    with pytest.raises(Rejected, match="either inlineRecipe or lambdaFunction"):
        engine.create(COMPONENT)


def test_a_preview_does_not_know_the_version_that_greengrass_will_tell(
    engine: Engine, name: str
) -> None:
    outputs = engine.preview(State(COMPONENT, "it"), {"inlineRecipe": recipe(name)})
    assert outputs["componentVersion"] is UNKNOWN


def test_a_deployment_lives_and_dies(engine: Engine, name: str, thing: str) -> None:
    engine.create(COMPONENT, inlineRecipe=recipe(name))
    wanted = deployed(name, thing)
    made = engine.create(DEPLOYMENT, **wanted)
    greengrass = boto3.client("greengrassv2")
    found = greengrass.get_deployment(deploymentId=made.id)
    assert made.outputs["deploymentId"] == made.id
    assert found["deploymentStatus"] == "ACTIVE", "made is not rolled out: the handler doesn't wait"
    assert found["components"] == wanted["components"]
    assert found["tags"] == {"edge:stack": "local"}
    assert engine.refresh(made)
    assert engine.diff(made, wanted).changes == NONE

    engine.up(made, **{**wanted, "tags": {"edge:stack": "other"}})
    assert greengrass.get_deployment(deploymentId=made.id)["tags"] == {"edge:stack": "other"}

    engine.delete(made)
    assert not engine.refresh(made)
    engine.delete(made)


def test_a_superseded_deployment_can_be_deleted(engine: Engine, name: str, thing: str) -> None:
    engine.create(COMPONENT, inlineRecipe=recipe(name))
    first = engine.create(DEPLOYMENT, **deployed(name, thing))
    second = engine.create(DEPLOYMENT, **deployed(name, thing))
    engine.delete(first)
    assert not engine.refresh(first)
    assert engine.refresh(second)
    engine.delete(second)


def test_a_deployment_to_a_group_carries_the_configuration_of_its_job(
    engine: Engine, name: str
) -> None:
    iot, group = boto3.client("iot"), f"group-{secrets.token_hex(4)}"
    target = iot.create_thing_group(thingGroupName=group)["thingGroupArn"]
    engine.create(COMPONENT, inlineRecipe=recipe(name))
    stop = {"action": "CANCEL", "failureType": "ALL"}
    job = {
        "jobExecutionsRolloutConfig": {"maximumPerMinute": 5},
        "abortConfig": {
            "criteriaList": [{**stop, "minNumberOfExecutedThings": 1, "thresholdPercentage": 20}]
        },
        "timeoutConfig": {"inProgressTimeoutInMinutes": 30},
    }
    made = engine.create(DEPLOYMENT, **deployed(name, target), iotJobConfiguration=job)
    found = boto3.client("greengrassv2").get_deployment(deploymentId=made.id)
    assert found["iotJobConfiguration"] == job
    engine.delete(made)
    iot.delete_thing_group(thingGroupName=group)


def test_other_components_are_another_deployment(engine: Engine, name: str, thing: str) -> None:
    engine.create(COMPONENT, inlineRecipe=recipe(name))
    made = engine.create(DEPLOYMENT, **deployed(name, thing))
    diff = engine.diff(made, {**deployed(name, thing), "components": {}})
    assert diff.changes == UNKNOWN_CHANGES
    assert not diff.diffs, "DIFF_SOME with diffs=[components] would become an update in place"
    engine.delete(made)


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        ({"deploymentName": "n"}, "missing required property targetArn"),
        (
            {"targetArn": "t", "deploymentName": "n", "components": {"c": {"version": "1"}}},
            "unknown property components.c.version",
        ),
        (
            {
                "targetArn": "t",
                "deploymentName": "n",
                "components": {"c": {"configurationUpdate": {"merge": {"a": 1}}}},
            },
            "components.c/configurationUpdate/merge must be a string",
        ),
        (
            {"targetArn": "t", "deploymentName": "n", "tags": [{"key": "a", "value": "b"}]},
            "tags must be an object",
        ),
    ],
)
def test_wrong_inputs_are_refused(engine: Engine, inputs: dict[str, Any], reason: str) -> None:
    with pytest.raises(Rejected, match=reason):
        engine.check(State(DEPLOYMENT, "it"), inputs)


def test_a_target_that_is_not_there_is_refused_by_greengrass(engine: Engine) -> None:
    nobody = "arn:aws:iot:eu-west-1:123456789012:thing/nobody"
    with pytest.raises(Rejected, match='failed with "NotFound"'):
        engine.create(DEPLOYMENT, targetArn=nobody, deploymentName="n", components={})
