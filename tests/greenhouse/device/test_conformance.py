"""Replays the Java nucleus' deployments on greenhouse's device: same end, states and words.

Recipes, scripts and orders are the recorded ones. What depends on the lab's machine (folders, pids,
seconds) isn't compared. Time-outs in recipes are a tenth of the recorded ones.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from greenhouse.device import deployments
from greenhouse.device.ipc.frames import Decoder
from greenhouse.device.lifecycle import scripts
from tests.greenhouse.device.ipc.test_ipc_conformance import connect
from tests.greenhouse.device.recorded import NOT_MODELLED, RECORDS, together
from tests.greenhouse.device.workbench import GROUP_ARN, THING, Bench

REPLAYED = [
    name
    for name, record in RECORDS.items()
    if "deployments" in record
    and name.startswith("java-")
    and not {name, f"{name}/deployments"} & {*NOT_MODELLED}
]

NOT_DEPLOYED = {"xart"}  # not-modelled.json has the reasons for this set and the next.
NOT_COMPARED = {"java-env-interp-exit0": {"xart", "xenv"}, "java-sigterm-ignored": {"xigne"}}
SHOWN = 392  # Characters of a line: java-longline kept as many of 100,000.
RESTARTED_TWICE = {"java-fail-good-and-bad-short": "xbad", "java-resend": "nbad"}
STOPPED_BY_US = "Run script exited. {exitCode=143}"
CHILD_STOPPED_BY_US = "Run script exited. {exitCode=0}"  # java-child: after its child has ended.

# The shell or the nucleus' own threads add these to the output, in no fixed order.
_NOISE = re.compile(
    r"\[stderr\] (Terminated|Killed|\[TIMEOUT)|did not respond|shell-runner-error|Refusing to"
)


@pytest.fixture(autouse=True)
def a_tenth_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scripts, "GRACE_SECONDS", 0.5)


def prepared(document: Mapping[str, Any]) -> dict[str, Any]:
    """The recorded recipe with a tenth of its time-outs, and a client that exists here."""
    made: dict[str, Any] = json.loads(
        re.sub(r'"Timeout": (\d+)', lambda m: f'"Timeout": {int(m[1]) / 10}', json.dumps(document))
    )
    if made["ComponentName"] == "xsuupd":
        client = Path(__file__).with_name("update_state.py")
        made["Manifests"][0]["Lifecycle"]["startup"] = {
            "Script": f"{sys.executable} {client} RUNNING; sleep 1; echo end",
            "Timeout": 30,
        }
    return made


def components(request: Mapping[str, Any], roots: dict[str, str]) -> dict[str, Any]:
    """The cloud deployment that asks for what the lab's local deployment asked for."""
    roots.update(request.get("adds", {}))
    for name in request.get("remove", ()):
        roots.pop(name, None)
    asked: dict[str, Any] = {}
    for name, version in roots.items():
        if name in NOT_DEPLOYED:
            continue
        asked[name] = {"componentVersion": version}
        if update := request.get("config", {}).get(name):
            asked[name]["configurationUpdate"] = {
                "reset": update.get("reset", []),
                "merge": json.dumps(update.get("merge", {})),
            }
    return asked


def lines(output: list[str], bench: Bench) -> list[str]:
    """Output without noise, pids and folders. Two pipes have no common order."""
    kept = [line for line in output if not _NOISE.search(line)]
    places = {str(bench.root): "{root}", os.environ["HOME"]: "{home}", THING: "holdout-java"}
    for found, placeholder in places.items():
        kept = [line.replace(found, placeholder) for line in kept]
    kept = [line[:SHOWN] for line in kept]
    return [re.sub(r"(pid=|child )\d+", r"\1N", line).rstrip() for line in kept]


