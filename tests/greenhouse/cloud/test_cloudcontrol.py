"""Cloud Control through the real boto3 client."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError, EndpointConnectionError

from greenhouse.cloud.cloudcontrol.requests import CloudControl, ControlError
from greenhouse.cloud.service_shapes import ServiceShapes
from greenhouse.cloud.store import Store
from greenhouse.faults import Faults
from greenhouse.home import ACCESS_KEY, REGION
from tests.greenhouse.cloud.conftest import SECRET, CloudProcess

if TYPE_CHECKING:
    from mypy_boto3_greengrassv2 import GreengrassV2Client
    from mypy_boto3_iot import IoTClient

COMPONENT = "AWS::GreengrassV2::ComponentVersion"
DEPLOYMENT = "AWS::GreengrassV2::Deployment"
Unique = Callable[[str], str]


class Control:
    """boto3's client, and the wait that every caller of it needs."""

    def __init__(self, cloud: CloudProcess, *, retries: int = 4) -> None:
        self.client: Any = boto3.client(
            "cloudcontrol",
            endpoint_url=cloud.url,
            region_name=REGION,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET,
            config=Config(retries={"max_attempts": retries}),
        )

    def ended(self, answer: Any) -> Any:
        """The last progress event of a request."""
        token, pause = answer["ProgressEvent"]["RequestToken"], threading.Event()
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            event = self.client.get_resource_request_status(RequestToken=token)["ProgressEvent"]
            if event["OperationStatus"] not in ("PENDING", "IN_PROGRESS", "CANCEL_IN_PROGRESS"):
                return event
            pause.wait(0.02)
        raise AssertionError(f"{token} did not end")

    def create(self, kind: str, **state: Any) -> Any:
        asked = self.client.create_resource(TypeName=kind, DesiredState=json.dumps(state))
        return self.ended(asked)

    def update(self, kind: str, identifier: str, *patch: dict[str, Any]) -> Any:
        return self.ended(
            self.client.update_resource(
                TypeName=kind, Identifier=identifier, PatchDocument=json.dumps(patch)
            )
        )

    def delete(self, kind: str, identifier: str) -> Any:
        return self.ended(self.client.delete_resource(TypeName=kind, Identifier=identifier))

    def get(self, kind: str, identifier: str) -> Any:
        found = self.client.get_resource(TypeName=kind, Identifier=identifier)
        return json.loads(found["ResourceDescription"]["Properties"])


@pytest.fixture
def control(cloud: CloudProcess) -> Control:
    return Control(cloud)


@pytest.fixture
def thing(iot: IoTClient, unique: Unique) -> str:
    return iot.create_thing(thingName=unique("thing"))["thingArn"]


def refused(error: pytest.ExceptionInfo[ClientError]) -> tuple[str, str]:
    told = error.value.response["Error"]
    return told["Code"], told["Message"]


def test_a_component_version_is_made_read_tagged_listed_and_deleted(
    control: Control, greengrass: GreengrassV2Client, recipe: Callable[..., dict[str, Any]]
) -> None:
    wanted = recipe()
    asked = control.client.create_resource(
        TypeName=COMPONENT,
        DesiredState=json.dumps({"InlineRecipe": json.dumps(wanted), "Tags": {"a": "b"}}),
    )["ProgressEvent"]
    assert asked["OperationStatus"] == "IN_PROGRESS", "the answer doesn't wait for the handler"
    assert "Identifier" not in asked, "nobody knows the ARN before it is made"
    made = control.ended({"ProgressEvent": asked})
    arn = made["Identifier"]
    assert made["OperationStatus"] == "SUCCESS"
    assert greengrass.describe_component(arn=arn)["componentName"] == wanted["ComponentName"]
    assert control.get(COMPONENT, arn) == {
        "Arn": arn,
        "ComponentName": wanted["ComponentName"],
        "ComponentVersion": "1.0.0",
        "Tags": {"a": "b"},
    }, "the recipe is write-only"
    tags = {"op": "replace", "path": "/Tags", "value": {"c": "d"}}
    assert control.update(COMPONENT, arn, tags)["OperationStatus"] == "SUCCESS"
    assert greengrass.list_tags_for_resource(resourceArn=arn)["tags"] == {"c": "d"}
    (listed,) = control.client.list_resources(
        TypeName=COMPONENT, ResourceModel=json.dumps({"Arn": arn.partition(":versions:")[0]})
    )["ResourceDescriptions"]
    assert listed["Identifier"] == arn
    assert control.delete(COMPONENT, arn)["OperationStatus"] == "SUCCESS"
    with pytest.raises(ClientError) as gone:
        control.get(COMPONENT, arn)
    assert refused(gone) == (
        "ResourceNotFoundException",
        f"Resource of type '{COMPONENT}' with identifier '{arn}' was not found.",
    )
    ended = control.delete(COMPONENT, arn)
    assert (ended["OperationStatus"], ended["ErrorCode"]) == ("FAILED", "NotFound")


