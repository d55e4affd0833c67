"""Deployments on one device: what changes, what stays, and rollbacks."""

from __future__ import annotations

from tests.greenhouse.device.deployments.stories import RUN, run
from tests.greenhouse.device.workbench import GROUP_ARN, THING_ARN, Bench, recipe, states


def test_a_log_has_the_lines_of_the_java_nucleus_with_the_output_in_their_middle(
    bench: Bench,
) -> None:
    """Lines as in the public logs of real devices, without the time at their start."""
    says = "sleep 0.2; echo '{\"ms\": 1}'; echo"
    bench.cloud.publish(recipe("app", lifecycle={"run": says}))

    async def story() -> None:
        async with bench.device():
            await bench.deploy({"app": "1.0.0"})
            await bench.until(lambda: len(bench.output("app")) == 3, "the script is over")

    run(story())
    ours = "serviceName=app, currentState=RUNNING}"
    script = f"{{scriptName=services.app.lifecycle.run.Script, {ours}"
    written = bench.folders.log("app").read_text().splitlines()
    assert [line.partition(" ")[2] for line in written] == [
        f'[INFO] (Copier) app: stdout. {{"ms": 1}}. {script}',
        f"[INFO] (Copier) app: stdout. {script}",
        f"[INFO] (Copier) app: Run script exited. {{exitCode=0, {ours}",
    ]
    assert bench.output("app") == ['{"ms": 1}', "", "Run script exited. {exitCode=0}"]


def test_a_failed_startup_brings_back_version_and_configuration(bench: Bench) -> None:
    good = {"run": "echo v={configuration:/v}; exec sleep 1000"}
    bench.cloud.publish(recipe("app", "1.0.0", lifecycle=good))
    bench.cloud.publish(recipe("app", "2.0.0", lifecycle={"startup": "exit 1"}))

    async def story() -> None:
        async with bench.device() as device:
            merge = {"componentVersion": "1.0.0", "configurationUpdate": {"merge": '{"v": 1}'}}
            await bench.deploy({"app": merge})
            await bench.until(lambda: bench.output("app") == ["v=1"], "it has started")
            worse = {"componentVersion": "2.0.0", "configurationUpdate": {"merge": '{"v": 2}'}}
            ended = await bench.deploy({"app": worse, "more": "1.0.0"})
            assert ended["coreDeviceExecutionStatus"] == "FAILED"
            assert "requires =1.0.0" in ended["reason"], "there is no component 'more'"
            assert bench.output("app") == ["v=1"], "nothing was touched before all was there"

            bench.cloud.publish(recipe("more", lifecycle=RUN))
            ended = await bench.deploy({"app": worse, "more": "1.0.0"})
            assert "FAILED_ROLLBACK_COMPLETE" in ended["reason"]
            assert bench.cloud.installed() == {"app": ("1.0.0", "RUNNING")}
            await bench.until(lambda: bench.output("app").count("v=1") == 2, "it starts again")
            assert device.configuration("app") == {"v": 1}

    run(story())


def test_an_error_is_told_at_once_and_the_rest_when_all_are_at_rest(bench: Bench) -> None:
    """aws-greengrass-nucleus, FleetStatusService.handleServiceStateChange."""
    once = (
        "test -e again && exec sleep 60; until test -e go; do sleep 0.02; done; touch again; exit 1"
    )
    bench.cloud.publish(recipe("app", lifecycle={"run": once}))

    async def story() -> None:
        async with bench.device():
            await bench.deploy({"app": "1.0.0"})
            (bench.folders.work("app") / "go").touch()
            await bench.until(lambda: len(bench.cloud.told("app")) == 3, "the cloud hears of it")
        assert bench.cloud.told("app") == ["RUNNING", "ERRORED", "RUNNING"]

    run(story())