@pytest.mark.parametrize("name", REPLAYED)
def test_a_deployment_goes_as_on_the_java_nucleus(
    name: str, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/bench")
    record = RECORDS[name]
    # Between two looks all attempts of a run may fail, as in java-run-exit1.
    monkeypatch.setattr(deployments, "POLL_SECONDS", 3.0 if name == "java-run-exit1" else 0.2)
    bench.cloud.publish(*map(prepared, record["recipes"]))
    if name == "java-depver":
        later = bench.cloud.recipes.pop(("ndep", "1.1.0"))  # The lab had no cloud to offer it.

    async def story() -> None:
        roots: dict[str, str] = {}
        async with bench.device():
            for number, seen in enumerate(record["deployments"]):
                if (name, number) == ("java-depver", 2):
                    bench.cloud.publish(later)
                do_nothing = seen["detail"] == "FAILED_ROLLBACK_NOT_REQUESTED"
                ended = await bench.deploy(
                    components(seen, roots), policy="DO_NOTHING" if do_nothing else "ROLLBACK"
                )
                compare_end(ended, seen)
            if name == "java-redeploy-versions-config":
                kill_dependency(bench)
            for component, changes in expected_states(record).items():
                await bench.until(
                    partial(went_through, bench, component, changes),
                    f"{component} goes through {changes}",
                )
            for component, printed in expected_output(record).items():
                await bench.until(
                    partial(has_printed, bench, component, printed),
                    f"{component} prints {printed}",
                )
            compare_order(record, bench)
        for component, printed in expected_output(record).items():
            surplus = Counter(lines(bench.output(component), bench)) - printed
            assert set(surplus) <= {STOPPED_BY_US, CHILD_STOPPED_BY_US}, (
                f"{component} printed {surplus} on top"
            )

    asyncio.run(story())


def compare_end(ended: Mapping[str, Any], seen: Mapping[str, Any]) -> None:
    status = ended["coreDeviceExecutionStatus"].replace("COMPLETED", "SUCCEEDED")
    assert status == seen["status"], ended
    if status == "FAILED":
        assert ended["statusDetails"] == {"errorStack": seen["stack"], "errorTypes": seen["types"]}
        detail = seen["detail"] or "FAILED_NO_STATE_CHANGE"
        assert ended["reason"].startswith(f"{seen['stack'][-1]}: {detail}: ")
        if "offline" not in seen["cause"]:  # Our cloud is there, the lab had none.
            assert ended["reason"].endswith(seen["cause"])


def went_through(bench: Bench, component: str, changes: list[str]) -> bool:
    return bench.states(component) == changes


def has_printed(bench: Bench, component: str, printed: Counter[str]) -> bool:
    """java-install-timeout: the second of the lab's three attempts printed nothing.

    Its third line belongs to the next deployment, ours to the second attempt.
    """
    return not printed - Counter(lines(bench.output(component), bench))


# The recorded order: dependencies come first, removed components go last.
ORDER = {
    "java-dep-order-startup": [
        (("xoa", "STARTING->RUNNING"), ("xob", "INSTALLED->STARTING")),
        (("xod", "STARTING->RUNNING"), ("xoe", "INSTALLED->STARTING")),
        (("xoc", "STARTING->RUNNING"), ("xoa", "STARTING->RUNNING")),
    ],
    "java-redeploy-versions-config": [
        (("xnew", "STARTING->RUNNING"), ("xstay", "RUNNING->STOPPING")),
    ],
}


def compare_order(record: Mapping[str, Any], bench: Bench) -> None:
    seen = [tuple(change) for change in record["states"]]
    for earlier, later in ORDER.get(record["id"], ()):
        assert seen.index(earlier) < seen.index(later), "so it was on the nucleus"
        changes = bench.changes()
        assert changes.index(earlier) < changes.index(later), f"{earlier} came after {later}"


def kill_dependency(bench: Bench) -> None:
    """The end of the lab's long sequence: `kill -9` of a HARD dependency."""
    pid = [line for line in bench.output("xdepa") if "pid=" in line][-1].partition("pid=")[2]
    os.kill(int(pid), signal.SIGKILL)


def keeps_its_token_when_killed(bench: Bench, record: str, seen: dict[str, Any]) -> None:
    """xtok was killed with -9.

    It gets the same token when it is started again, and the token works.
    """
    (recorded,) = (one for one in RECORDS[record]["recipes"] if one["ComponentName"] == "xtok")
    document = json.loads(json.dumps(recorded))
    socket = "$AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT"
    document["Manifests"][0]["Lifecycle"]["run"] = f"echo as $SVCUID $$ {socket}; exec sleep 1000"
    bench.cloud.publish(document)
    tokens, (accepted,) = (seen[f"{record}/xtok/{name}"] for name in ("token", "old-token"))

    def starts() -> list[list[str]]:
        """Token, pid and socket of each start."""
        return [line.split()[1:] for line in bench.output("xtok") if line.startswith("as ")]

    async def story() -> None:
        async with bench.device():
            await bench.deploy({"xtok": "1.0.0"}, target=GROUP_ARN)
            await bench.until(lambda: len(starts()) == 1, "it starts")
            os.kill(int(starts()[0][1]), signal.SIGKILL)
            await bench.until(lambda: len(starts()) == 2, "it is started again")
            (first, *_), (second, _, path) = starts()
            assert [one["same"] for one in tokens] == [False, second == first]
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(connect(first))
            (answer,) = Decoder().feed(await reader.read(4096))
            assert answer.headers == accepted["ack"]
            writer.close()
            await writer.wait_closed()

    asyncio.run(story())


@pytest.mark.parametrize("seen", together("java-ipc-authz", "xtok/"))
def test_a_killed_component_keeps_its_token(bench: Bench, seen: dict[str, Any]) -> None:
    keeps_its_token_when_killed(bench, "java-ipc-authz", seen)


def expected_states(record: Mapping[str, Any]) -> dict[str, list[str]]:
    """Each component's recorded transitions, without those that have a reason to differ here."""
    expected: dict[str, list[str]] = {}
    for component, change in record["states"]:
        if component not in NOT_COMPARED.get(record["id"], ()):
            expected.setdefault(component, []).append(change)
    if record["id"] == "java-install-timeout":
        del expected["xinstt"][-1]  # BROKEN->NEW belongs to the lab's next deployment.
    if name := RESTARTED_TWICE.get(record["id"]):
        while "STARTING->STOPPING" in expected[name]:
            twice = expected[name].index("STARTING->STOPPING")
            del expected[name][twice : twice + 3]
    return expected


def expected_output(record: Mapping[str, Any]) -> dict[str, Counter[str]]:
    """How often each component printed each line, without noise and pids."""
    expected = {
        component: [line for line in printed if not _NOISE.search(line)]
        for component, printed in record["stdout"].items()
        if component not in NOT_COMPARED.get(record["id"], ())
    }
    surplus = {
        "java-fail-good-and-bad-short": ["xbad 1.0.0 pid=24902", STOPPED_BY_US],
        "java-resend": ["good", STOPPED_BY_US] * 2,
    }
    for line in surplus.get(record["id"], ()):
        expected[RESTARTED_TWICE[record["id"]]].remove(line)  # The second of two restarts.
    return {
        component: Counter(re.sub(r"(pid=|child )\d+", r"\1N", line) for line in printed)
        for component, printed in expected.items()
    }


def variables(printed: list[str]) -> set[str]:
    """The names that Greengrass and the recipe set, in the output of `env`."""
    names = {line.partition("=")[0] for line in printed if re.match(r"\w+=", line)}
    return {name for name in names if re.match(r"AWS_|GG|SVCUID|MYVAR|STEPVAR", name)}


def test_components_find_the_environment_of_the_java_nucleus(bench: Bench) -> None:
    seen = RECORDS["java-env-interp-exit0"]
    # greenhouse has no FIPS endpoints.
    wanted = variables(seen["stdout"]["xenv"]) - {"AWS_GG_FIPS_MODE", "AWS_USE_FIPS_ENDPOINT"}
    recipes = {one["ComponentName"]: one for one in seen["recipes"]}
    bench.cloud.publish(recipes["xenv"])

    async def story() -> None:
        async with bench.device():
            await bench.deploy({"xenv": "1.0.0"})
            await bench.until(lambda: "RUNNING->STOPPING" in bench.states("xenv"), "xenv ends")
        printed = bench.output("xenv")
        assert variables(printed) == wanted
        assert {"0022", "SHELL0=sh", f"CWD={bench.root}/work/xenv"} <= set(printed)
        tokens = {
            line.partition("=")[2]
            for line in printed
            if line.startswith(("SVCUID=", "AWS_CONTAINER_AUTHORIZATION_TOKEN="))
        }
        assert len(tokens) == 1, "SVCUID and the container token are the same value"
        assert re.fullmatch(r"[A-Z0-9]{16}", tokens.pop())

    asyncio.run(story())


def test_an_errored_component_is_stopped_and_started_again(bench: Bench) -> None:
    """java-sigterm-ignored, xigne: a time-out of run is an error, even if SIGTERM is ignored."""
    recipes = {one["ComponentName"]: one for one in RECORDS["java-sigterm-ignored"]["recipes"]}
    bench.cloud.publish(prepared(recipes["xigne"]))
    strike = ["RUNNING->ERRORED", "ERRORED->STOPPING", "STOPPING->INSTALLED"]

    async def story() -> None:
        async with bench.device():
            await bench.deploy({"xigne": "1.0.0"})
            await bench.until(
                lambda: bench.states("xigne")[3:6] == strike, "xigne's time-out strikes"
            )
            assert any("Going to kill it now" in line for line in bench.output("xigne"))

    asyncio.run(story())
