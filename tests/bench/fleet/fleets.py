"""What a fleet costs: 1, 10 and 50 simulated devices, one group deployment, the program's own wait.

Devices are real processes of greenhouse's device. Each has one very light component and no
container. The deployment goes to a thing group. The gate (`infra/rollout/gate.py`) waits for it as
in `pulumi up`, and its calls are counted where boto3 sends them. `python -m tests.bench --only
fleets` writes docs/benchmarks-of-fleets.md.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from greenhouse import account
from greenhouse.environment import aws_environment, shell_environment
from greenhouse.home import PROJECT_DIR, Home
from greenhouse.processes import Processes
from greenhouse.start_and_stop import start_greenhouse, stop_greenhouse
from infra.rollout.clock import Clock
from infra.rollout.gate import await_devices

SIZES = (1, 10, 50)
ROUNDS = 3
PATIENCE = 300.0
COMPONENT = "com.example.light"
DOCUMENT = PROJECT_DIR / "docs" / "benchmarks-of-fleets.md"
HEADINGS = (
    "devices", "deployment, s", "devices' own time, s", "calls of the wait", "by operation",
    "memory of a device, MB", "CPU of a device, s", "CPU of the cloud, s",
)  # fmt: skip


class Fleet:
    """One greenhouse with devices in one group. Every release is the next version."""

    def __init__(self, home: Home, devices: list[str]) -> None:
        self.devices = devices
        self._processes = Processes(run=home.run, logs=home.logs)
        ports = home.ports()
        self.greengrass = account.greengrass(ports)
        endpoint = aws_environment(ports)["AWS_ENDPOINT_URL"]
        iot = account.session(ports).client("iot", endpoint_url=endpoint)
        self._target = iot.create_thing_group(thingGroupName=f"fleet-{len(devices)}")[
            "thingGroupArn"
        ]
        for device in devices:
            iot.add_thing_to_thing_group(thingGroupName=f"fleet-{len(devices)}", thingName=device)
        self._number = 0
        self._calls: Counter[str] = Counter()
        self.greengrass.meta.events.register("before-send.greengrassv2", self._count)

    def _count(self, event_name: str, **_request: Any) -> None:
        self._calls[event_name.rpartition(".")[2]] += 1

    def release(self) -> tuple[float, float, Counter[str]]:
        """Seconds until the wait ended and until the last device was done, and the wait's calls."""
        self._number += 1
        version = f"{len(self.devices)}.0.{self._number}"
        recipe = {
            "RecipeFormatVersion": "2020-01-25",
            "ComponentName": COMPONENT,
            "ComponentVersion": version,
            "Manifests": [
                {
                    "Platform": {"os": "linux", "runtime": "*"},
                    "Lifecycle": {"run": "exec sleep 100000"},
                    "Artifacts": [],
                }
            ],
        }
        self.greengrass.create_component_version(inlineRecipe=json.dumps(recipe).encode())
        began = time.monotonic()
        made = self.greengrass.create_deployment(
            targetArn=self._target, components={COMPONENT: {"componentVersion": version}}
        )["deploymentId"]
        self._calls.clear()
        await_devices(
            self.greengrass,
            deployment=made,
            components={COMPONENT: version},
            devices=self.devices,
            quorum=100,
            stack="bench",
            clock=Clock(seconds=PATIENCE),
            say=lambda _line: None,
        )
        taken, calls = time.monotonic() - began, Counter(self._calls)
        times = []
        for device in self.devices:
            listed = self.greengrass.list_effective_deployments(coreDeviceThingName=device)
            done = next(d for d in listed["effectiveDeployments"] if d["deploymentId"] == made)
            times.append((done["modifiedTimestamp"] - done["creationTimestamp"]).total_seconds())
        return taken, max(times), calls

    def processes(self) -> list[psutil.Process]:
        found = [self._processes.find(f"device-{device}") for device in self.devices]
        return [process for process in found if process]

    def cloud_seconds(self) -> float:
        cloud = self._processes.find("cloud")
        return _cpu(cloud) if cloud else 0.0


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def measure(home: Home, size: int) -> tuple[str, ...]:
    """One line of the table: medians over the rounds."""
    devices = [f"fleet-{os.getpid()}-{size}-{number}" for number in range(size)]
    start_greenhouse(home, _environment(home), devices)
    fleet = Fleet(home, devices)
    fleet.release()  # The first release, which the others replace.
    rounds, cpu, cloud = [], [], []
    for _ in range(ROUNDS):
        before, cloud_before = sum(map(_cpu, fleet.processes())), fleet.cloud_seconds()
        rounds.append(fleet.release())
        cpu.append((sum(map(_cpu, fleet.processes())) - before) / size)
        cloud.append(fleet.cloud_seconds() - cloud_before)
    memory = statistics.mean(p.memory_full_info().uss for p in fleet.processes()) / 1e6
    middle = sorted((calls for _, _, calls in rounds), key=Counter.total)[ROUNDS // 2]
    return (
        str(size),
        f"{statistics.median(taken for taken, _, _ in rounds):.1f}",
        f"{statistics.median(own for _, own, _ in rounds):.1f}",
        str(middle.total()),
        ", ".join(f"{name} {count}" for name, count in sorted(middle.items())),
        f"{memory:.0f}",
        f"{statistics.median(cpu):.2f}",
        f"{statistics.median(cloud):.2f}",
    )


def _environment(home: Home) -> dict[str, str]:
    path = [Path(sys.executable).parent]
    return shell_environment(home, path=path, docker_host=None, base=os.environ)


def run() -> int:
    """Measure each size in a greenhouse of its own, and write the document."""
    load = os.getloadavg()[0]
    os.environ.setdefault("AWS_DEFAULT_REGION", "eu-west-1")
    lines = []
    for size in SIZES:
        with tempfile.TemporaryDirectory(prefix="fleets-") as folder:
            home = Home(Path(folder))
            try:
                lines.append(measure(home, size))
            finally:
                stop_greenhouse(home)
        sys.stdout.write(f"{' | '.join(lines[-1])}\n")
    DOCUMENT.write_text(_document(lines, load))
    return 0


def _document(lines: list[tuple[str, ...]], load: float) -> str:
    table = "".join(
        f"| {' | '.join(cells)} |\n" for cells in (HEADINGS, ("---:",) * len(HEADINGS), *lines)
    )
    memory = psutil.virtual_memory().total / 2**30
    return f"""\
# What a fleet costs

Measured by `python -m tests.bench --only fleets`: one deployment to a thing group of simulated
devices. Each is a process of greenhouse's device (Java flavour) with one component that sleeps. The
figures are medians of {ROUNDS} releases, each of which replaces the one before it.

{table}
* `deployment`: from CreateDeployment until the program's wait is over. The program looks once a
  second. At a device that answers, it looks again five seconds later.
* `devices' own time`: until the last device has reported the end. A device looks at its components
  once a second, like the nucleus, so it takes at least a second.
* `calls of the wait`: greengrassv2 calls while the gate waited (`infra/rollout/gate.py`), retries
  included.
* `memory`: unique set size of a device's process. Devices and cloud share the cores below.
* date: {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, 1-minute load at the start {load:.1f}
* machine: {os.cpu_count()} cores, {memory:.0f} GiB, Linux {platform.release()}
  {platform.machine()}, Python {platform.python_version()}
"""
