"""What a deployment downloads, and what a device keeps of it."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import stat
import subprocess
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from greenhouse.device.downloads import docker
from greenhouse.device.lifecycle import scripts
from tests.greenhouse.device.deployments.stories import RUN, run
from tests.greenhouse.device.workbench import Bench, recipe

ALLOW_ALL = {"Effect": "Allow", "Action": "*", "Resource": "*"}


def artifact(content: bytes, *, key: str = "models/abc.json", **keys: Any) -> dict[str, Any]:
    digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
    return {"Uri": f"s3://bucket/{key}", "Digest": digest, **keys}


def test_an_artifact_comes_with_the_right_bytes_and_rights_and_only_once(bench: Bench) -> None:
    model = b'{"model": 1}'
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("inner.txt", "inner")
    bench.s3.objects = {
        ("bucket", "models/abc.json"): model,
        ("bucket", "x/tool.sh"): b"#!/bin/sh\necho tool\n",
        ("bucket", "x/pack.zip"): zipped.getvalue(),
    }
    bench.iam.statements = (
        {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::bucket/*"},
    )
    artifacts = [
        artifact(model, Permission={"Read": "ALL"}),
        artifact(
            bench.s3.objects["bucket", "x/tool.sh"], key="x/tool.sh", Permission={"Execute": "ALL"}
        ),
        artifact(zipped.getvalue(), key="x/pack.zip", Unarchive="ZIP"),
    ]
    script = (
        "cat {artifacts:path}/abc.json; {artifacts:path}/tool.sh;"
        " cat {artifacts:decompressedPath}/pack/inner.txt"
    )
    for version in ("1.0.0", "1.1.0"):
        bench.cloud.publish(recipe("app", version, lifecycle={"run": script}, artifacts=artifacts))

    async def story() -> None:
        async with bench.device():
            await bench.deploy({"app": "1.0.0"})
            await bench.until(lambda: "inner" in bench.output("app"), "the script has read all")
            folder = bench.folders.artifacts("app", "1.0.0")
            assert stat.S_IMODE((folder / "abc.json").stat().st_mode) == 0o644
            assert stat.S_IMODE((folder / "tool.sh").stat().st_mode) == 0o711
            assert stat.S_IMODE((folder / "pack.zip").stat().st_mode) == 0o600
            assert len(bench.s3.fetched) == 3
            await bench.deploy({"app": "1.0.0"})
            assert len(bench.s3.fetched) == 3, "a file with the right digest stays"

    run(story())


def test_a_wrong_digest_changes_nothing_and_names_the_object(bench: Bench) -> None:
    bench.iam.statements = (ALLOW_ALL,)
    bench.s3.objects = {("bucket", "models/abc.json"): b"overwritten later"}
    bench.cloud.publish(recipe("old", lifecycle=RUN))
    bench.cloud.publish(recipe("app", lifecycle=RUN, artifacts=[artifact(b"as published")]))

    async def story() -> None:
        async with bench.device():
            await bench.deploy({"old": "1.0.0"})
            ended = await bench.deploy({"app": "1.0.0"})
            assert ended["reason"].startswith(
                "ARTIFACT_CHECKSUM_MISMATCH: FAILED_NO_STATE_CHANGE: Failed to download artifact"
                " name: 's3://bucket/models/abc.json' for component app-1.0.0"
            )
            assert bench.states("old")[-1] == "STARTING->RUNNING", "it was never stopped"
            assert not list(bench.folders.artifacts("app", "1.0.0").iterdir()), "nothing half-made"

    run(story())


def test_the_devices_role_must_allow_the_download(bench: Bench) -> None:
    """The reason and the codes are those of AWS' own example of this event."""
    bench.s3.objects = {("bucket", "models/abc.json"): b"{}"}
    bench.cloud.publish(recipe("app", lifecycle=RUN, artifacts=[artifact(b"{}")]))

    async def story() -> None:
        async with bench.device():
            ended = await bench.deploy({"app": "1.0.0"})
            assert ended["statusDetails"] == {
                "errorStack": [
                    "DEPLOYMENT_FAILURE",
                    "ARTIFACT_DOWNLOAD_ERROR",
                    "S3_ERROR",
                    "S3_ACCESS_DENIED",
                    "S3_HEAD_OBJECT_ACCESS_DENIED",
                ],
                "errorTypes": ["DEPENDENCY_ERROR", "PERMISSION_ERROR"],
            }
            assert ended["reason"].startswith(
                "S3_HEAD_OBJECT_ACCESS_DENIED: FAILED_NO_STATE_CHANGE"
            )
            assert bench.s3.fetched == []
            bench.iam.statements = (ALLOW_ALL,)
            ended = await bench.deploy({"app": "1.0.0"})
            assert ended["coreDeviceExecutionStatus"] == "COMPLETED", "rights are asked for again"

    run(story())


