"""The tenant's records go with greenhouse. Anything else that is left has to be visible."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from greenhouse import account
from tests.greenhouse.cloud.conftest import CloudProcess

if TYPE_CHECKING:
    from mypy_boto3_iot import IoTClient


def test_the_tenant_goes_and_what_was_left_behind_stays(
    cloud_of_its_own: CloudProcess, iot: IoTClient
) -> None:
    cloud_of_its_own.start()
    ports = cloud_of_its_own.ports
    things = [iot.create_thing(thingName=f"tenant-{number}") for number in range(2)]
    for thing in things:
        assert account.settle_tenant(ports, thing["thingName"]), "a new device gets the tenant"
    client = account.greengrass(ports)
    recipe = {
        "RecipeFormatVersion": "2020-01-25",
        "ComponentName": "com.ml.left",
        "ComponentVersion": "1.0.0",
        "Manifests": [{"Lifecycle": {"run": "true"}}],
    }
    client.create_component_version(inlineRecipe=json.dumps(recipe).encode())
    left = client.create_deployment(
        targetArn=things[0]["thingArn"],
        components={
            name: {"componentVersion": "1.0.0"} for name in (account.TENANT, "com.ml.left")
        },
    )["deploymentId"]
    client.create_deployment(targetArn=things[0]["thingArn"], components={})
    account.retire_tenant(ports)
    deployments = client.list_deployments(historyFilter="ALL")["deployments"]
    assert [one["deploymentId"] for one in deployments] == [left]
    components = client.list_components(scope="PRIVATE")["components"]
    assert [one["componentName"] for one in components] == ["com.ml.left"]


def test_a_device_with_nucleus_lite_gets_the_tenant_by_a_group(
    cloud_of_its_own: CloudProcess, iot: IoTClient
) -> None:
    cloud_of_its_own.start()
    ports = cloud_of_its_own.ports
    thing = iot.create_thing(thingName="tenant-lite")["thingName"]
    core = {
        "platform": "linux",
        "architecture": "amd64",
        "coreVersion": "2.6.0",
        "runtime": account.LITE,
        "status": "HEALTHY",
    }
    said = {"core": core, "components": [], "effectiveDeployments": []}
    status, _, answer = cloud_of_its_own.raw("POST", f"/device/{thing}/report", said)
    assert status == 200, answer
    id_ = account.settle_tenant(ports, thing)
    assert id_
    _, _, pending = cloud_of_its_own.raw("GET", f"/device/{thing}/deployments?seen=0&wait=0")
    (given,) = pending["deployments"]
    assert given["deploymentId"] == id_
    assert ":thinggroup/" in given["targetArn"], "the only target that Lite takes deployments to"
    assert account.settle_tenant(ports, thing) is None, "a later start finds it there"