def test_a_deployment_is_success_when_it_is_made_and_shows_what_the_cloud_adds(
    control: Control, greengrass: GreengrassV2Client, thing: str, component: Callable[..., str]
) -> None:
    name = component()
    wanted = {
        "TargetArn": thing,
        "DeploymentName": "a test",
        "Components": {
            name: {
                "ComponentVersion": "1.0.0",
                "ConfigurationUpdate": {"Merge": '{"a": 1}', "Reset": ["/b"]},
            }
        },
        "Tags": {"a": "b"},
    }
    made = control.create(DEPLOYMENT, **wanted)
    assert made["OperationStatus"] == "SUCCESS"
    identifier = made["Identifier"]
    assert greengrass.get_deployment(deploymentId=identifier)["deploymentStatus"] == "ACTIVE"
    assert control.get(DEPLOYMENT, identifier) == {
        **wanted,
        "DeploymentId": identifier,
        "DeploymentPolicies": {
            "FailureHandlingPolicy": "ROLLBACK",
            "ComponentUpdatePolicy": {
                "TimeoutInSeconds": 60,
                "Action": "NOTIFY_COMPONENTS",
            },
            "ConfigurationValidationPolicy": {"TimeoutInSeconds": 30},
        },
    }
    listed = control.client.list_resources(TypeName=DEPLOYMENT)["ResourceDescriptions"]
    assert identifier in [one["Identifier"] for one in listed]
    assert control.delete(DEPLOYMENT, identifier)["OperationStatus"] == "SUCCESS"
    with pytest.raises(ClientError):
        greengrass.get_deployment(deploymentId=identifier)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"TargetArn": "x"}, "#/TargetArn: failed validation constraint for keyword [pattern]"),
        ({"DeploymentName": "x" * 300}, "#/DeploymentName: expected maxLength: 256, actual: 300"),
        ({"DeploymentName": ""}, "#/DeploymentName: expected minLength: 1, actual: 0"),
        ({"Extra": 1}, "#: extraneous key [Extra] is not permitted"),
        ({"Components": {"c": 1}}, "#/Components/c: expected type: Object, found: Integer"),
        (
            {"DeploymentPolicies": {"FailureHandlingPolicy": "NOPE"}},
            "#/DeploymentPolicies/FailureHandlingPolicy: NOPE is not a valid enum value",
        ),
        (
            {"IotJobConfiguration": {"AbortConfig": {}}},
            "#/IotJobConfiguration/AbortConfig: required key [CriteriaList] not found",
        ),
    ],
)
def test_a_state_that_the_schema_does_not_have_is_refused_at_once(
    control: Control, thing: str, changes: dict[str, Any], told: str
) -> None:
    with pytest.raises(ClientError) as error:
        control.create(DEPLOYMENT, **{"TargetArn": thing, **changes})
    assert refused(error) == ("ValidationException", f"Model validation failed ({told})")


def test_a_state_without_a_target_is_refused(control: Control) -> None:
    with pytest.raises(ClientError, match=r"#: required key \[TargetArn\] not found"):
        control.create(DEPLOYMENT)


def test_an_existing_resource_is_not_made_twice(
    control: Control, recipe: Callable[..., dict[str, Any]]
) -> None:
    text = json.dumps(recipe())
    first = control.create(COMPONENT, InlineRecipe=text)
    again = control.create(COMPONENT, InlineRecipe=text)
    assert (again["OperationStatus"], again["ErrorCode"]) == ("FAILED", "AlreadyExists")
    token = again["RequestToken"]
    assert again["StatusMessage"].endswith(
        f"already exists. (RequestToken: {token}, HandlerErrorCode: AlreadyExists)"
    )
    assert "Identifier" not in again, "nothing is taken over"
    assert control.get(COMPONENT, first["Identifier"])