IMAGE = "docker:127.0.0.1:1/app@sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("present", "missing"),
    [
        ((), "aws.greengrass.DockerApplicationManager"),
        (("aws.greengrass.DockerApplicationManager",), "aws.greengrass.TokenExchangeService"),
    ],
)
def test_an_image_needs_the_nucleus_helpers(
    bench: Bench, present: tuple[str, ...], missing: str
) -> None:
    """The nucleus' own check before it downloads, and its words."""
    for name in present:
        bench.cloud.publish(recipe(name))
    needs = {name: {"VersionRequirement": ">=1.0.0"} for name in present}
    bench.cloud.publish(
        recipe("app", lifecycle=RUN, artifacts=[{"Uri": IMAGE}], ComponentDependencies=needs)
    )

    async def story() -> None:
        async with bench.device():
            ended = await bench.deploy({"app": "1.0.0"})
            assert f"must include the {missing} component" in ended["reason"]

    run(story())


def test_stale_versions_go_and_the_one_to_go_back_to_stays(bench: Bench) -> None:
    """As in java-redeploy-versions-config: the current and the previous version are kept."""
    for version in ("1.0.0", "1.1.0", "1.2.0"):
        bench.cloud.publish(recipe("app", version, lifecycle=RUN))
    bench.cloud.publish(recipe("gone", lifecycle=RUN))

    async def story() -> None:
        async with bench.device():
            await bench.deploy({"app": "1.0.0", "gone": "1.0.0"})
            await bench.deploy({"app": "1.1.0"})
            await bench.deploy({"app": "1.2.0"})
            await bench.until(
                lambda: {path.stem for path in bench.folders.recipes.iterdir()}
                == {"app@1.1.0", "app@1.2.0"},
                "stale recipes are removed",
            )

    run(story())


def test_a_restarted_device_runs_what_it_ran_without_its_cloud(bench: Bench) -> None:
    """A release's check runs again at every boot. Nothing is deployed a second time."""
    bench.cloud.publish(recipe("check", lifecycle={"startup": "echo checked || exit 1"}))
    bench.cloud.publish(
        recipe("app", lifecycle={"run": "echo {configuration:/v}; exec sleep 1000"})
    )

    async def story() -> None:
        async with bench.device():
            merge = {"componentVersion": "1.0.0", "configurationUpdate": {"merge": '{"v": "kept"}'}}
            await bench.deploy({"app": merge, "check": "1.0.0"})
            await bench.until(lambda: "kept" in bench.output("app"), "it has started")
        bench.cloud.recipes.clear()
        bench.cloud.reports.clear()
        before = len(bench.cloud.executions)
        async with bench.device():
            await bench.until(
                lambda: bench.cloud.installed()
                == {"app": ("1.0.0", "RUNNING"), "check": ("1.0.0", "RUNNING")},
                "both are up again",
            )
            await bench.until(lambda: bench.output("app").count("kept") == 2, "it has started")
        assert len(bench.cloud.executions) == before
        assert [line for line in bench.output("check") if line == "checked"] == ["checked"] * 2

    run(story())


