"""Replays Nucleus Lite's deployments on greenhouse's device: same end, same words.

Recipes and orders are the recorded ones. Scripts' output is compared as a set of lines, without
what depends on the lab's machine and without what the recipe runner logs.
lite-ipc-resource-question is also a deployment. Time-outs in recipes and the pause before a restart
are a tenth of the recorded ones.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from greenhouse.device import deployments
from greenhouse.device.flavours.lite import units as unit
from greenhouse.device.flavours.lite.flavour import Lite
from greenhouse.device.recipe.recipes import Step
from tests.greenhouse.device.recorded import NOT_MODELLED, RECORDS, together
from tests.greenhouse.device.test_conformance import (
    components,
    keeps_its_token_when_killed,
    variables,
)
from tests.greenhouse.device.test_conformance import kill_dependency as kill
from tests.greenhouse.device.workbench import GROUP_ARN, THING, THING_ARN, Bench, recipe

REPLAYED = [
    name
    for name, record in RECORDS.items()
    if "deployments" in record
    and name.startswith("lite-")
    and name not in ("lite-dep-cycle", "lite-installonly")
    and not {name, f"{name}/deployments"} & {*NOT_MODELLED}
]

# not-modelled.json has the reasons.
NOT_COMPARED = {
    "lite-env-interp-exit0": {"xart", "xenv", "xenvpriv", "xmulti"},
    "lite-run-late-exit1": {"xlate1"},
    "lite-sigterm-ignored": {"xshutto"},
}
RUNS = {"run": "exec sleep 1000"}
_NOISE = re.compile(r"E\[[\w-]+\] |Terminated$|Killed$|.*did not respond|sh: \d+: ")


@pytest.fixture
def bench(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Bench:
    return Bench(tmp_path / "gg", caplog, Lite())


@pytest.fixture(autouse=True)
def a_tenth_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    quick = {Step.INSTALL: 12.0, Step.STARTUP: 12.0, Step.RUN: 1.5}
    monkeypatch.setattr(Lite, "dialect", replace(Lite.dialect, timeouts=quick))
    monkeypatch.setattr(unit, "RESTART_SECONDS", 0.1)
    monkeypatch.setattr(deployments, "POLL_SECONDS", 0.1)


def prepared(document: Mapping[str, Any]) -> dict[str, Any]:
    """The recorded recipe with a tenth of its time-outs, and a client that exists here."""
    text = json.dumps(document).replace("sleep 3; exit 5", "sleep 1; exit 5")
    text = text.replace("sleep 12;", "sleep 1;")
    made: dict[str, Any] = json.loads(
        re.sub(r'"Timeout": (\d+)', lambda m: f'"Timeout": {int(m[1]) / 10}', text)
    )
    made["Manifests"][0]["Artifacts"] = []  # The lab had them on its disk, and read none.
    if said := {"xsuupd": "RUNNING", "xsuerr": "ERRORED"}.get(made["ComponentName"]):
        client = Path(__file__).with_name("update_state.py")
        made["Manifests"][0]["Lifecycle"]["startup"] = {
            "Script": f"{sys.executable} {client} {said}; echo end",
            "Timeout": 30,
        }
    return made


def lines(output: list[str], bench: Bench) -> Counter[str]:
    """Output without noise, pids and folders. A journal doesn't tell its two streams apart."""
    places = {str(bench.root): "/var/lib/greengrass", THING: "holdout-lite"}
    found: Counter[str] = Counter()
    for line in output:
        text = line.removeprefix("[stderr] ")
        for ours, theirs in places.items():
            text = text.replace(ours, theirs)
        text = text.replace("/dev/fd/5: ", "sh: ")
        if text.strip() and not _NOISE.match(text):
            found[re.sub(r"(pid=|child )\d+", r"\1N", text).rstrip()] += 1
    return found


def expected(name: str, component: str, bench: Bench) -> Counter[str]:
    return lines(RECORDS[name]["stdout"].get(component, []), bench)


def settled(name: str, component: str, bench: Bench) -> bool:
    return lines(bench.output(component), bench) == expected(name, component, bench)


