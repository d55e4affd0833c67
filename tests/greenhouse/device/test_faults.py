"""What each fault does to a deployment, and that the device works as before without it."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Mapping
from typing import Any

import pytest

from greenhouse.device import deployments
from greenhouse.faults import Faults
from tests.greenhouse.device.workbench import Bench, recipe

ALLOW_ALL = {"Effect": "Allow", "Action": "*", "Resource": "*"}
CONTENT = b"model"


@pytest.fixture
def faults(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Faults:
    """The device's faults. It has an artifact to fetch for the component `app`."""
    monkeypatch.setattr(deployments, "POLL_SECONDS", 0.1)
    digest = base64.b64encode(hashlib.sha256(CONTENT).digest()).decode()
    bench.iam.statements = (ALLOW_ALL,)
    bench.s3.objects["bucket", "model.json"] = CONTENT
    artifact = {"Uri": "s3://bucket/model.json", "Digest": digest}
    run = {"run": "exec sleep 1000"}
    bench.cloud.publish(recipe("app", lifecycle=run, artifacts=[artifact]))
    return Faults(bench.root)


@pytest.mark.parametrize(
    ("fault", "stack", "text"),
    [
        (
            "disk-full",
            ["COMPONENT_PACKAGE_LOADING_ERROR", "DISK_SPACE_CRITICAL"],
            "Disk space critical: 0 bytes usable, 20000000 bytes minimum allowed",
        ),
        (
            "digest-mismatch",
            ["ARTIFACT_DOWNLOAD_ERROR", "ARTIFACT_CHECKSUM_MISMATCH"],
            "Integrity check for downloaded artifact failed.",
        ),
    ],
)
def test_an_artifact_that_cannot_be_had_fails_the_deployment_until_it_can(
    bench: Bench, faults: Faults, fault: str, stack: list[str], text: str
) -> None:
    async def story() -> None:
        async with bench.device():
            faults.set(fault)
            ended = await bench.deploy({"app": "1.0.0"})
            assert ended["coreDeviceExecutionStatus"] == "FAILED"
            assert ended["statusDetails"]["errorStack"] == ["DEPLOYMENT_FAILURE", *stack]
            assert f"{stack[-1]}: FAILED_NO_STATE_CHANGE: " in ended["reason"]
            assert text in ended["reason"]
            faults.clear()
            assert succeeded(await bench.deploy({"app": "1.0.0"}))

    asyncio.run(story())


def test_a_slow_download_goes_on_as_soon_as_the_fault_is_cleared(
    bench: Bench, faults: Faults
) -> None:
    async def story() -> None:
        async with bench.device():
            faults.set("slow:1000")
            made = bench.cloud.create_deployment({"app": "1.0.0"})
            await bench.until(lambda: made in bench.cloud.executions, "the deployment begins")
            assert not bench.s3.fetched
            faults.clear()
            await bench.until(lambda: succeeded(bench.cloud.executions[made]), "it goes on")

    asyncio.run(story())


def test_a_device_ends_in_the_middle_of_a_slow_download(bench: Bench, faults: Faults) -> None:
    async def story() -> None:
        faults.set("slow:1000")
        async with bench.device():
            made = bench.cloud.create_deployment({"app": "1.0.0"})
            await bench.until(lambda: made in bench.cloud.executions, "the deployment begins")

    asyncio.run(asyncio.wait_for(story(), 120))
    assert not bench.s3.fetched


def test_without_its_access_control_a_component_may_do_nothing(
    bench: Bench, faults: Faults
) -> None:
    control = {"accessControl": {"aws.greengrass.ipc.pubsub": {}}, "kept": 1}
    configuration = {"DefaultConfiguration": control}
    bench.cloud.publish(recipe("two", ComponentConfiguration=configuration))

    async def story() -> None:
        async with bench.device() as device:
            await bench.deploy({"two": "1.0.0"})
            faults.set("ipc-denied")
            assert device.configuration("two") == {"kept": 1}
            faults.clear()
            assert device.configuration("two") == control

    asyncio.run(story())


def succeeded(ended: Mapping[str, Any]) -> bool:
    return bool(ended["coreDeviceExecutionStatus"] == "COMPLETED")
