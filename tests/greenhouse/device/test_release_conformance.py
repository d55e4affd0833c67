"""Replays this project's own release on both runtimes: its recipes, and a docker client's ends.

The recipes are those of record `ml`, as they were released. A runtime's behaviour depends on when
the docker client ends and with which code. So `docker` is a script here that runs as long as the
recorded client and ends in the same way. test_engine.py has the engine itself. AWS'
DockerApplicationManager was not at hand in the lab, which had a component of its own: here it is
`dam`.

The file is long because each record of the release is replayed here, on both flavours.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from greenhouse.device import deployments
from greenhouse.device.flavours.java import Java
from greenhouse.device.flavours.lite import units
from greenhouse.device.flavours.lite.flavour import Lite
from greenhouse.faults import Faults
from tests.greenhouse.device.recorded import RECORDS, parts, together
from tests.greenhouse.device.workbench import GROUP_ARN, Bench, recipe

SERVICE, CONSUMER, CHECK = "com.ml.xgboost", "com.ml.consumer", "com.ml.check"
DAM = "aws.greengrass.DockerApplicationManager"
TOKENS = "aws.greengrass.TokenExchangeService"
RELEASE = {one["ComponentName"]: one["ComponentVersion"] for one in RECORDS["ml"]["recipes"]}
UP = {SERVICE: "RUNNING", CONSUMER: "RUNNING"}

# docker kill and docker stop, as the client sees them.
KILLED, STOPPED = signal.SIGUSR1, signal.SIGUSR2

DOCKER = f"""#!/bin/sh
# The client of the lab: it ends with its container, SIGTERM and docker stop are a good end.
[ "$1" = run ] || exit 0
while [ "$1" != --name ]; do shift; done
echo $$ > {{clients}}/$2
echo "container $2"
trap 'exit 137' {KILLED.name.removeprefix("SIG")}
trap 'exit 0' {STOPPED.name.removeprefix("SIG")} TERM
case "$*" in
  *" check "*--wrong*) exit 1 ;;
  *" check "*) exit 0 ;;