@pytest.mark.parametrize("name", REPLAYED)
def test_a_deployment_goes_as_on_nucleus_lite(name: str, bench: Bench) -> None:
    record = RECORDS[name]
    bench.cloud.publish(*map(prepared, record["recipes"]))
    if name == "lite-depver":
        later = bench.cloud.recipes.pop(("ndep", "1.1.0"))  # The lab had no cloud to offer it.

    async def story() -> None:
        roots: dict[str, str] = {}
        async with bench.device():
            for number, seen in enumerate(record["deployments"]):
                if (name, number) == ("lite-depver", 2):
                    bench.cloud.publish(later)
                if (name, number) == ("lite-versions-remove", 4):
                    del bench.cloud.recipes["xv", "1.0.0"]  # The lab had no cloud to ask again.
                ended = await bench.deploy(components(seen, roots), target=GROUP_ARN)
                status = seen["status"].replace("NONE", "SUCCEEDED")  # The lab gave up waiting.
                assert ended["coreDeviceExecutionStatus"] == status, (
                    number,
                    bench.output("greengrass"),
                )
                assert set(ended) == {"deploymentId", "coreDeviceExecutionStatus"}, "no reasons"
            if name == "lite-redeploy-versions-config":
                kill(bench)
            for component in set(record["stdout"]) - NOT_COMPARED.get(name, set()):
                await bench.until(
                    partial(settled, name, component, bench),
                    f"{component} prints {expected(name, component, bench)}",
                )
            if name == "lite-redeploy-versions-config":
                await bench.until(
                    lambda: bench.states("xdepb")[-1] == "RUNNING->FINISHED",
                    "what depends on the killed component is down, and stays so",
                )
                await bench.until(
                    lambda: bench.states("xdepa")[-1] == "STARTING->RUNNING",
                    "the killed component runs again",
                )
                assert bench.states("xdepb")[-1] == "RUNNING->FINISHED", "it stays down"
                assert bench.states("xdepc")[-1] == "STARTING->RUNNING", "SOFT: untouched"

    asyncio.run(story())


def test_components_find_the_environment_of_nucleus_lite(bench: Bench) -> None:
    """It gives the socket's path one name only, so a client of the other name fails there."""
    record = RECORDS["lite-env-interp-exit0"]
    wanted = variables(record["stdout"]["xenv"])
    bench.cloud.publish(*(one for one in record["recipes"] if one["ComponentName"] == "xenv"))

    async def story() -> None:
        async with bench.device():
            await bench.deploy({"xenv": "1.0.0"}, target=GROUP_ARN)
            await bench.until(lambda: bench.states("xenv")[-1].endswith("FINISHED"), "xenv ends")
        assert variables(bench.output("xenv")) == wanted

    asyncio.run(story())


@pytest.mark.parametrize("seen", together("lite-dep-cycle"))
def test_components_that_depend_on_each_other_wait_for_ever(
    bench: Bench, seen: dict[str, Any]
) -> None:
    """There was no end within 8 minutes, and later deployments wait for it."""
    assert {one["status"] for one in seen["lite-dep-cycle/deployments"]} == {"NONE"}
    bench.cloud.publish(*RECORDS["lite-dep-cycle"]["recipes"], recipe("later", lifecycle=RUNS))

    def changes() -> set[tuple[str, str]]:
        """Changes of the two components. AWS's own programs start beside them."""
        return {one for one in bench.changes() if one[0].startswith("xcy")}

    async def story() -> None:
        async with bench.device():
            made = bench.cloud.create_deployment(
                {"xcya": "1.0.0", "xcyb": "1.0.0"}, target=GROUP_ARN
            )
            await bench.until(lambda: len(changes()) == 2, "both are installed")
            later = bench.cloud.create_deployment({"later": "1.0.0"}, target=f"{GROUP_ARN}-2")
            await bench.until(
                lambda: made in bench.cloud.executions, "the cloud knows of the first"
            )
            await asyncio.sleep(0.5)  # No event can announce that nothing happens.
            assert bench.cloud.executions[made]["coreDeviceExecutionStatus"] == "IN_PROGRESS"
            assert later not in bench.cloud.executions
            assert changes() == {(name, "NEW->INSTALLED") for name in ("xcya", "xcyb")}

    asyncio.run(story())


