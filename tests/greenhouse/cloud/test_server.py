"""The cloud's process: what it refuses, how it starts and ends, and what survives its death."""

from __future__ import annotations

import json
import signal
import socket
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from botocore.loaders import Loader
from botocore.model import ServiceModel

from greenhouse.cloud import errors
from greenhouse.cloud.service_shapes import ServiceShapes
from tests.greenhouse.cloud.conftest import CloudProcess

if TYPE_CHECKING:
    from mypy_boto3_greengrassv2 import GreengrassV2Client
    from mypy_boto3_iot import IoTClient

Make = Callable[..., dict[str, Any]]
Unique = Callable[[str], str]

DEPLOYMENTS = "/greengrass/v2/deployments"


def test_every_operation_of_the_model_has_its_route() -> None:
    shapes = ServiceShapes()
    model = ServiceModel(Loader().load_service_model("greengrassv2", "service-2"), "greengrassv2")
    for name in model.operation_names:
        http = model.operation_model(name).http
        path = http["requestUri"].replace("+}", "}")
        for label in ("arn", "resourceArn", "artifactName", "deploymentId"):
            path = path.replace(f"{{{label}}}", quote("a:b/c", safe=""))
        path = path.replace("{coreDeviceThingName}", "t").replace("{thingName}", "t")
        routed = shapes.route(http["method"], path)
        assert routed is not None, path
        assert routed[0] == name
        assert set(routed[1].values()) <= {"a:b/c", "t"}, "labels are decoded"


def test_every_error_has_the_status_that_the_model_gives_it() -> None:
    shapes = ServiceShapes()
    found = {
        error.__name__: shapes.status_of(error.__new__(error))
        for error in errors.ApiError.__subclasses__()
    }
    assert found == {
        "ValidationException": 400,
        "ResourceNotFoundException": 404,
        "ConflictException": 409,
        "AccessDeniedException": 403,
        "RequestAlreadyInProgressException": 400,
        "ThrottlingException": 429,
        "InternalServerException": 500,
    }


def test_the_rest_of_the_api_is_refused_by_name(greengrass: GreengrassV2Client) -> None:
    calls: list[Callable[[], Any]] = [
        greengrass.get_service_role_for_account,
        lambda: greengrass.get_connectivity_info(thingName="t"),
        lambda: greengrass.list_client_devices_associated_with_core_device(coreDeviceThingName="t"),
        lambda: greengrass.create_component_version(
            lambdaFunction={"lambdaArn": "arn:aws:lambda:eu-west-1:123456789012:function:f:1"}
        ),
    ]
    for call in calls:
        with pytest.raises(ClientError, match="greenhouse does not model") as error:
            call()
        assert error.value.response["Error"]["Code"] == "ValidationException"


@pytest.mark.parametrize(
    ("method", "path", "body", "place"),
    [
        ("POST", DEPLOYMENTS, {}, "targetArn"),
        ("POST", DEPLOYMENTS, {"targetArn": "arn:aws:s3:::bucket"}, "targetArn"),
        ("POST", DEPLOYMENTS, {"targetArn": 7}, "targetArn"),
        ("GET", f"{DEPLOYMENTS}?maxResults=101", None, "maxResults"),
        ("GET", f"{DEPLOYMENTS}?maxResults=many", None, "maxResults"),
        ("GET", f"{DEPLOYMENTS}?historyFilter=SOME", None, "historyFilter"),
        ("GET", f"{DEPLOYMENTS}?nextToken=rubbish", None, "nextToken"),
        ("GET", "/greengrass/v2/components/not-an-arn", None, "arn"),
        ("GET", f"/greengrass/v2/coreDevices/{'t' * 129}", None, "coreDeviceThingName"),
        (
            "POST",
            "/greengrass/v2/createComponentVersion",
            {"inlineRecipe": "not base64!"},
            "inlineRecipe",
        ),
        (
            "POST",
            "/greengrass/v2/createComponentVersion",
            {"clientToken": "under_score", "inlineRecipe": ""},
            "clientToken",
        ),
        ("POST", "/greengrass/v2/createComponentVersion", {}, "inlineRecipe"),
    ],
)
def test_a_request_that_the_model_forbids_is_refused_though_boto3_would_send_it(
    cloud: CloudProcess, method: str, path: str, body: Any, place: str
) -> None:
    status, headers, answer = cloud.raw(method, path, body)
    assert (status, headers["x-amzn-errortype"]) == (400, "ValidationException")
    assert place in answer["message"]


