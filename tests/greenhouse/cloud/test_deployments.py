"""Deployments through the real boto3 client, things and groups from the real MiniStack."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from greenhouse.home import ACCOUNT, REGION
from tests.greenhouse.cloud.conftest import deploy, status

if TYPE_CHECKING:
    from mypy_boto3_greengrassv2 import GreengrassV2Client
    from mypy_boto3_iot import IoTClient

Unique = Callable[[str], str]
NewComponent = Callable[..., str]


def refusal(error: pytest.ExceptionInfo[ClientError]) -> tuple[str, int]:
    answer = error.value.response
    return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]


@pytest.fixture
def thing(iot: IoTClient, unique: Unique) -> str:
    return iot.create_thing(thingName=unique("thing"))["thingArn"]


def test_a_deployment_is_shown_as_it_was_made_with_the_documented_defaults(
    greengrass: GreengrassV2Client, thing: str, component: NewComponent
) -> None:
    name = component()
    update: Any = {"merge": json.dumps({"level": 3}), "reset": ["/old", ""]}
    deployment = greengrass.create_deployment(
        targetArn=thing,
        deploymentName="the first",
        components={name: {"componentVersion": "1.0.0", "configurationUpdate": update}},
        tags={"release": "abc"},
    )["deploymentId"]
    shown = greengrass.get_deployment(deploymentId=deployment)
    assert shown["components"][name]["configurationUpdate"] == update
    assert shown["deploymentPolicies"] == {
        "failureHandlingPolicy": "ROLLBACK",
        "componentUpdatePolicy": {"timeoutInSeconds": 60, "action": "NOTIFY_COMPONENTS"},
        "configurationValidationPolicy": {"timeoutInSeconds": 30},
    }
    assert (shown["deploymentName"], shown["revisionId"]) == ("the first", "1")
    assert (shown["deploymentStatus"], shown["isLatestForTarget"]) == ("ACTIVE", True)
    assert shown["tags"] == {"release": "abc"}
    assert "iotJobId" not in shown, "a thing's deployment goes by its shadow, not by a job"


def test_policies_given_in_part_keep_the_other_defaults(
    greengrass: GreengrassV2Client, thing: str
) -> None:
    deployment = deploy(
        greengrass,
        thing,
        deploymentPolicies={
            "failureHandlingPolicy": "DO_NOTHING",
            "componentUpdatePolicy": {"action": "SKIP_NOTIFY_COMPONENTS"},
        },
    )
    policies = greengrass.get_deployment(deploymentId=deployment)["deploymentPolicies"]
    assert policies["failureHandlingPolicy"] == "DO_NOTHING"
    assert policies["componentUpdatePolicy"] == {
        "timeoutInSeconds": 60,
        "action": "SKIP_NOTIFY_COMPONENTS",
    }


def test_a_deployment_may_have_no_components_which_is_how_one_uninstalls(
    greengrass: GreengrassV2Client, thing: str
) -> None:
    deployment = deploy(greengrass, thing)
    assert greengrass.get_deployment(deploymentId=deployment)["components"] == {}


def test_a_new_revision_cancels_the_active_one_before_it(
    greengrass: GreengrassV2Client, thing: str
) -> None:
    first, second = deploy(greengrass, thing), deploy(greengrass, thing)
    before = greengrass.get_deployment(deploymentId=first)
    after = greengrass.get_deployment(deploymentId=second)
    assert (before["deploymentStatus"], before["isLatestForTarget"]) == ("CANCELED", False)
    assert (after["deploymentStatus"], after["isLatestForTarget"]) == ("ACTIVE", True)
    assert (before["revisionId"], after["revisionId"]) == ("1", "2")


def test_a_group_deployment_has_a_job(greengrass: GreengrassV2Client, group: str) -> None:
    created = greengrass.create_deployment(targetArn=group)
    assert created["iotJobArn"] == f"arn:aws:iot:{REGION}:{ACCOUNT}:job/{created['iotJobId']}"
    shown = greengrass.get_deployment(deploymentId=created["deploymentId"])
    assert shown["iotJobId"] == created["iotJobId"]


@pytest.mark.parametrize("kind", ["thing", "thinggroup"])
def test_a_target_that_is_not_there_is_refused(
    greengrass: GreengrassV2Client, unique: Unique, kind: str
) -> None:
    for account in (ACCOUNT, "210987654321"):
        with pytest.raises(ClientError) as error:
            deploy(greengrass, f"arn:aws:iot:{REGION}:{account}:{kind}/{unique('none')}")
        assert refusal(error) == ("ResourceNotFoundException", 404)


def test_a_component_version_that_is_not_there_is_refused_and_nothing_is_replaced(
    greengrass: GreengrassV2Client, thing: str, component: NewComponent
) -> None:
    running, name = deploy(greengrass, thing), component()
    with pytest.raises(ClientError) as error:
        greengrass.create_deployment(
            targetArn=thing, components={name: {"componentVersion": "1.0.1"}}
        )
    assert refusal(error) == ("ResourceNotFoundException", 404)
    assert f"{name} 1.0.1" in str(error.value)
    assert status(greengrass, running) == "ACTIVE"


def test_a_component_of_aws_may_be_deployed(greengrass: GreengrassV2Client, thing: str) -> None:
    assert greengrass.create_deployment(
        targetArn=thing,
        components={"aws.greengrass.Nucleus": {"componentVersion": "2.18.0"}},
    )["deploymentId"]


@pytest.mark.parametrize(
    "update",
    [
        {"merge": "not json"},
        {"merge": '["a list"]'},
        {"reset": ["level"]},
    ],
)
def test_a_configuration_update_that_no_device_could_apply_is_refused(
    greengrass: GreengrassV2Client, thing: str, component: NewComponent, update: Any
) -> None:
    name = component()
    with pytest.raises(ClientError) as error:
        greengrass.create_deployment(
            targetArn=thing,
            components={name: {"componentVersion": "1.0.0", "configurationUpdate": update}},
        )
    assert refusal(error) == ("ValidationException", 400)
    assert name in str(error.value)


def test_what_is_not_modelled_is_refused(greengrass: GreengrassV2Client, group: str) -> None:
    rate = {
        "baseRatePerMinute": 1,
        "incrementFactor": 2.0,
        "rateIncreaseCriteria": {"numberOfNotifiedThings": 1},
    }
    for more in (
        {"parentTargetArn": group},
        {"iotJobConfiguration": {"jobExecutionsRolloutConfig": {"exponentialRate": rate}}},
    ):
        with pytest.raises(ClientError, match="greenhouse does not model"):
            deploy(greengrass, group, **more)


def test_a_client_token_makes_one_deployment(
    greengrass: GreengrassV2Client, thing: str, unique: Unique
) -> None:
    token = unique("token")
    assert deploy(greengrass, thing, clientToken=token) == deploy(
        greengrass, thing, clientToken=token
    )
    listed = greengrass.list_deployments(targetArn=thing, historyFilter="ALL")["deployments"]
    assert len(listed) == 1


def test_only_the_latest_revision_is_listed_unless_all_are_asked_for(
    greengrass: GreengrassV2Client, thing: str, group: str
) -> None:
    first, second = deploy(greengrass, thing), deploy(greengrass, thing)
    other = deploy(greengrass, group)
    latest = greengrass.list_deployments(targetArn=thing)["deployments"]
    assert [one["deploymentId"] for one in latest] == [second]
    pages = greengrass.get_paginator("list_deployments").paginate(
        historyFilter="ALL", PaginationConfig={"PageSize": 1}
    )
    everything = [one["deploymentId"] for page in pages for one in page["deployments"]]
    assert everything.index(other) < everything.index(second) < everything.index(first), (
        "the newest first, each page one further"
    )
    assert greengrass.list_deployments(parentTargetArn=group)["deployments"] == []


def test_an_active_deployment_is_cancelled_before_it_can_be_deleted(
    greengrass: GreengrassV2Client, thing: str
) -> None:
    deployment = deploy(greengrass, thing)
    with pytest.raises(ClientError, match="Deployment should be cancelled before deleted") as error:
        greengrass.delete_deployment(deploymentId=deployment)
    assert refusal(error) == ("ConflictException", 409)
    assert greengrass.cancel_deployment(deploymentId=deployment)["message"] == "SUCCESS"
    assert status(greengrass, deployment) == "CANCELED"
    greengrass.delete_deployment(deploymentId=deployment)
    with pytest.raises(ClientError) as error:
        greengrass.get_deployment(deploymentId=deployment)
    assert refusal(error) == ("ResourceNotFoundException", 404)


def test_a_replaced_deployment_can_be_cancelled_and_deleted_as_cloudformation_does(
    greengrass: GreengrassV2Client, thing: str
) -> None:
    first, second = deploy(greengrass, thing), deploy(greengrass, thing)
    greengrass.cancel_deployment(deploymentId=first)
    greengrass.delete_deployment(deploymentId=first)
    assert status(greengrass, second) == "ACTIVE"


def test_revisions_go_on_counting_when_the_latest_was_deleted(
    greengrass: GreengrassV2Client, thing: str
) -> None:
    first, second = deploy(greengrass, thing), deploy(greengrass, thing)
    greengrass.cancel_deployment(deploymentId=second)
    greengrass.delete_deployment(deploymentId=second)
    assert not greengrass.get_deployment(deploymentId=first)["isLatestForTarget"]
    third = greengrass.get_deployment(deploymentId=deploy(greengrass, thing))
    assert (third["revisionId"], third["isLatestForTarget"]) == ("3", True)


def test_a_component_version_in_use_can_be_deleted_as_the_api_says(
    greengrass: GreengrassV2Client, thing: str, component: NewComponent
) -> None:
    name = component()
    deployment = deploy(greengrass, thing, name)
    arn = f"arn:aws:greengrass:{REGION}:{ACCOUNT}:components:{name}:versions:1.0.0"
    greengrass.delete_component(arn=arn)
    assert name in greengrass.get_deployment(deploymentId=deployment)["components"]


def test_a_deployment_is_tagged_after_it_was_made(
    greengrass: GreengrassV2Client, thing: str
) -> None:
    deployment = deploy(greengrass, thing)
    arn = f"arn:aws:greengrass:{REGION}:{ACCOUNT}:deployments:{deployment}"
    greengrass.tag_resource(resourceArn=arn, tags={"a": "b"})
    assert greengrass.get_deployment(deploymentId=deployment)["tags"] == {"a": "b"}