@pytest.mark.parametrize("seen", together("lite-ipc-authz", "xtok/"))
def test_a_killed_component_keeps_its_token(bench: Bench, seen: dict[str, Any]) -> None:
    keeps_its_token_when_killed(bench, "lite-ipc-authz", seen)


@pytest.mark.parametrize("seen", together("lite-installonly"))
def test_a_component_with_install_alone_is_waited_for_without_an_end(
    bench: Bench, seen: dict[str, Any]
) -> None:
    """It has no unit to start, and its deployment waits for one."""
    assert [one["status"] for one in seen["lite-installonly/deployments"]] == ["NONE"]
    bench.cloud.publish(*RECORDS["lite-installonly"]["recipes"])

    async def story() -> None:
        async with bench.device():
            made = bench.cloud.create_deployment({"ninst": "1.0.0"}, target=GROUP_ARN)
            await bench.until(lambda: bench.states("ninst") != [], "it has been installed")
            await bench.until(lambda: made in bench.cloud.executions, "the cloud knows of it")
            await asyncio.sleep(0.5)  # No event can announce that nothing happens.
            assert bench.output("ninst") == seen["lite-installonly/ninst"] == ["installed"]
            assert bench.states("ninst") == ["NEW->INSTALLED"]
            assert bench.cloud.executions[made]["coreDeviceExecutionStatus"] == "IN_PROGRESS"

    asyncio.run(story())


def test_a_failed_deployment_leaves_what_it_brought_and_is_tried_again(bench: Bench) -> None:
    """As lite-resend, seen from the cloud: no rollback, and no SUCCEEDED for a BROKEN component."""
    bench.cloud.publish(recipe("app", "1.0.0", lifecycle={"run": "exec sleep 1000"}))
    bench.cloud.publish(recipe("app", "2.0.0", lifecycle={"startup": "echo tried; exit 1"}))

    async def story() -> None:
        async with bench.device():
            await bench.deploy({"app": "1.0.0"}, target=GROUP_ARN)
            for times in (3, 6):
                ended = await bench.deploy({"app": "2.0.0"}, target=GROUP_ARN)
                assert ended["coreDeviceExecutionStatus"] == "FAILED"
                assert bench.cloud.installed() == {"app": ("2.0.0", "BROKEN")}, "no rollback"
                assert bench.output("app") == ["tried"] * times
            ended = await bench.deploy({"app": "1.0.0"}, target=GROUP_ARN)
            assert ended["coreDeviceExecutionStatus"] == "SUCCEEDED"
            assert bench.cloud.installed() == {"app": ("1.0.0", "RUNNING")}

    asyncio.run(story())


def test_skipif_is_not_looked_at(bench: Bench) -> None:
    """As observed on Nucleus Lite 2.6.0 on 2026-11-30: both steps run."""
    install = {"Script": "echo installed", "Skipif": "onpath sh"}
    startup = {"Script": "echo started", "Skipif": "exists /"}
    bench.cloud.publish(recipe("app", lifecycle={"install": install, "startup": startup}))

    async def story() -> None:
        async with bench.device():
            ended = await bench.deploy({"app": "1.0.0"}, target=GROUP_ARN)
            assert ended["coreDeviceExecutionStatus"] == "SUCCEEDED"
            assert bench.output("app") == ["installed", "started"]

    asyncio.run(story())


def test_a_deployment_to_the_thing_is_never_taken(bench: Bench) -> None:
    bench.cloud.publish(recipe("mine", lifecycle=RUNS), recipe("fleet", lifecycle=RUNS))

    async def story() -> None:
        async with bench.device():
            mine = bench.cloud.create_deployment({"mine": "1.0.0"}, target=THING_ARN)
            await bench.deploy({"fleet": "1.0.0"}, target=GROUP_ARN)
            assert mine not in bench.cloud.executions
            assert set(bench.cloud.installed()) == {"fleet"}

    asyncio.run(story())


@pytest.mark.parametrize("missing", ["os", "runtime"])
def test_a_manifest_that_does_not_name_its_platform_is_ignored(bench: Bench, missing: str) -> None:
    """Observed on 2026-11-23: "No lifecycle was found for linux". What ran before keeps running."""
    document = recipe("app", lifecycle={"run": "true"})
    del document["Manifests"][0]["Platform"][missing]
    bench.cloud.publish(document)

    async def story() -> None:
        async with bench.device():
            ended = await bench.deploy({"app": "1.0.0"}, target=GROUP_ARN)
            assert ended["coreDeviceExecutionStatus"] == "FAILED"
            assert bench.cloud.installed() == {}

    asyncio.run(story())