def test_an_outcome_that_could_not_be_reported_is_reported_later(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.cloud.publish(recipe("app", lifecycle=RUN))
    report = bench.cloud.report

    def unreachable(_body: Any) -> None:
        raise OSError("no route to the cloud")

    async def story() -> None:
        async with bench.device() as device:
            monkeypatch.setattr(bench.cloud, "report", unreachable)
            made = bench.cloud.create_deployment({"app": "1.0.0"})
            await bench.until(lambda: bool(device.state.handled), "the deployment is done")
        assert made not in bench.cloud.executions
        monkeypatch.setattr(bench.cloud, "report", report)
        async with bench.device():
            await bench.until(lambda: made in bench.cloud.executions, "it is reported after all")
        assert bench.cloud.executions[made]["coreDeviceExecutionStatus"] == "COMPLETED"

    run(story())


def test_a_script_that_leaves_a_child_behind_is_ended_with_it(bench: Bench) -> None:
    bench.cloud.publish(recipe("app", lifecycle={"run": "sleep 1000 & echo child $!; wait"}))

    async def story() -> None:
        async with bench.device():
            await bench.deploy({"app": "1.0.0"})
            await bench.until(lambda: bool(bench.output("app")), "the child is started")
        child = int(bench.output("app")[0].split()[-1])
        with suppress(psutil.NoSuchProcess):
            assert psutil.Process(child).status() == psutil.STATUS_ZOMBIE

    run(story())


def test_a_component_reads_its_access_rights_from_its_configuration_as_it_is_now(
    bench: Bench,
) -> None:
    """A changed default doesn't reach a device that has the key. A reset brings it."""

    def policy(topic: str) -> dict[str, Any]:
        operations = {"operations": ["*"], "resources": [topic]}
        return {"accessControl": {"aws.greengrass.ipc.pubsub": {"app:1": operations}}}

    for version, topic in (("1.0.0", "old"), ("1.1.0", "new")):
        configuration = {"DefaultConfiguration": policy(topic)}
        bench.cloud.publish(
            recipe("app", version, lifecycle=RUN, ComponentConfiguration=configuration)
        )

    async def story() -> None:
        async with bench.device() as device:
            await bench.deploy({"app": "1.0.0"})
            await bench.deploy({"app": "1.1.0"})
            assert device.configuration("app") == policy("old")
            reset = {"componentVersion": "1.1.0", "configurationUpdate": {"reset": [""]}}
            await bench.deploy({"app": reset})
            assert device.configuration("app") == policy("new")
            assert json.loads(bench.folders.state.read_text())["components"]["app"][
                "configuration"
            ] == policy("new")

    run(story())


def test_dependents_end_before_what_they_depend_on(bench: Bench) -> None:
    needs = {"lib": {"VersionRequirement": ">=1.0.0", "DependencyType": "SOFT"}}
    bench.cloud.publish(recipe("lib", lifecycle=RUN))
    bench.cloud.publish(recipe("app", lifecycle=RUN, ComponentDependencies=needs))

    async def story() -> None:
        async with bench.device():
            await bench.deploy({"app": "1.0.0"})
        changes = bench.changes()
        ended = changes.index(("app", "STOPPING->FINISHED"))
        assert ended < changes.index(("lib", "RUNNING->STOPPING"))

    run(story())


def test_a_removed_component_is_uninstalled_and_an_errored_one_recovers(bench: Bench) -> None:
    bench.cloud.publish(recipe("gone", lifecycle={**RUN, "uninstall": "echo uninstalled"}))
    flag = bench.root.parent / "recovered"
    lifecycle = {"startup": f"test -e {flag}", "recover": f"touch {flag}"}
    bench.cloud.publish(recipe("app", lifecycle=lifecycle))

    async def story() -> None:
        async with bench.device():
            await bench.deploy({"gone": "1.0.0"})
            ended = await bench.deploy({"app": "1.0.0"})
            assert ended["coreDeviceExecutionStatus"] == "COMPLETED"
            assert bench.states("app").count("STARTING->ERRORED") == 1
            assert "uninstalled" in bench.output("gone")
            assert bench.states("gone")[-1] == "UNINSTALLING->UNINSTALLED"

    run(story())


def test_a_component_keeps_its_rights_until_it_is_stopped(bench: Bench) -> None:
    """It is stopped after the new component has started, so it may still have to publish."""
    configuration: dict[str, Any] = {"DefaultConfiguration": {"accessControl": {"mine": {}}}}
    bench.cloud.publish(recipe("old", lifecycle=RUN, ComponentConfiguration=configuration))
    wait = {"startup": f"until test -e {bench.root.parent}/go; do sleep 0.05; done"}
    bench.cloud.publish(recipe("new", lifecycle=wait))

    async def story() -> None:
        async with bench.device() as device:
            await bench.deploy({"old": "1.0.0"})
            bench.cloud.create_deployment({"new": "1.0.0"})
            await bench.until(lambda: "INSTALLED->STARTING" in bench.states("new"), "new starts")
            assert device.configuration("old") == configuration["DefaultConfiguration"]
            (bench.root.parent / "go").touch()
            await bench.until(lambda: "old" not in bench.cloud.installed(), "old is gone")
            assert device.configuration("old") is None

    run(story())


def test_another_user_for_a_component_is_refused(bench: Bench) -> None:
    bench.cloud.publish(recipe("app", lifecycle=RUN))

    async def story() -> None:
        async with bench.device():
            asked = {"componentVersion": "1.0.0", "runWith": {"posixUser": "somebody"}}
            ended = await bench.deploy({"app": asked})
            assert ended["reason"].startswith("RUN_WITH_CONFIG_NOT_VALID: FAILED_NO_STATE_CHANGE")

    run(story())


def test_a_stale_versions_image_is_removed_unless_a_kept_version_uses_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed: list[str] = []
    monkeypatch.setattr(docker, "present", lambda _reference: True)
    monkeypatch.setattr(docker, "remove", removed.append)
    manager = "aws.greengrass.DockerApplicationManager"
    bench.cloud.publish(recipe(manager))
    for version, images in (("1.0.0", "ab"), ("1.1.0", "bc"), ("1.2.0", "c")):
        bench.cloud.publish(
            recipe(
                "app",
                version,
                lifecycle=RUN,
                artifacts=[{"Uri": f"docker:registry.example/{name}:1"} for name in images],
                ComponentDependencies={manager: {"VersionRequirement": ">=1.0.0"}},
            )
        )

    async def story() -> None:
        async with bench.device():
            for version in ("1.0.0", "1.1.0", "1.2.0"):
                await bench.deploy({"app": version})
            await bench.until(lambda: bool(removed), "the first version is stale")
            assert removed == ["registry.example/a:1"], "1.1.0 is kept for a rollback"

    run(story())


def test_a_stranger_with_a_remembered_number_is_left_alone(tmp_path: Path) -> None:
    """A pid identifies a process only together with its birth."""
    stranger = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    try:
        record = tmp_path / f"{stranger.pid}.birth"
        record.write_text("another-boot 12")
        run(scripts.end_leftovers(tmp_path))
        assert stranger.poll() is None
        assert not record.exists()
    finally:
        stranger.kill()
        stranger.wait()
