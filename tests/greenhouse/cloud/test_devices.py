"""Core devices: the device's own two calls in plain HTTP, and what boto3 shows of them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from greenhouse.home import ACCOUNT, REGION
from tests.greenhouse.cloud.conftest import Device, deploy, status

if TYPE_CHECKING:
    from mypy_boto3_greengrassv2 import GreengrassV2Client
    from mypy_boto3_iot import IoTClient

Unique = Callable[[str], str]
NewComponent = Callable[..., str]
NewDevice = Callable[[], Device]


def effective(client: GreengrassV2Client, device: Device) -> dict[str, str]:
    listed = client.list_effective_deployments(coreDeviceThingName=device.thing)
    return {
        one["deploymentId"]: one["coreDeviceExecutionStatus"]
        for one in listed["effectiveDeployments"]
    }


def join(iot: IoTClient, group: str, device: Device) -> None:
    iot.add_thing_to_thing_group(thingGroupName=group.rsplit("/", 1)[1], thingName=device.thing)


def leave(iot: IoTClient, group: str, device: Device) -> None:
    iot.remove_thing_from_thing_group(
        thingGroupName=group.rsplit("/", 1)[1], thingName=device.thing
    )


def test_a_thing_becomes_a_core_device_by_its_first_report(
    greengrass: GreengrassV2Client, device: Device
) -> None:
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        greengrass.get_core_device(coreDeviceThingName=device.thing)
    device.report()
    shown = greengrass.get_core_device(coreDeviceThingName=device.thing)
    assert (shown["status"], shown["coreVersion"]) == ("HEALTHY", "2.18.0")
    assert (shown["platform"], shown["architecture"]) == ("linux", "amd64")
    assert shown["runtime"] == "aws_nucleus_classic"


def test_core_devices_are_listed_by_status(
    greengrass: GreengrassV2Client, new_device: NewDevice
) -> None:
    well, ill, worse = new_device(), new_device(), new_device()
    well.report()
    for device in (ill, worse):
        device.report(status="UNHEALTHY")
    pages = greengrass.get_paginator("list_core_devices").paginate(
        status="UNHEALTHY", PaginationConfig={"PageSize": 1}
    )
    listed = [one["coreDeviceThingName"] for page in pages for one in page["coreDevices"]]
    assert [listed.count(device.thing) for device in (ill, worse, well)] == [1, 1, 0]


def test_a_thing_that_is_not_registered_may_neither_ask_nor_report(
    cloud: Any, unique: Unique
) -> None:
    thing = unique("nobody")
    for method, path in (("GET", "deployments"), ("POST", "report")):
        code, headers, _ = cloud.raw(method, f"/device/{thing}/{path}", {})
        assert (code, headers["x-amzn-errortype"]) == (404, "ResourceNotFoundException")


def test_a_device_gets_what_its_thing_is_to_run(
    greengrass: GreengrassV2Client, device: Device, component: NewComponent
) -> None:
    assert device.poll()["deployments"] == []
    name = component()
    deployment = deploy(greengrass, device.arn, name, deploymentName="mine")
    (sent,) = device.poll()["deployments"]
    assert (sent["deploymentId"], sent["deploymentName"]) == (deployment, "mine")
    assert sent["targetArn"] == device.arn
    assert sent["components"] == {name: {"componentVersion": "1.0.0"}}
    assert sent["deploymentPolicies"]["failureHandlingPolicy"] == "ROLLBACK"
    assert sent["creationTimestamp"] > 0


def test_a_waiting_device_hears_of_a_deployment_at_once(
    greengrass: GreengrassV2Client, device: Device
) -> None:
    seen = device.poll()["seen"]
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(device.poll, seen=seen, wait=60)
        deployment = deploy(greengrass, device.arn)
        answer = waiting.result(timeout=120)
    assert [one["deploymentId"] for one in answer["deployments"]] == [deployment]
    assert answer["seen"] != seen


def test_a_device_that_has_seen_everything_gets_the_same_again_when_its_time_is_over(
    greengrass: GreengrassV2Client, device: Device
) -> None:
    deploy(greengrass, device.arn)
    answer = device.poll()
    assert device.poll(seen=answer["seen"], wait=0.1) == answer


def test_a_device_runs_the_union_of_its_thing_and_its_groups(
    greengrass: GreengrassV2Client, iot: IoTClient, group: str, device: Device
) -> None:
    join(iot, group, device)
    of_group, of_thing = deploy(greengrass, group), deploy(greengrass, device.arn)
    assert device.deployments() == [of_group, of_thing]


def test_a_device_that_joins_a_group_gets_its_deployment_and_loses_it_when_it_leaves(
    greengrass: GreengrassV2Client, iot: IoTClient, group: str, device: Device
) -> None:
    deployment = deploy(greengrass, group)
    empty = device.poll()
    assert empty["deployments"] == []
    join(iot, group, device)
    joined = device.poll(seen=empty["seen"], wait=60)
    assert [one["deploymentId"] for one in joined["deployments"]] == [deployment]
    leave(iot, group, device)
    assert device.poll(seen=joined["seen"], wait=60)["deployments"] == []


@pytest.mark.parametrize(("end", "shown"), [("COMPLETED", "COMPLETED"), ("FAILED", "FAILED")])
def test_a_things_deployment_ends_as_its_device_reports(
    greengrass: GreengrassV2Client, device: Device, end: str, shown: str
) -> None:
    deployment = deploy(greengrass, device.arn)
    device.report()
    assert effective(greengrass, device) == {deployment: "QUEUED"}
    device.report(**{deployment: "IN_PROGRESS"})
    assert status(greengrass, deployment) == "ACTIVE"
    device.report(**{deployment: end})
    assert effective(greengrass, device) == {deployment: end}
    assert status(greengrass, deployment) == shown
    assert device.deployments() == [deployment], "the latest stays in force after its end"


def test_the_reason_of_a_failure_is_shown_as_the_device_gave_it(
    greengrass: GreengrassV2Client, device: Device
) -> None:
    deployment = deploy(greengrass, device.arn, deploymentName="doomed")
    device.report()
    details = {"errorStack": ["DEPLOYMENT_FAILURE", "DISK_SPACE_CRITICAL"], "errorTypes": ["X"]}
    device.send(
        {
            "effectiveDeployments": [
                {
                    "deploymentId": deployment,
                    "coreDeviceExecutionStatus": "FAILED",
                    "reason": "FAILED_ROLLBACK_COMPLETE: disk full",
                    "statusDetails": details,
                }
            ]
        }
    )
    (shown,) = greengrass.list_effective_deployments(coreDeviceThingName=device.thing)[
        "effectiveDeployments"
    ]
    assert shown["reason"] == "FAILED_ROLLBACK_COMPLETE: disk full"
    assert shown["statusDetails"] == details
    assert (shown["deploymentName"], shown["targetArn"]) == ("doomed", device.arn)


def test_a_groups_deployment_stays_active_for_any_report_of_a_device(
    greengrass: GreengrassV2Client, iot: IoTClient, group: str, new_device: NewDevice
) -> None:
    good, bad = new_device(), new_device()
    for device in (good, bad):
        join(iot, group, device)
    deployment = deploy(greengrass, group)
    good.report(**{deployment: "SUCCEEDED"})
    bad.report(**{deployment: "FAILED"})
    assert status(greengrass, deployment) == "ACTIVE"  # aws-cli#6185
    assert effective(greengrass, bad) == {deployment: "FAILED"}
    listed = greengrass.list_core_devices(thingGroupArn=group)["coreDevices"]
    assert [one["coreDeviceThingName"] for one in listed] == [good.thing], (
        "only core devices that have successfully deployed what targets the group"
    )


def test_a_word_that_does_not_fit_the_target_is_refused(
    greengrass: GreengrassV2Client, device: Device, cloud: Any
) -> None:
    deployment = deploy(greengrass, device.arn)
    device.report()
    for given in ("SUCCEEDED", "DONE"):
        code, headers, _ = cloud.raw(
            "POST",
            f"/device/{device.thing}/report",
            {
                "effectiveDeployments": [
                    {"deploymentId": deployment, "coreDeviceExecutionStatus": given}
                ]
            },
        )
        assert (code, headers["x-amzn-errortype"]) == (400, "ValidationException")
    assert effective(greengrass, device) == {deployment: "QUEUED"}


def test_a_replaced_deployment_that_had_ended_is_inactive_and_stays_in_the_devices_list(
    greengrass: GreengrassV2Client, device: Device
) -> None:
    first = deploy(greengrass, device.arn)
    device.report(**{first: "COMPLETED"})
    second = deploy(greengrass, device.arn)
    assert status(greengrass, first) == "INACTIVE"
    assert effective(greengrass, device) == {first: "COMPLETED", second: "QUEUED"}
    assert device.deployments() == [second]
    greengrass.delete_deployment(deploymentId=first)


def test_a_report_for_a_replaced_deployment_is_kept_but_changes_nothing_else(
    greengrass: GreengrassV2Client, device: Device
) -> None:
    first = deploy(greengrass, device.arn)
    device.report(**{first: "IN_PROGRESS"})
    second = deploy(greengrass, device.arn)
    device.report(**{first: "COMPLETED"})
    assert effective(greengrass, device) == {first: "COMPLETED", second: "QUEUED"}
    assert status(greengrass, first) == "CANCELED"
    assert status(greengrass, second) == "ACTIVE"


def test_cancelling_reaches_only_devices_that_have_not_taken_it(
    greengrass: GreengrassV2Client, iot: IoTClient, group: str, new_device: NewDevice
) -> None:
    busy, idle = new_device(), new_device()
    for device in (busy, idle):
        join(iot, group, device)
        device.report()
    deployment = deploy(greengrass, group)
    busy.report(**{deployment: "IN_PROGRESS"})
    greengrass.cancel_deployment(deploymentId=deployment)
    assert effective(greengrass, busy) == {deployment: "IN_PROGRESS"}
    assert effective(greengrass, idle) == {deployment: "CANCELED"}
    assert idle.deployments() == []


def test_a_cancelled_deployment_stays_cancelled_when_its_device_ends_it(
    greengrass: GreengrassV2Client, device: Device
) -> None:
    deployment = deploy(greengrass, device.arn)
    device.report(**{deployment: "IN_PROGRESS"})
    greengrass.cancel_deployment(deploymentId=deployment)
    device.report(**{deployment: "COMPLETED"})
    assert effective(greengrass, device) == {deployment: "COMPLETED"}
    assert status(greengrass, deployment) == "CANCELED"


def test_root_components_are_listed_unless_all_are_asked_for(
    greengrass: GreengrassV2Client, device: Device
) -> None:
    device.report(
        {
            "componentName": "com.example.root",
            "componentVersion": "1.0.0",
            "lifecycleState": "RUNNING",
            "isRoot": True,
            "lastInstallationSource": "d1",
        },
        {
            "componentName": "com.example.dependency",
            "componentVersion": "2.0.0",
            "lifecycleState": "BROKEN",
            "lifecycleStateDetails": "exit code 1",
            "lifecycleStatusCodes": ["RUN_ERROR"],
            "isRoot": False,
        },
    )
    roots = greengrass.list_installed_components(coreDeviceThingName=device.thing)
    (root,) = roots["installedComponents"]
    assert (root["componentName"], root["lifecycleState"]) == ("com.example.root", "RUNNING")
    everything = greengrass.list_installed_components(
        coreDeviceThingName=device.thing, topologyFilter="ALL"
    )["installedComponents"]
    assert everything[0]["lifecycleStatusCodes"] == ["RUN_ERROR"]
    device.report()
    assert not greengrass.list_installed_components(coreDeviceThingName=device.thing)[
        "installedComponents"
    ], "a report has the full list"


def test_a_components_change_is_dated_by_its_state_and_version(
    greengrass: GreengrassV2Client, device: Device
) -> None:
    def shown() -> Any:
        return greengrass.list_installed_components(coreDeviceThingName=device.thing)[
            "installedComponents"
        ][0]

    one = {"componentName": "com.example", "componentVersion": "1.0.0", "isRoot": True}
    device.report({**one, "lifecycleState": "RUNNING"})
    first = shown()
    device.report({**one, "lifecycleState": "RUNNING"})
    second = shown()
    assert second["lastStatusChangeTimestamp"] == first["lastStatusChangeTimestamp"]
    assert second["lastReportedTimestamp"] > first["lastReportedTimestamp"]
    device.report({**one, "lifecycleState": "ERRORED"})
    assert shown()["lastStatusChangeTimestamp"] > first["lastStatusChangeTimestamp"]


def test_the_first_report_has_to_say_what_the_device_is(device: Device, cloud: Any) -> None:
    code, headers, _ = cloud.raw("POST", f"/device/{device.thing}/report", {"components": []})
    assert (code, headers["x-amzn-errortype"]) == (404, "ResourceNotFoundException")


def test_a_bad_report_is_refused_whole(
    greengrass: GreengrassV2Client, device: Device, cloud: Any
) -> None:
    device.report()
    bad = {"core": {"status": "UNHEALTHY"}, "components": [{"lifecycleState": "HAPPY"}]}
    code, _, answer = cloud.raw("POST", f"/device/{device.thing}/report", bad)
    assert code == 400
    assert "lifecycleState" in answer["message"]
    assert greengrass.get_core_device(coreDeviceThingName=device.thing)["status"] == "HEALTHY"


def test_a_deleted_core_device_is_forgotten_until_it_reports_again(
    greengrass: GreengrassV2Client, device: Device
) -> None:
    device.report()
    arn = f"arn:aws:greengrass:{REGION}:{ACCOUNT}:coreDevices:{device.thing}"
    greengrass.tag_resource(resourceArn=arn, tags={"site": "north"})
    greengrass.delete_core_device(coreDeviceThingName=device.thing)
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        greengrass.get_core_device(coreDeviceThingName=device.thing)
    device.report()
    assert greengrass.get_core_device(coreDeviceThingName=device.thing)["tags"] == {}


def test_a_job_notifies_so_many_devices_a_minute(
    greengrass: GreengrassV2Client, iot: IoTClient, group: str, new_device: NewDevice
) -> None:
    devices = [new_device() for _ in range(3)]
    for device in devices:
        join(iot, group, device)
        device.report()
    deployment = deploy(
        greengrass,
        group,
        iotJobConfiguration={"jobExecutionsRolloutConfig": {"maximumPerMinute": 2}},
    )
    assert sum(device.deployments() == [deployment] for device in devices) == 2


def test_a_job_is_aborted_when_too_many_devices_fail(
    greengrass: GreengrassV2Client, iot: IoTClient, group: str, new_device: NewDevice
) -> None:
    devices = [new_device() for _ in range(4)]
    for device in devices:
        join(iot, group, device)
        device.report()
    criterion: Any = {
        "failureType": "ALL",
        "action": "CANCEL",
        "thresholdPercentage": 50,
        "minNumberOfExecutedThings": 2,
    }
    deployment = deploy(
        greengrass, group, iotJobConfiguration={"abortConfig": {"criteriaList": [criterion]}}
    )
    devices[0].report(**{deployment: "FAILED"})
    assert status(greengrass, deployment) == "ACTIVE", "one device is not enough to judge by"
    devices[1].report(**{deployment: "SUCCEEDED"})
    assert status(greengrass, deployment) == "CANCELED"
    assert devices[2].deployments() == [], "a device that hasn't taken it is spared"
    assert effective(greengrass, devices[3]) == {deployment: "CANCELED"}


def test_many_devices_wait_at_once_and_the_api_still_answers(
    greengrass: GreengrassV2Client, iot: IoTClient, group: str, new_device: NewDevice
) -> None:
    devices = [new_device() for _ in range(12)]
    for device in devices:
        join(iot, group, device)
    started = threading.Barrier(len(devices) + 1)

    def wait(device: Device) -> Any:
        seen = device.poll()["seen"]
        started.wait(120)
        return device.poll(seen=seen, wait=60)["deployments"]

    with ThreadPoolExecutor(len(devices)) as pool:
        waiting = [pool.submit(wait, device) for device in devices]
        started.wait(120)
        deployment = deploy(greengrass, group)
        answers = [one.result(timeout=120) for one in waiting]
    assert all([one["deploymentId"] for one in answer] == [deployment] for answer in answers)