def test_the_same_client_token_is_the_same_request(
    control: Control, greengrass: GreengrassV2Client, thing: str, unique: Unique
) -> None:
    given = {
        "TypeName": DEPLOYMENT,
        "DesiredState": json.dumps({"TargetArn": thing}),
        "ClientToken": unique("token"),
    }
    first = control.ended(control.client.create_resource(**given))
    second = control.client.create_resource(**given)["ProgressEvent"]
    assert second["Identifier"] == first["Identifier"]
    history = greengrass.list_deployments(targetArn=thing, historyFilter="ALL")["deployments"]
    assert len(history) == 1
    other = {**given, "DesiredState": json.dumps({"TargetArn": thing, "DeploymentName": "x"})}
    with pytest.raises(ClientError) as error:
        control.client.create_resource(**other)
    assert refused(error)[0] == "ClientTokenConflictException"


def test_only_tags_can_be_updated(control: Control, thing: str) -> None:
    made = control.create(DEPLOYMENT, TargetArn=thing)["Identifier"]
    for name in ("DeploymentName", "Components"):
        with pytest.raises(ClientError) as error:
            control.update(DEPLOYMENT, made, {"op": "add", "path": f"/{name}", "value": "x"})
        assert refused(error) == (
            "ValidationException",
            f"Invalid patch update: createOnlyProperties [/properties/{name}] cannot be updated",
        )
    with pytest.raises(ClientError) as gone:
        control.update(DEPLOYMENT, "nobody", {"op": "remove", "path": "/Tags"})
    assert refused(gone)[0] == "ResourceNotFoundException"


def test_a_component_or_a_target_that_is_not_there_is_not_found(
    control: Control, thing: str
) -> None:
    missing = control.create(
        DEPLOYMENT, TargetArn=thing, Components={"com.nobody": {"ComponentVersion": "9.9.9"}}
    )
    assert missing["ErrorCode"] == "NotFound"
    assert missing["StatusMessage"].startswith(
        "Resource of type 'CreateDeployment' with identifier 'These component versions do not"
        " exist: com.nobody 9.9.9' was not found."
    )
    nowhere = control.create(DEPLOYMENT, TargetArn=f"{thing}-nowhere")
    assert nowhere["ErrorCode"] == "NotFound"


def test_what_is_not_modelled_is_refused_by_name(control: Control) -> None:
    with pytest.raises(ClientError) as error:
        control.create("AWS::S3::Bucket")
    assert refused(error)[0] == "TypeNotFoundException"
    with pytest.raises(ClientError) as error:
        control.client.list_resource_requests()
    assert refused(error)[0] == "UnsupportedActionException"
    with pytest.raises(ClientError) as error:
        control.client.get_resource(
            TypeName=DEPLOYMENT, Identifier="x", RoleArn="arn:aws:iam::123456789012:role/x"
        )
    assert "greenhouse does not model RoleArn" in refused(error)[1]
    with pytest.raises(ClientError) as error:
        control.client.get_resource_request_status(RequestToken="nobody")
    assert refused(error)[0] == "RequestTokenNotFoundException"


