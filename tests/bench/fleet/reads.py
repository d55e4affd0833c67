"""What a preview, an update's wait and a status ask AWS: 1, 50 and 500 devices, 50 ms a call.

The account is the fake of the tests, in this process behind boto3's own clients. Each call is
delayed. `python -m tests.bench --only reads` writes its part of docs/benchmarks.md.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from fleet.observe import observe
from infra.account.clients import AT_ONCE
from infra.account.target import Target
from infra.preflight import device, neighbours
from infra.preflight import target as targets
from infra.preflight.release_needs import Wanted
from infra.rollout.clock import Clock
from infra.rollout.gate import await_devices
from tests.bench.table import FLEET_HEADING
from tests.infra.fakes import ACCOUNT, CONTEXT, GOOD, NAME, REGION, WANTED, Account, Device, spec
from tests.infra.pulumi_yaml import config_of, load

DOCUMENT = Path(__file__).parents[3] / "docs" / "benchmarks.md"
SIZES = (1, 50, 500)
SECONDS_A_CALL = 0.05
BOUND = 15.0  # seconds of a preview's look-ups of 500 devices
_GROUP = f"arn:aws:iot:{REGION}:{ACCOUNT}:thinggroup/presses"
_COLUMNS = ("reads of", "devices", "calls", "by operation", "took, s", "one after another, s")


class Slow(Account):
    """An account with a delay for each answer, and with AWS' page sizes."""

    def _answer(self, model: Any, context: dict[str, Any], **more: Any) -> Any:
        time.sleep(SECONDS_A_CALL)
        return super()._answer(model, context, **more)


def account_of(size: int, patch: pytest.MonkeyPatch) -> Slow:
    """A group of so many devices. Each runs this stack's latest release."""
    account = Slow.with_a_device(patch)
    assert isinstance(account, Slow)
    account.per_page = 100
    names = [f"press-{number:03}" for number in range(size)]
    account.groups = {"presses": names}
    deployment = account.deploy(_GROUP, NAME, {name: spec(one) for name, one in WANTED.items()})
    for name in names:
        account.devices[name] = Device(installed=dict(GOOD))
        account.devices[name].deploys(
            deployment,
            "SUCCEEDED",
            deploymentName=NAME,
            targetArn=_GROUP,
            creationTimestamp=datetime.now(UTC),
            modifiedTimestamp=datetime.now(UTC),
        )
    return account


def preview(_: Slow) -> None:
    """Everything that a preview asks of the target and its devices.

    The role takes six more calls.
    """
    settings = load(config_of(None, thing="", thing_group="presses"))
    target = Target.find(settings, CONTEXT)
    assert target
    wanted = Wanted.of(settings, CONTEXT, None)
    for found in (
        targets.findings(settings, CONTEXT, target, wanted),
        device.findings(settings, target, wanted),
        neighbours.findings(settings, CONTEXT, target, wanted),
    ):
        assert not list(found)


def wait(account: Slow) -> None:
    """An update's wait for devices that answer: two looks, without its pauses."""
    now = [0.0]

    def pause(seconds: float) -> None:
        now[0] += seconds

    await_devices(
        CONTEXT.clients.greengrass,
        deployment=account.deployments[-1]["deploymentId"],
        components=WANTED,
        devices=account.groups["presses"],
        quorum=100,
        stack=CONTEXT.stack,
        clock=Clock(seconds=60, now=lambda: now[0], pause=pause),
        say=lambda _: None,
    )


def status(_: Slow) -> None:
    """What `make status` asks of a fleet."""
    observe(CONTEXT.clients, CONTEXT.project)


def measure(read: Callable[[Slow], None], size: int) -> tuple[tuple[str, ...], float]:
    """A line of the table, and the seconds for it."""
    with pytest.MonkeyPatch.context() as patch:
        account = account_of(size, patch)
        CONTEXT.clients.greengrass.get_deployment(
            deploymentId=account.deployments[-1]["deploymentId"]
        )
        # This makes both clients.
        CONTEXT.clients.iot.describe_thing_group(thingGroupName="presses")
        account.asked.clear()
        began = time.monotonic()
        read(account)
        took = time.monotonic() - began
    calls = Counter(operation for operation, _ in account.asked)
    listed = ", ".join(f"{name} {count}" for name, count in sorted(calls.items()))
    alone = calls.total() * SECONDS_A_CALL
    name = {preview: "a preview", wait: "an update's wait", status: "a status"}[read]
    return (
        (name, str(size), str(calls.total()), listed, f"{took:.1f}", f"{alone:.1f} at least"),
        took,
    )


def run() -> int:
    """Measure, and write this part of the document. Returns 1 if the bound isn't kept."""
    load_then, lines, slowest = os.getloadavg()[0], [], 0.0
    for read in (preview, wait, status):
        for size in SIZES:
            line, took = measure(read, size)
            lines.append(line)
            sys.stdout.write(f"{' | '.join(line)}\n")
            if read is preview:
                slowest = max(slowest, took)
    before = DOCUMENT.read_text().partition(FLEET_HEADING)[0]
    DOCUMENT.write_text(before + FLEET_HEADING + _section(lines, slowest, load_then))
    return int(slowest > BOUND)


def _section(lines: list[tuple[str, ...]], slowest: float, load_then: float) -> str:
    rules = ("---", "---:", "---:", "---", "---:", "---:")
    table = "".join(f"| {' | '.join(cells)} |\n" for cells in (_COLUMNS, rules, *lines))
    verdict = "kept" if slowest <= BOUND else "not kept"
    return f"""
Measured by `python -m tests.bench --only reads` with a group of simulated devices that all have the
release. A call takes {1000 * SECONDS_A_CALL:.0f} ms, and at most {AT_ONCE} calls run at once.
The bound is {BOUND:.0f} s for a preview of 500 devices: {verdict}.

{table}
* `one after another`: the calls times {1000 * SECONDS_A_CALL:.0f} ms, without the program's time
* a real account may throttle; botocore then repeats the call, and slows down
* date: {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, 1-minute load at the start {load_then:.1f}
* machine: {os.cpu_count()} cores, Linux {platform.release()} {platform.machine()},
  Python {platform.python_version()}
"""