def test_a_nested_finding_names_its_place(cloud: CloudProcess) -> None:
    _, _, answer = cloud.raw(
        "POST",
        DEPLOYMENTS,
        {
            "targetArn": "arn:aws:iot:eu-west-1:123456789012:thing/t",
            "components": {"com.one": {"configurationUpdate": {"reset": "/a"}}},
        },
    )
    assert {one["name"] for one in answer["fields"]} == {
        "components.com.one.componentVersion",
        "components.com.one.configurationUpdate.reset",
    }


def test_a_path_that_no_operation_has_is_refused(cloud: CloudProcess) -> None:
    status, headers, _ = cloud.raw("GET", "/greengrass/v2/nothing")
    assert (status, headers["x-amzn-errortype"]) == (404, "UnknownOperationException")


def test_it_listens_on_loopback_only(cloud: CloudProcess) -> None:
    with socket.socket() as elsewhere:
        # It would be in use if the cloud listened everywhere.
        elsewhere.bind(("127.0.0.2", cloud.port))


def test_a_taken_port_is_one_clear_line(cloud_of_its_own: CloudProcess) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", cloud_of_its_own.port))
        holder.listen()
        said = cloud_of_its_own.refused()
    assert said.count("\n") == 1
    assert f"127.0.0.1:{cloud_of_its_own.port}" in said


def test_two_clouds_never_share_a_store(
    cloud: CloudProcess, cloud_of_its_own: CloudProcess
) -> None:
    cloud_of_its_own.store = cloud.store
    said = cloud_of_its_own.refused()
    assert str(cloud.store) in said
    assert "Traceback" not in said


def test_everything_that_was_answered_survives_kill_9(
    cloud_of_its_own: CloudProcess, iot: IoTClient, recipe: Make, unique: Unique
) -> None:
    thing, token, document = unique("thing"), unique("token"), recipe()
    target = iot.create_thing(thingName=thing)["thingArn"]
    client = cloud_of_its_own.start().client()
    created = client.create_component_version(
        inlineRecipe=json.dumps(document).encode(), tags={"a": "b"}
    )
    deployment = client.create_deployment(
        targetArn=target,
        components={document["ComponentName"]: {"componentVersion": "1.0.0"}},
        clientToken=token,
    )["deploymentId"]
    report = {
        "core": {"status": "HEALTHY"},
        "components": [{"componentName": "c", "isRoot": True, "lifecycleState": "RUNNING"}],
        "effectiveDeployments": [
            {"deploymentId": deployment, "coreDeviceExecutionStatus": "COMPLETED"}
        ],
    }
    assert cloud_of_its_own.raw("POST", f"/device/{thing}/report", report)[0] == 200
    before = cloud_of_its_own.raw("GET", f"/device/{thing}/deployments")
    cloud_of_its_own.end(signal.SIGKILL)
    cloud_of_its_own.start()
    assert client.describe_component(arn=created["arn"])["tags"] == {"a": "b"}
    assert client.get_deployment(deploymentId=deployment)["deploymentStatus"] == "COMPLETED"
    installed = client.list_installed_components(coreDeviceThingName=thing)["installedComponents"]
    assert [one["lifecycleState"] for one in installed] == ["RUNNING"]
    after = cloud_of_its_own.raw("GET", f"/device/{thing}/deployments")
    assert after[2] == before[2], "a device that was told once isn't told again"
    again = client.create_deployment(targetArn=target, clientToken=token)
    assert again["deploymentId"] == deployment, "the token is remembered with what it did"


def test_kill_9_in_the_middle_of_creating_leaves_every_call_whole_or_undone(
    cloud_of_its_own: CloudProcess, iot: IoTClient, unique: Unique
) -> None:
    target = iot.create_thing(thingName=unique("thing"))["thingArn"]
    cloud_of_its_own.start()
    answered: list[str] = []

    def create_until_it_dies() -> None:
        client = cloud_of_its_own.client(retries=0)
        while True:
            try:
                answered.append(client.create_deployment(targetArn=target)["deploymentId"])
            except (EndpointConnectionError, ClientError, OSError):
                return
            if len(answered) >= 20:
                cloud_of_its_own.end(signal.SIGKILL)

    with ThreadPoolExecutor(2) as pool:
        for one in [pool.submit(create_until_it_dies) for _ in range(2)]:
            one.exception(timeout=120)
    client = cloud_of_its_own.start().client()
    listed = client.list_deployments(targetArn=target, historyFilter="ALL", maxResults=100)
    by_revision = sorted(listed["deployments"], key=lambda one: int(one["revisionId"]))
    assert {one["deploymentId"] for one in by_revision} >= set(answered)
    assert [int(one["revisionId"]) for one in by_revision] == list(range(1, len(by_revision) + 1))
    assert [one["isLatestForTarget"] for one in by_revision].count(True) == 1
    assert by_revision[-1]["deploymentStatus"] == "ACTIVE"