def test_while_a_deployment_goes_on_only_what_errs_is_told_of(bench: Bench) -> None:
    """aws-greengrass-nucleus, FleetStatusService.handleServiceStateChange."""
    bench.cloud.publish(
        recipe("app", lifecycle=RUN),
        recipe("app", version="2.0.0", lifecycle=RUN),
        recipe("bad", lifecycle={"startup": "exit 7"}),
    )

    async def story() -> None:
        async with bench.device():
            await bench.deploy({"app": "1.0.0"})
            known = len(bench.cloud.pictures())
            await bench.deploy({"app": "2.0.0", "bad": "1.0.0"}, policy="DO_NOTHING")
            *meanwhile, end = bench.cloud.pictures()[known:]
        assert meanwhile
        for picture in meanwhile:
            assert states(picture) == {"app": ("1.0.0", "RUNNING"), "bad": ("1.0.0", "ERRORED")}
        assert states(end) == {"app": ("2.0.0", "RUNNING"), "bad": ("1.0.0", "BROKEN")}

    run(story())


def test_the_error_of_a_broken_component_is_in_the_report(bench: Bench) -> None:
    bench.cloud.publish(recipe("bad", lifecycle={"startup": "exit 7"}))

    async def story() -> None:
        async with bench.device():
            await bench.deploy({"bad": "1.0.0"}, policy="DO_NOTHING")
        (one,) = bench.cloud.pictures()[-1]["components"]
        assert one["lifecycleState"] == "BROKEN"
        assert one["lifecycleStatusCodes"] == ["STARTUP_ERROR"]
        assert one["lifecycleStateDetails"].endswith("The startup script exited with code 7.")
        assert bench.cloud.pictures()[-1]["core"]["status"] == "UNHEALTHY"

    run(story())


def test_a_broken_component_deployed_again_unchanged_is_tried_again(bench: Bench) -> None:
    """It is never trusted, as on the nucleus: reinstallBrokenServices."""
    flag = bench.root.parent / "repaired"
    bench.cloud.publish(recipe("bad", lifecycle={"startup": f"test -e {flag}"}))

    async def story() -> None:
        async with bench.device():
            ended = await bench.deploy({"bad": "1.0.0"}, policy="DO_NOTHING")
            assert ended["coreDeviceExecutionStatus"] == "FAILED"
            ended = await bench.deploy({"bad": "1.0.0"}, policy="DO_NOTHING")
            assert ended["coreDeviceExecutionStatus"] == "FAILED"
            flag.touch()
            ended = await bench.deploy({"bad": "1.0.0"})
            assert ended["coreDeviceExecutionStatus"] == "COMPLETED"

    run(story())


def test_a_device_runs_the_union_of_its_targets(bench: Bench) -> None:
    bench.cloud.publish(*(recipe(name, lifecycle=RUN) for name in ("mine", "fleet", "other")))

    async def story() -> None:
        async with bench.device():
            assert (await bench.deploy({"mine": "1.0.0"}, target=THING_ARN))[
                "coreDeviceExecutionStatus"
            ] == "COMPLETED"
            assert (await bench.deploy({"fleet": "1.0.0"}, target=GROUP_ARN))[
                "coreDeviceExecutionStatus"
            ] == "SUCCEEDED"
            assert set(bench.cloud.installed()) == {"mine", "fleet"}
            await bench.deploy({"other": "1.0.0"}, target=THING_ARN)
            assert set(bench.cloud.installed()) == {"other", "fleet"}

            del bench.cloud.deployments[GROUP_ARN]
            bench.cloud.member_of = set()
            await bench.deploy({"mine": "1.0.0"}, target=THING_ARN)
            assert set(bench.cloud.installed()) == {"mine"}, "the thing has left the group"

    run(story())


def test_only_what_a_target_names_is_a_root(bench: Bench) -> None:
    needs = {"lib": {"VersionRequirement": ">=1.0.0"}}
    bench.cloud.publish(recipe("lib", lifecycle=RUN))
    bench.cloud.publish(recipe("app", lifecycle=RUN, ComponentDependencies=needs))

    async def story() -> None:
        async with bench.device():
            made = await bench.deploy({"app": "1.0.0"})
        roots = {
            one["componentName"]: one["isRoot"] for one in bench.cloud.pictures()[-1]["components"]
        }
        assert roots == {"app": True, "lib": False}
        assert {
            one["lastInstallationSource"] for one in bench.cloud.pictures()[-1]["components"]
        } == {made["deploymentId"]}

    run(story())