esac
while :; do sleep 0.1; done
"""


@pytest.fixture(autouse=True)
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A docker client for the scripts, with a tenth of Lite's and our own pauses."""
    client = tmp_path / "bin" / "docker"
    client.parent.mkdir()
    (tmp_path / "clients").mkdir()
    client.write_text(DOCKER.format(clients=tmp_path / "clients"))
    client.chmod(0o755)
    monkeypatch.setenv("PATH", f"{client.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(units, "RESTART_SECONDS", 0.1)
    monkeypatch.setattr(deployments, "POLL_SECONDS", 0.1)


@pytest.fixture
def lite(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Bench:
    return Bench(tmp_path / "lite", caplog, Lite())


@pytest.fixture
def java(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Bench:
    return Bench(tmp_path / "java", caplog, Java())


def publish(bench: Bench, *, dam: Mapping[str, Any] | None, kind: str = "HARD") -> None:
    """Publish the release, bound to the lab's DockerApplicationManager if there is one."""
    for document in RECORDS["ml"]["recipes"]:
        made = json.loads(json.dumps(document).replace("{image}", "image"))
        made["Manifests"][0]["Artifacts"] = []
        wanted = made["ComponentDependencies"]
        bound = wanted.pop(DAM)
        if dam is not None:
            wanted["dam"] = bound
        for one in wanted.values():
            one["DependencyType"] = kind
        bench.cloud.publish(made)
    bench.cloud.publish(recipe(TOKENS, "2.0.0"))
    if dam is not None:
        bench.cloud.publish(recipe("dam", "2.0.0", lifecycle=dam))


def with_a_wrong_check(bench: Bench, version: str) -> dict[str, str]:
    """The release whose check finds another answer."""
    made = json.loads(json.dumps(bench.cloud.recipes[CHECK, RELEASE[CHECK]]))
    made["ComponentVersion"] = version
    made["Manifests"][0]["Artifacts"] = []
    startup = made["Manifests"][0]["Lifecycle"]["startup"]
    startup["Script"] = startup["Script"].replace("--timeout 20", "--timeout 20 --wrong")
    bench.cloud.publish(made)
    return {**RELEASE, CHECK: version}


def state(bench: Bench, component: str) -> str:
    assert bench.nucleus
    found = bench.nucleus.components.get(component)
    return found.state.value if found else "UNINSTALLED"


def all_states(bench: Bench) -> dict[str, str]:
    return {name: state(bench, name) for name in RELEASE}


async def are(bench: Bench, **wanted: str) -> None:
    """Wait until the service, the consumer and the check are in these states."""
    names = {"service": SERVICE, "consumer": CONSUMER, "check": CHECK}
    await bench.until(
        lambda: all(state(bench, names[one]) == is_in for one, is_in in wanted.items()),
        f"{wanted}",
    )


async def deployed(bench: Bench, components: Mapping[str, str]) -> str:
    ended = await bench.deploy(components, target=GROUP_ARN)
    return str(ended["coreDeviceExecutionStatus"])


def containers(bench: Bench, component: str) -> int:
    """The number of containers that were started."""
    return sum(line.startswith("container ") for line in bench.output(component))


def started(bench: Bench, times: int) -> bool:
    return containers(bench, SERVICE) == times


async def docker(bench: Bench, number: signal.Signals, component: str = SERVICE) -> None:
    """docker kill or docker stop of the component's container."""
    path = bench.root.parent / "clients" / f"{component}.bench"
    await bench.until(path.exists, f"{component} has a container")
    pid = int(path.read_text())
    path.unlink()
    os.kill(pid, number)


def said(seen: Mapping[str, Any], record: str, *words: str) -> None:
    """These words are the record's own."""
    text = " ".join(map(str, seen[f"{record}/transcript"]))
    for word in words:
        assert word in text, f"{record} says nothing of {word!r}"


@pytest.mark.parametrize("seen", [*together("lite-ml-no-dam"), *together("lite-ml-dam-stays")])
def test_the_release_is_up_on_lite(lite: Bench, seen: dict[str, Any]) -> None:
    (part,) = seen
    said(seen, part.partition("/")[0], "SUCCEEDED", "com.ml.check FINISHED")
    publish(lite, dam=None if "no-dam" in part else {"run": "exec sleep 1000000"})

    async def story() -> None:
        async with lite.device():
            assert await deployed(lite, RELEASE) == "SUCCEEDED"
            assert all_states(lite) == {**UP, CHECK: "FINISHED"}

    asyncio.run(story())


@pytest.mark.parametrize("seen", together("lite-ml-dam-empty"))
def test_a_dependency_without_a_step_fails_the_release(lite: Bench, seen: dict[str, Any]) -> None:
    said(seen, "lite-ml-dam-empty", "FAILED", "Lifecycle with no phase is not supported")
    publish(lite, dam={})

    async def story() -> None:
        async with lite.device():
            assert await deployed(lite, RELEASE) == "FAILED"
            assert not any(lite.states(name) for name in RELEASE)

    asyncio.run(story())


@pytest.mark.parametrize(
    ("seen", "dam"),
    [
        pytest.param(*together("lite-ml-dam-run-ends")[0].values, {"run": "echo dam"}),
        pytest.param(*together("lite-ml-dam-startup")[0].values, {"startup": "echo dam"}),
    ],
)
def test_a_dependency_that_ends_takes_the_release_down_and_it_is_a_success(
    lite: Bench, seen: dict[str, Any], dam: dict[str, str]
) -> None:
    (part,) = seen
    said(seen, part.partition("/")[0], "SUCCEEDED", "all three FINISHED")
    publish(lite, dam=dam)

    async def story() -> None:
        async with lite.device():
            assert await deployed(lite, RELEASE) == "SUCCEEDED"
            await are(lite, service="FINISHED", consumer="FINISHED", check="FINISHED")
            assert "STARTING->RUNNING" not in lite.states(SERVICE), "no container was up"

    asyncio.run(story())


@pytest.mark.parametrize("seen", together("lite-ml-dam-install-only"))
def test_a_dependency_with_install_alone_has_no_end(lite: Bench, seen: dict[str, Any]) -> None:
    said(seen, "lite-ml-dam-install-only", "no end", "Dependency failed for all three")
    publish(lite, dam={"install": "echo dam"})

    async def story() -> None:
        async with lite.device():
            made = lite.cloud.create_deployment(RELEASE, target=GROUP_ARN)
            await lite.until(lambda: all(map(lite.states, (*RELEASE, "dam"))), "all are installed")
            await lite.until(lambda: made in lite.cloud.executions, "the cloud knows of it")
            await asyncio.sleep(0.5)  # No event can announce that nothing happens.
            assert lite.cloud.executions[made]["coreDeviceExecutionStatus"] == "IN_PROGRESS"
            assert containers(lite, SERVICE) == 0

    asyncio.run(story())


@pytest.mark.parametrize("seen", together("lite-ml-soft"))
def test_soft_dependencies_may_end_or_die(lite: Bench, seen: dict[str, Any]) -> None:
    said(seen, "lite-ml-soft", "SUCCEEDED", "tesd killed", "after boot")
    publish(lite, dam={"run": "echo dam"}, kind="SOFT")

    async def story() -> None:
        async with lite.device():
            assert await deployed(lite, RELEASE) == "SUCCEEDED"
            Faults(lite.root).set(f"crashes:{TOKENS}")
            await lite.until(
                lambda: lite.states(TOKENS)[-2:] == ["RUNNING->STARTING", "STARTING->RUNNING"],
                "it has died and is back",
            )
            assert all_states(lite) == {**UP, CHECK: "FINISHED"}
            assert containers(lite, SERVICE) == 1, "untouched"
        async with lite.device():
            await are(lite, service="RUNNING", consumer="RUNNING", check="FINISHED")

    asyncio.run(story())


@pytest.mark.parametrize("seen", together("lite-ml-one-daemon-killed"))
def test_a_hard_dependent_of_a_dead_daemon_stays_down_until_the_next_start(
    lite: Bench, seen: dict[str, Any]
) -> None:
    """tesd and tes-serverd. The other daemons can't die alone here (not-modelled.json)."""
    said(seen, "lite-ml-one-daemon-killed", "tes-serverd", "Scheduled restart job")
    publish(lite, dam=None)

    async def story() -> None:
        async with lite.device():
            await deployed(lite, RELEASE)
            Faults(lite.root).set(f"crashes:{TOKENS}")
            await are(lite, service="FINISHED", consumer="FINISHED")
            await lite.until(lambda: lite.states(TOKENS)[-1] == "STARTING->RUNNING", "it is back")
            assert all_states(lite) == dict.fromkeys(RELEASE, "FINISHED"), "nobody starts them"
            assert await deployed(lite, RELEASE) == "SUCCEEDED"
            assert all_states(lite) == {**UP, CHECK: "FINISHED"}

    asyncio.run(story())


@pytest.mark.parametrize("seen", together("lite-startup-systemd-252"))
def test_no_startup_succeeds_on_systemd_252(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, seen: dict[str, Any]
) -> None:
    said(seen, "lite-startup-systemd-252", "FAILED", "unrecognized option '--stopping'", "BROKEN")
    bench = Bench(tmp_path / "old", caplog, Lite(systemd=252))
    bench.cloud.publish(*RECORDS["lite-startup-systemd-252"]["recipes"])

    async def story() -> None:
        async with bench.device():
            assert await deployed(bench, {"xsu": "1.0.0"}) == "FAILED"
            notify = "[stderr] systemd-notify: unrecognized option '--stopping'"
            assert sorted(bench.output("xsu")) == [notify] * 3 + ["dam"] * 3
            assert bench.states("xsu")[-1].endswith("->BROKEN")

    asyncio.run(story())


@pytest.mark.parametrize(
    "seen", [*together("lite-ml-docker-kill"), *together("lite-ml-broken-again")]
)
def test_docker_kill_three_times_breaks_it_on_lite_and_the_next_deployment_starts_it(
    lite: Bench, seen: dict[str, Any]
) -> None:
    (part,) = seen
    said(seen, part.partition("/")[0], "com.ml.xgboost")
    publish(lite, dam=None)

    async def story() -> None:
        async with lite.device():
            await deployed(lite, RELEASE)
            for times in (1, 2, 3):
                await lite.until(partial(started, lite, times), "started")
                await docker(lite, KILLED)
            await are(lite, service="BROKEN")
            assert await deployed(lite, RELEASE) == "SUCCEEDED"
            assert all_states(lite) == {**UP, CHECK: "FINISHED"}
            assert (containers(lite, SERVICE), containers(lite, CONSUMER)) == (4, 1)

    asyncio.run(story())


@pytest.mark.parametrize("seen", together("lite-ml-docker-stop"))
def test_docker_stop_is_a_good_end_on_lite_and_it_stays_down(
    lite: Bench, seen: dict[str, Any]
) -> None:
    said(seen, "lite-ml-docker-stop", "Deactivated successfully")
    publish(lite, dam=None)

    async def story() -> None:
        async with lite.device():
            await deployed(lite, RELEASE)
            await docker(lite, STOPPED)
            await are(lite, service="FINISHED")
            assert all_states(lite) == {SERVICE: "FINISHED", CONSUMER: "RUNNING", CHECK: "FINISHED"}

    asyncio.run(story())


@pytest.mark.parametrize("seen", together("lite-ml-silence"))
def test_a_state_that_the_consumer_reports_changes_nothing_on_lite(
    lite: Bench, seen: dict[str, Any]
) -> None:
    said(seen, "lite-ml-silence", "UpdateState", "ActiveState=active")
    publish(lite, dam=None)

    async def story() -> None:
        async with lite.device() as device:
            await deployed(lite, RELEASE)
            before = lite.changes()
            for one in ("ERRORED", "RUNNING"):
                device.report_state(CONSUMER, one)
            assert lite.changes() == before
            assert all_states(lite) == {**UP, CHECK: "FINISHED"}

    asyncio.run(story())


@pytest.mark.parametrize("seen", together("lite-ml-wrong-golden"))
def test_a_wrong_answer_fails_the_release_on_lite_again_and_again(
    lite: Bench, seen: dict[str, Any]
) -> None:
    said(seen, "lite-ml-wrong-golden", "FAILED", "restart counter is at 3", "BROKEN")
    publish(lite, dam=None)
    wrong = with_a_wrong_check(lite, "1.999.1")

    async def story() -> None:
        async with lite.device():
            await deployed(lite, RELEASE)
            for tried in (4, 7):
                assert await deployed(lite, wrong) == "FAILED"
                assert containers(lite, CHECK) == tried, "three starts each"
            assert all_states(lite) == {**UP, CHECK: "BROKEN"}
            assert await deployed(lite, RELEASE) == "SUCCEEDED"
            assert (containers(lite, SERVICE), containers(lite, CHECK)) == (1, 8)

    asyncio.run(story())


@pytest.mark.parametrize("seen", together("lite-ml-stop-start"))
def test_a_lite_that_was_stopped_starts_all_again_and_checks(
    lite: Bench, seen: dict[str, Any]
) -> None:
    said(seen, "lite-ml-stop-start", "Starting ggl.com.ml.check.service", "ActiveState=active")
    publish(lite, dam=None)

    async def story() -> None:
        async with lite.device():
            await deployed(lite, RELEASE)
        async with lite.device():
            await are(lite, service="RUNNING", consumer="RUNNING", check="FINISHED")
        assert [containers(lite, name) for name in RELEASE] == [2, 2, 2]

    asyncio.run(story())


@pytest.mark.parametrize("seen", together("lite-ml-remove"))
def test_a_removal_on_lite_checks_once_more(lite: Bench, seen: dict[str, Any]) -> None:
    said(seen, "lite-ml-remove", "Starting ggl.com.ml.check.service", "SUCCEEDED")
    publish(lite, dam=None)

    async def story() -> None:
        async with lite.device():
            await deployed(lite, RELEASE)
            assert await deployed(lite, {}) == "SUCCEEDED"
            assert containers(lite, CHECK) == 2
            assert set(all_states(lite).values()) == {"UNINSTALLED"}

    asyncio.run(story())


@pytest.mark.parametrize("seen", together("lite-failed-again"))
def test_a_startup_a_run_and_an_install_that_fail_are_tried_again(
    lite: Bench, seen: dict[str, Any]
) -> None:
    said(seen, "lite-failed-again", "bad startup FAILED", "bad run FAILED", "bad install FAILED")
    for name, lifecycle in (
        ("bad-startup", {"startup": "echo bad-startup; exit 1"}),
        ("bad-run", {"run": "echo bad-run; exit 1"}),
        ("bad-install", {"install": "echo bad-install; exit 1", "run": "exec sleep 1000"}),
    ):
        lite.cloud.publish(recipe(name, lifecycle=lifecycle))

    async def story() -> None:
        async with lite.device():
            for name in ("bad-startup", "bad-run", "bad-install"):
                for tried in (3, 6):
                    assert await deployed(lite, {name: "1.0.0"}) == "FAILED"
                    assert lite.output(name) == [name] * tried
                assert await deployed(lite, {}) == "SUCCEEDED"

    asyncio.run(story())


@pytest.mark.parametrize("seen", [*together("lite-ml-update"), *together("java-ml-update")])
def test_a_new_model_leaves_the_consumer_alone(
    lite: Bench, java: Bench, seen: dict[str, Any]
) -> None:
    bench = lite if "lite-ml-update/transcript" in seen else java
    (part,) = seen
    said(seen, part.partition("/")[0], "update SUCCEEDED", "4.0 s after the last answer")
    publish(bench, dam=None)
    newer = {**RELEASE, SERVICE: "1.999.2", CHECK: "1.999.2"}
    for name in (SERVICE, CHECK):
        made = json.loads(json.dumps(bench.cloud.recipes[name, RELEASE[name]]))
        made["ComponentVersion"] = "1.999.2"
        bench.cloud.publish(made)

    async def story() -> None:
        async with bench.device():
            await deployed(bench, RELEASE)
            for number, version in ((2, newer), (3, RELEASE)):
                assert await deployed(bench, version) == "SUCCEEDED"
                await bench.until(partial(started, bench, number), "a new container")
                assert (containers(bench, CHECK), containers(bench, CONSUMER)) == (number, 1)

    asyncio.run(story())


@pytest.mark.parametrize("seen", [*together("java-ml"), *together("java-ml-soft")])
def test_the_release_is_up_on_java(java: Bench, seen: dict[str, Any]) -> None:
    publish(java, dam=None, kind="SOFT" if "java-ml-soft/transcript" in seen else "HARD")

    async def story() -> None:
        async with java.device():
            assert await deployed(java, RELEASE) == "SUCCEEDED"
            assert all_states(java) == {**UP, CHECK: "RUNNING"}

    asyncio.run(story())


@pytest.mark.parametrize("seen", together("java-ml-docker-kill"))
def test_docker_kill_three_times_breaks_it_on_java_and_the_same_deployment_tries_again(
    java: Bench, seen: dict[str, Any]
) -> None:
    said(seen, "java-ml-docker-kill", "'RUNNING->BROKEN'", "same deployment again SUCCEEDED")
    publish(java, dam=None)

    async def story() -> None:
        async with java.device():
            await deployed(java, RELEASE)
            for _ in (1, 2, 3):
                await are(java, service="RUNNING")
                await docker(java, KILLED)
            await are(java, service="BROKEN")
            await docker(java, KILLED, CONSUMER)
            again = ["RUNNING->ERRORED", "ERRORED->STOPPING", "STOPPING->INSTALLED"]
            await java.until(lambda: java.states(CONSUMER)[3:6] == again, "started again at once")
            assert await deployed(java, RELEASE) == "SUCCEEDED"
            await are(java, service="RUNNING", consumer="RUNNING", check="RUNNING")

    asyncio.run(story())


@pytest.mark.parametrize("seen", together("java-ml-docker-stop"))
def test_docker_stop_is_a_good_end_on_java_and_the_same_deployment_does_not_mend_it(
    java: Bench, seen: dict[str, Any]
) -> None:
    said(seen, "java-ml-docker-stop", "same deployment again: SUCCEEDED FINISHED")
    publish(java, dam=None)

    async def story() -> None:
        async with java.device():
            await deployed(java, RELEASE)
            await docker(java, STOPPED)
            await are(java, service="FINISHED")
            assert java.states(SERVICE)[-2:] == ["RUNNING->STOPPING", "STOPPING->FINISHED"]
            assert await deployed(java, RELEASE) == "SUCCEEDED"
            assert all_states(java) == {SERVICE: "FINISHED", CONSUMER: "RUNNING", CHECK: "RUNNING"}

    asyncio.run(story())


@pytest.mark.parametrize("seen", together("java-ml-wrong-golden"))
def test_a_wrong_answer_is_rolled_back_on_java(java: Bench, seen: dict[str, Any]) -> None:
    said(seen, "java-ml-wrong-golden", "FAILED_ROLLBACK_COMPLETE", "'STARTING->BROKEN'")
    publish(java, dam=None)
    wrong = with_a_wrong_check(java, "1.999.1")

    async def story() -> None:
        async with java.device():
            await deployed(java, RELEASE)
            ended = await java.deploy(wrong, target=GROUP_ARN)
            assert ended["reason"].startswith("COMPONENT_BROKEN: FAILED_ROLLBACK_COMPLETE: ")
            assert ended["reason"].endswith(f"Service {CHECK} in broken state after deployment")
            tried = ["STARTING->ERRORED", "STARTING->ERRORED", "STARTING->BROKEN"]
            assert [one for one in java.states(CHECK) if one in tried] == tried
            assert all_states(java) == {**UP, CHECK: "RUNNING"}

    asyncio.run(story())


@pytest.mark.parametrize("seen", together("java-ml-sigterm"))
def test_a_java_nucleus_that_ends_stops_all_and_starts_them_again(
    java: Bench, seen: dict[str, Any]
) -> None:
    said(seen, "java-ml-sigterm", "SIGTERM of the nucleus", "STOPPING->FINISHED")
    publish(java, dam=None)

    async def story() -> None:
        async with java.device():
            await deployed(java, RELEASE)
        for name in RELEASE:
            assert java.states(name)[-2:] == ["RUNNING->STOPPING", "STOPPING->FINISHED"]
        async with java.device():
            await are(java, service="RUNNING", consumer="RUNNING", check="RUNNING")

    asyncio.run(story())


@pytest.mark.parametrize("seen", together("java-ml-remove"))
def test_a_removal_on_java_uninstalls_all(java: Bench, seen: dict[str, Any]) -> None:
    said(seen, "java-ml-remove", "SUCCEEDED", "UNINSTALLING->UNINSTALLED")
    publish(java, dam=None)
    way_out = ["RUNNING->STOPPING", "STOPPING->FINISHED", "FINISHED->UNINSTALLING"]

    async def story() -> None:
        async with java.device():
            await deployed(java, RELEASE)
            assert await deployed(java, {}) == "SUCCEEDED"
            for name in RELEASE:
                assert java.states(name)[-4:] == [*way_out, "UNINSTALLING->UNINSTALLED"]

    asyncio.run(story())


def kind(outcome: Mapping[str, Any]) -> str:
    """An error's type, or ok."""
    return str(outcome["exc"]["type"]) if "exc" in outcome else "ok"


@pytest.mark.parametrize("seen", together("lite-ipc-probe"))
def test_lites_probe_a_week_later_says_what_the_first_one_said(seen: dict[str, Any]) -> None:
    """So it adds nothing to the records of 2026-11-23, which test_ipc_lite.py replays."""
    first = {
        part.partition("/")[2]: one
        for record in ("lite-ipc-operations", "lite-ipc-json-types")
        for part, one in parts(record).items()
    }
    compared = 0
    for part, one in seen.items():
        name = part.partition("/")[2]
        if "r" in one and isinstance(known := first.get(name), dict) and "r" in known:
            assert kind(one["r"]) == kind(known["r"]), name
            compared += 1
    assert compared > 20