def test_the_in_progress_timer_of_a_job_goes_on_while_the_cloud_is_down(
    cloud_of_its_own: CloudProcess, iot: IoTClient, unique: Unique
) -> None:
    thing, group = unique("thing"), unique("group")
    iot.create_thing(thingName=thing)
    target = iot.create_thing_group(thingGroupName=group)["thingGroupArn"]
    iot.add_thing_to_thing_group(thingGroupName=group, thingName=thing)
    client = cloud_of_its_own.start().client()
    client.create_deployment(
        targetArn=target,
        iotJobConfiguration={"timeoutConfig": {"inProgressTimeoutInMinutes": 5}},
    )
    cloud_of_its_own.raw("POST", f"/device/{thing}/report", {"core": {"status": "HEALTHY"}})
    (sent,) = cloud_of_its_own.raw("GET", f"/device/{thing}/deployments")[2]["deployments"]
    change = {"deploymentId": sent["deploymentId"], "coreDeviceExecutionStatus": "IN_PROGRESS"}
    cloud_of_its_own.raw("POST", f"/device/{thing}/report", {"effectiveDeployments": [change]})
    for minutes, expected in ((4, "IN_PROGRESS"), (2, "TIMED_OUT")):
        cloud_of_its_own.end()
        with sqlite3.connect(cloud_of_its_own.store) as db:
            db.execute("UPDATE execution SET modified = modified - 60 * ?", (minutes,))
        db.close()
        cloud_of_its_own.start()
        (shown,) = client.list_effective_deployments(coreDeviceThingName=thing)[
            "effectiveDeployments"
        ]
        assert shown["coreDeviceExecutionStatus"] == expected


def test_sigterm_ends_it_although_a_device_waits(
    cloud_of_its_own: CloudProcess, iot: IoTClient, unique: Unique
) -> None:
    thing = unique("thing")
    iot.create_thing(thingName=thing)
    cloud_of_its_own.start()
    path = f"/device/{thing}/deployments"
    seen = cloud_of_its_own.raw("GET", path)[2]["seen"]
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(cloud_of_its_own.raw, "GET", f"{path}?seen={seen}&wait=60")
        assert cloud_of_its_own.end() == 0
        waiting.exception(timeout=120)
    assert cloud_of_its_own.log.read_text().splitlines()[-1].endswith("cloud stopped")


def test_the_log_has_a_line_for_each_change_and_none_for_reading(
    cloud_of_its_own: CloudProcess, iot: IoTClient, recipe: Make, unique: Unique
) -> None:
    client, document = cloud_of_its_own.start().client(), recipe()
    arn = client.create_component_version(inlineRecipe=json.dumps(document).encode())["arn"]
    target = iot.create_thing(thingName=unique("thing"))["thingArn"]
    client.create_deployment(
        targetArn=target,
        components={
            document["ComponentName"]: {
                "componentVersion": "1.0.0",
                "configurationUpdate": {"merge": '{"password": "hunter2"}'},
            }
        },
    )
    client.list_deployments()
    client.get_component(arn=arn)
    with pytest.raises(ClientError):
        client.delete_deployment(deploymentId="none")
    cloud_of_its_own.end()
    _started, created, deployed, refused, _stopped = cloud_of_its_own.log.read_text().splitlines()
    assert "CreateComponentVersion" in created
    assert arn in created
    assert f"{document['ComponentName']}=1.0.0" in deployed
    assert "hunter2" not in deployed
    assert "DeleteDeployment" in refused
    assert "ResourceNotFoundException" in refused


def test_a_ministack_that_is_gone_is_said_in_so_many_words(
    cloud_of_its_own: CloudProcess, unique: Unique
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # Bound but not listening: it refuses at once.
        cloud_of_its_own.ministack_port = unused.getsockname()[1]
        cloud_of_its_own.start()
        status, headers, answer = cloud_of_its_own.raw(
            "GET", f"/device/{unique('thing')}/deployments"
        )
    assert (status, headers["x-amzn-errortype"]) == (500, "InternalServerException")
    assert "MiniStack" in answer["message"]