class TestFaults:
    """A cloud of its own, since a fault affects every caller."""

    @pytest.fixture
    def cloud(self, cloud_of_its_own: CloudProcess) -> CloudProcess:
        return cloud_of_its_own.start()

    @pytest.fixture
    def faults(self, cloud: CloudProcess) -> Faults:
        return Faults(cloud.store.parent)

    def test_a_version_that_does_not_become_deployable_loses_its_name(
        self, control: Control, faults: Faults, recipe: Callable[..., dict[str, Any]]
    ) -> None:
        faults.set("component-fails")
        text = json.dumps(recipe())
        ended = control.create(COMPONENT, InlineRecipe=text)
        assert (ended["OperationStatus"], ended["ErrorCode"]) == ("FAILED", "NotStabilized")
        assert "Identifier" not in ended, "the handler has told no ARN by then"
        faults.clear()
        assert control.create(COMPONENT, InlineRecipe=text)["ErrorCode"] == "AlreadyExists"

    @pytest.mark.parametrize(
        ("fault", "code"),
        [
            ("CancelDeployment=ConflictException", "ResourceConflict"),
            ("DeleteDeployment=ConflictException", "ResourceConflict"),
            ("CancelDeployment=AccessDeniedException", "AccessDenied"),
            ("DeleteDeployment=ThrottlingException", "ServiceLimitExceeded"),
            ("DeleteDeployment=InternalServerException", "ServiceInternalError"),
        ],
    )
    def test_a_delete_passes_on_what_greengrass_says(
        self, control: Control, faults: Faults, thing: str, fault: str, code: str
    ) -> None:
        made = control.create(DEPLOYMENT, TargetArn=thing)["Identifier"]
        faults.set(f"error:{fault}")
        ended = control.delete(DEPLOYMENT, made)
        assert (ended["OperationStatus"], ended["ErrorCode"]) == ("FAILED", code)
        assert control.get(DEPLOYMENT, made), "it is still there"
        assert control.delete(DEPLOYMENT, made)["OperationStatus"] == "SUCCESS", "once only"

    def test_cloud_control_itself_throttles_and_boto3_tries_again(
        self, cloud: CloudProcess, faults: Faults, thing: str
    ) -> None:
        faults.set("error:CreateResource=ThrottlingException")
        with pytest.raises(ClientError) as error:
            Control(cloud, retries=0).create(DEPLOYMENT, TargetArn=thing)
        assert refused(error) == (
            "ThrottlingException",
            "by a fault of greenhouse: python -m greenhouse fault list",
        )
        faults.set("error:CreateResource=ThrottlingException")
        assert Control(cloud).create(DEPLOYMENT, TargetArn=thing)["OperationStatus"] == "SUCCESS"

    def test_expired_credentials_stop_cloud_control(self, control: Control, faults: Faults) -> None:
        faults.set("expired-credentials")
        with pytest.raises(ClientError) as error:
            control.client.list_resources(TypeName=DEPLOYMENT)
        assert refused(error)[0] == "ExpiredTokenException"

    @pytest.mark.parametrize("fault", ["crash-before", "crash-after"])
    def test_a_request_that_a_killed_cloud_left_is_gone_on_with_and_done_once(
        self, cloud: CloudProcess, faults: Faults, thing: str, fault: str
    ) -> None:
        control = Control(cloud, retries=0)
        faults.set(f"{fault}:CreateDeployment")
        asked = control.client.create_resource(
            TypeName=DEPLOYMENT, DesiredState=json.dumps({"TargetArn": thing})
        )
        with pytest.raises((ConnectionClosedError, EndpointConnectionError)):
            control.ended(asked)
        assert cloud.ends() == -signal.SIGKILL
        cloud.start()
        assert control.ended(asked)["OperationStatus"] == "SUCCESS"
        made = cloud.client().list_deployments(targetArn=thing, historyFilter="ALL")
        assert len(made["deployments"]) == 1

    def test_a_request_that_is_over_cannot_be_cancelled(self, control: Control, thing: str) -> None:
        ended = control.create(DEPLOYMENT, TargetArn=thing)
        with pytest.raises(ClientError) as error:
            control.client.cancel_resource_request(RequestToken=ended["RequestToken"])
        assert refused(error)[0] == "ConcurrentModificationException"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store(tmp_path / "cloud.sqlite")) as opened:
        yield opened


def test_a_request_that_waits_is_cancelled_and_nothing_else_begins_on_it(store: Store) -> None:
    described = threading.Event()

    def greengrass(operation: str, request: Any) -> dict[str, Any]:
        del request
        described.set()
        return {"arn": "arn:c"} if operation == "CreateComponentVersion" else _REQUESTED

    control = CloudControl(store, ServiceShapes(), greengrass)
    asked = {"TypeName": COMPONENT, "DesiredState": '{"InlineRecipe": "{}"}'}
    token = control.answer("CreateResource", asked)["ProgressEvent"]["RequestToken"]
    assert control.unfinished() == [token]
    assert control.unfinished() == [], "two handlers would work on one request"
    worker = threading.Thread(target=control.work, args=(token,))
    worker.start()
    assert described.wait(60)
    cancelled = control.answer("CancelResourceRequest", {"RequestToken": token})["ProgressEvent"]
    assert cancelled["OperationStatus"] in ("CANCEL_IN_PROGRESS", "CANCEL_COMPLETE")
    worker.join(60)
    ended = control.answer("GetResourceRequestStatus", {"RequestToken": token})["ProgressEvent"]
    assert ended["OperationStatus"] == "CANCEL_COMPLETE"


def test_one_resource_has_one_operation_at_a_time(store: Store) -> None:
    control = CloudControl(store, ServiceShapes(), lambda *_: {})
    asked = {"TypeName": DEPLOYMENT, "Identifier": "d"}
    control.answer("DeleteResource", asked)
    with pytest.raises(ControlError, match="in progress") as error:
        control.answer("DeleteResource", asked)
    assert error.value.name == "ConcurrentOperationException"


_REQUESTED = {"status": {"componentState": "REQUESTED"}}