def test_what_lite_may_not_understand_is_refused(bench: Bench) -> None:
    """Its keys are case-sensitive. Its behaviour with another case was not observed."""
    bench.cloud.publish(recipe("app", lifecycle={"Run": "true"}))

    async def story() -> None:
        async with bench.device():
            ended = await bench.deploy({"app": "1.0.0"}, target=GROUP_ARN)
            assert ended["coreDeviceExecutionStatus"] == "FAILED"

    asyncio.run(story())


def test_a_part_of_lite_itself_is_never_resolved(bench: Bench) -> None:
    """deployment_handler.c: Nucleus, TokenExchangeService and Cli. A recipe for both names them."""
    wanted = {"aws.greengrass.TokenExchangeService": {"VersionRequirement": "^2.0.0"}}
    bench.cloud.publish(recipe("app", ComponentDependencies=wanted, lifecycle=RUNS))

    async def story() -> None:
        async with bench.device():
            ended = await bench.deploy({"app": "1.0.0"}, target=GROUP_ARN)
            assert ended["coreDeviceExecutionStatus"] == "SUCCEEDED", "the cloud hasn't got it"
            assert set(bench.cloud.installed()) == {"app"}

    asyncio.run(story())


def test_a_change_is_told_of_unless_a_deployment_brings_it(bench: Bench) -> None:
    """aws-greengrass-lite v2.6.0, docs/spec/executable/ggdeploymentd.md, 5.2 and 5.3."""
    once = (
        "test -e again && exec sleep 60; until test -e go; do sleep 0.02; done; touch again; exit 1"
    )
    bench.cloud.publish(recipe("app", lifecycle={"run": once}))

    async def story() -> None:
        async with bench.device():
            known = len(bench.cloud.pictures())
            await bench.deploy({"app": "1.0.0"}, target=GROUP_ARN)
            assert len(bench.cloud.pictures()) == known + 1
            (bench.folders.work("app") / "go").touch()
            await bench.until(lambda: len(bench.cloud.told("app")) == 3, "the cloud hears of it")
        assert bench.cloud.told("app")[:3] == ["RUNNING", "STARTING", "RUNNING"]

    asyncio.run(story())


def test_lite_says_what_it_is_and_nothing_about_its_reasons(bench: Bench) -> None:
    bench.cloud.publish(recipe("bad", lifecycle={"startup": "exit 7"}))

    async def story() -> None:
        async with bench.device():
            await bench.deploy({"bad": "1.0.0"}, target=GROUP_ARN)
            await bench.until(
                lambda: bench.cloud.installed() == {"bad": ("1.0.0", "BROKEN")}, "it is broken"
            )
        report = bench.cloud.pictures()[-1]
        assert report["core"]["runtime"] == "aws_nucleus_lite"
        assert report["core"]["coreVersion"] == "2.6.0"
        (one,) = report["components"]
        assert one["isRoot"]
        assert not {"lifecycleStatusCodes", "lifecycleStateDetails"} & set(one)

    asyncio.run(story())


def test_merged_values_outlive_new_defaults_and_a_killed_device(bench: Bench) -> None:
    first, second = ({"a": 1, "b": 1}, {"a": 2, "b": 2, "c": 2})
    for version, defaults in (("1.0.0", first), ("2.0.0", second)):
        configuration = {"DefaultConfiguration": defaults}
        document = recipe("app", version, ComponentConfiguration=configuration, lifecycle=RUNS)
        bench.cloud.publish(document)
    merge = {"componentVersion": "1.0.0", "configurationUpdate": {"merge": '{"a": 9}'}}

    async def story() -> None:
        async with bench.device():
            await bench.deploy({"app": merge}, target=GROUP_ARN)
        async with bench.device() as device:
            await bench.deploy({"app": "2.0.0"}, target=GROUP_ARN)
            assert device.configuration("app") == {"a": 9, "b": 2, "c": 2}

    asyncio.run(story())
