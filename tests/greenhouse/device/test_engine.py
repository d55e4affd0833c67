"""After a failure of the Docker engine, a container or the device, the components answer again.

Recipes, scripts, docker client, engine and devices (one of each flavour) are real. In place of the
image there is a shell that says that it answers. The engine is this test's own, and each device has
its own view of it, as in every greenhouse. No row may cost one of the three errors an hour, or need
a deployment or a person. Each row prints how long it took (`pytest -rP`).
"""

from __future__ import annotations

import os
import platform
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import psutil
import pytest

from greenhouse import toolchain
from greenhouse.faults import Faults
from greenhouse.home import PROJECT_DIR
from greenhouse.toolchain.docker import SYSTEM_FOLDERS
from infra.names import CONSUMER, SERVICE
from infra.publish import recipe as recipes
from infra.publish import scripts
from tests.greenhouse.device.dockerd import IMAGE, Dockerd
from tests.greenhouse.device.recorded import together
from tests.greenhouse.device.test_process import Server, device, log, until
from tests.greenhouse.device.workbench import GROUP_ARN, recipe
from tests.missing import needs_root

pytestmark = pytest.mark.docker

OURS = (SERVICE, CONSUMER)
SETTLED_SECONDS = scripts._QUICK_SECONDS + 1  # An earlier end would count as the container's own.
CONTENT = recipes.Content(
    images={{"x86_64": "amd64"}.get(platform.machine(), platform.machine()): IMAGE},
    files=recipes.Files(uris=dict.fromkeys(("model.bz2", "consumer.py", "samples.json"), "")),
    memory=16,
    check_timeout=20,
    consumer_interval=5,
)


@dataclass
class Device:
    """A core device with service and consumer. `engine` is its view of the engine."""

    flavour: str
    root: Path
    engine: Path
    server: Server = field(default_factory=Server)
    thing: str = field(default_factory=lambda: f"engine-{secrets.token_hex(4)}")
    process: subprocess.Popen[str] | None = None

    def deploy(self) -> None:
        for name in ("DockerApplicationManager", "TokenExchangeService"):
            self.server.cloud.publish(recipe(f"aws.greengrass.{name}", "2.0.3"))
        for made in (recipes.service, recipes.consumer):
            document = made("1.0.0", CONTENT)
            # The image is there, and the files aren't needed.
            document["Manifests"][0]["Artifacts"] = []
            self.server.cloud.publish(document)
        self.server.cloud.create_deployment(dict.fromkeys(OURS, "1.0.0"), target=GROUP_ARN)

    def said(self, component: str, word: str) -> int:
        return log(self.root, component).count(word)

    @property
    def answers(self) -> dict[str, int]:
        """How many containers of each component have answered so far."""
        return {name: self.said(name, "stdout. answers") for name in OURS}

    def answers_again(self, component: str, before: int) -> bool:
        return self.answers[component] > before

    def is_broken(self, component: str) -> bool:
        return self.changes(component)[-1].endswith("->BROKEN")

    def answers_again_or_never(self, component: str, before: int) -> bool:
        return self.answers_again(component, before) or self.is_broken(component)

    def changes(self, component: str) -> list[str]:
        pattern = rf": {re.escape(component)} \S+: (\w+->\w+)"
        return re.findall(pattern, log(self.root, "greengrass"))

    def is_running(self, component: str) -> bool:
        return self.changes(component)[-1] == "STARTING->RUNNING"

    def errors(self, component: str) -> int:
        """Errors of the three an hour: Lite goes back to STARTING, Java to ERRORED."""
        used = ("RUNNING->STARTING", "RUNNING->ERRORED", "STARTING->ERRORED")
        return sum(one in used or one.endswith("->BROKEN") for one in self.changes(component))

    def client(self, component: str) -> psutil.Process:
        """The docker client that runs the container."""
        name = f"{component}.{self.thing}"
        # Otherwise a new process could pass for an ended process of the same number.
        psutil.process_iter.cache_clear()
        [found] = [
            one
            for one in psutil.process_iter(["cmdline"])
            if (line := one.info["cmdline"] or [])[:2] == ["docker", "run"] and name in line
        ]
        return found

    def leftovers(self) -> list[psutil.Process]:
        """The sessions of its scripts, which a killed nucleus leaves running."""
        sessions = {int(one.stem) for one in (self.root / "processes").glob("*.birth")}
        found = []
        for pid in psutil.pids():
            with suppress(OSError, psutil.NoSuchProcess):
                if os.getsid(pid) in sessions:
                    found.append(psutil.Process(pid))
        return found


class Lab:
    """Both devices, and the engine behind their views."""

    def __init__(self, engine: Dockerd, folder: Path, sockets: Path, stack: ExitStack) -> None:
        self.engine = engine
        self.devices = [
            Device(flavour, folder / f"{flavour} root", sockets / f"{flavour}.sock")
            for flavour in ("java", "lite")
        ]
        self._stack = stack
        self._settled = 0.0
        for one in self.devices:
            stack.callback(one.server.close)
            view = [sys.executable, "-m", "greenhouse.device.docker_socket"]
            started = subprocess.Popen(
                [*view, one.thing, str(one.root), str(one.engine)],
                cwd=PROJECT_DIR,
                env=os.environ | {"DOCKER_HOST": engine.host},
            )
            stack.callback(started.wait)
            stack.callback(started.terminate)
            until(one.engine.exists, "it is heard")

    def boot(self) -> None:
        for one in self.devices:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("DOCKER_HOST", f"unix://{one.engine}")
                options = ("--flavour", one.flavour)
                one.process = self._stack.enter_context(
                    device(one.server, one.thing, one.root, *options)
                )

    def nuclei(self, number: signal.Signals) -> None:
        """Send the signal to each nucleus, and wait for its end."""
        for one in self.devices:
            assert one.process
            one.process.send_signal(number)
        for one in self.devices:
            assert one.process
            one.process.wait(60)

    def containers(self) -> list[str]:
        return [f"{name}.{one.thing}" for one in self.devices for name in OURS]

    def each(self, *words: str) -> None:
        """Run a docker command for each container."""
        for name in self.containers():
            self.engine.docker(*words, name)

    def settle(self) -> None:
        """Wait until each container is so old that its end is no crash at the start."""
        wait(max(0.0, self._settled - time.monotonic()))

    def answered(self) -> None:
        self._settled = time.monotonic() + SETTLED_SECONDS


def wait(seconds: float) -> None:
    threading.Event().wait(seconds)


@pytest.fixture(scope="module")
def lab(tools: toolchain.Toolchain, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    assert tools.path, "docker comes from the toolchain"
    needs_root("start an engine of its own")
    folder = Path(tempfile.mkdtemp(dir="/tmp"))  # A socket's path has to be short.
    engine = Dockerd(folder, os.pathsep.join([os.environ["PATH"], *SYSTEM_FOLDERS]))
    engine.start()
    with ExitStack() as stack:
        stack.callback(engine.close)
        engine.build(folder / "root")
        made = Lab(engine, tmp_path_factory.mktemp("gg"), folder, stack)
        made.boot()
        for one in made.devices:
            one.deploy()
        for one in made.devices:
            until(lambda one=one: all(one.answers.values()), f"{one.flavour} answers")  # type: ignore[misc]  # bound per turn
        made.answered()
        yield made
        made.nuclei(signal.SIGTERM)
        assert not engine.docker("ps", "-aq").stdout, "a stopped nucleus leaves nothing"


def restarted_in_good_order(lab: Lab) -> None:
    lab.engine.end()
    lab.engine.start()


def killed(lab: Lab) -> None:
    lab.engine.kill()
    lab.engine.start()


def away_for_30_seconds(lab: Lab) -> None:
    lab.engine.end()
    wait(30)
    lab.engine.start()


def late_by_a_minute_at_boot(lab: Lab) -> None:
    lab.nuclei(signal.SIGTERM)
    lab.engine.end()
    lab.boot()
    wait(60)
    lab.engine.start()


def out_of_memory(lab: Lab) -> None:
    lab.each("kill", "--signal", "USR2")


def clients_killed(lab: Lab) -> None:
    for one in lab.devices:
        for name in OURS:
            one.client(name).kill()


def names_being_removed(lab: Lab) -> None:
    """Paused shims delay the removals for five seconds. Meanwhile the clients end."""
    shims = [lab.engine.shim_of(name) for name in lab.containers()]
    before = [one.said(name, "waiting for docker") for one in lab.devices for name in OURS]
    for shim in shims:
        shim.suspend()
    removals = [
        subprocess.Popen(
            ["docker", "rm", "--force", name], env=os.environ | {"DOCKER_HOST": lab.engine.host}
        )
        for name in lab.containers()
    ]
    clients_killed(lab)
    wait(5)
    for shim in shims:
        shim.resume()
    for removal in removals:
        assert removal.wait(60) == 0
    after = [one.said(name, "waiting for docker") for one in lab.devices for name in OURS]
    assert all(now > then for now, then in zip(after, before, strict=True)), "each has waited"


def nuclei_killed(lab: Lab) -> None:
    lab.nuclei(signal.SIGKILL)
    assert sorted(lab.engine.containers()) == sorted(lab.containers()), "containers outlive them"
    lab.boot()


def power_cut(lab: Lab) -> None:
    """Everything ends at once, except what is on disk. Nucleus and engine start together."""
    lab.nuclei(signal.SIGKILL)
    for one in lab.devices:
        for process in one.leftovers():
            with suppress(psutil.NoSuchProcess):
                process.kill()
    lab.engine.lose_power()
    lab.boot()
    lab.engine.start()
    left = lab.engine.docker("ps", "-a", "--format", "{{.Names}}").stdout.split()
    assert set(left) <= set(lab.containers())


def fault(detail: str) -> Callable[[Lab], None]:
    """The same failure by greenhouse's own fault, which ends the views and not the engine."""

    def happens(lab: Lab) -> None:
        for one in lab.devices:
            Faults(one.root).set(f"engine:{detail}")
        until(lambda: not lab.engine.containers(), "the containers are gone")
        for one in lab.devices:
            until(lambda one=one: not one.engine.exists(), "nobody listens")  # type: ignore[misc]  # bound per turn
        until(
            lambda: all(
                log(one.root, name).rpartition("stdout. answers")[2].count("waiting for docker")
                for one in lab.devices
                for name in OURS
            ),
            "all wait",
        )
        for one in lab.devices:
            Faults(one.root).clear("engine")
        for one in lab.devices:
            until(one.engine.exists, "somebody listens")

    return happens


@dataclass(frozen=True)
class Row:
    """A failure, and whether it is tried in the matrices only."""

    trouble: Callable[[Lab], None]
    matrix: bool = True


# The order matters: after five ends that an engine reports, each within ten minutes of the one
# before, a script gives up. A nucleus that starts begins the count again.
ROWS = {
    "docker stop": Row(lambda lab: lab.each("stop")),
    "docker kill": Row(lambda lab: lab.each("kill"), matrix=False),
    "out of memory": Row(out_of_memory),
    "docker client killed": Row(clients_killed),
    "nucleus killed": Row(nuclei_killed, matrix=False),
    "name being removed": Row(names_being_removed),
    "engine restarted in good order": Row(restarted_in_good_order, matrix=False),
    "engine killed": Row(killed),
    "engine away for 30 s": Row(away_for_30_seconds),
    "power cut": Row(power_cut),
    "fault engine:stopped": Row(fault("stopped"), matrix=False),
    "fault engine:killed": Row(fault("killed")),
    "engine a minute late at boot": Row(late_by_a_minute_at_boot),
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.matrix if row.matrix else ())
        for name, row in ROWS.items()
    ],
)
def test_it_answers_again_without_an_error_a_deployment_or_a_hand(lab: Lab, name: str) -> None:
    row = ROWS[name]
    lab.settle()
    answers = [one.answers for one in lab.devices]
    errors = [[one.errors(ours) for ours in OURS] for one in lab.devices]
    row.trouble(lab)
    began = time.monotonic()
    for one, before in zip(lab.devices, answers, strict=True):
        for ours in OURS:
            until(
                partial(one.answers_again, ours, before[ours]),
                f"{one.flavour}: {ours} answers after {name}: {log(one.root, ours)[-2000:]}",
            )
        print(f"{one.flavour}: {name}: all answer after {time.monotonic() - began:.1f} s")
    lab.answered()
    for one, used in zip(lab.devices, errors, strict=True):
        for ours in OURS:
            until(partial(one.is_running, ours), f"{one.flavour}: {ours} is RUNNING")
        assert [one.errors(ours) for ours in OURS] == used, f"{one.flavour}: an error is used up"
    assert sorted(lab.engine.containers()) == sorted(lab.containers()), "one each"


@pytest.mark.parametrize("seen", together("java-ml-sigkill") + together("lite-ml-power-cut"))
def test_the_container_of_a_killed_nucleus_makes_room_for_another(
    lab: Lab, seen: dict[str, list[str]]
) -> None:
    """The real runtimes did so: containers were left, and others ran after the start."""
    ((part, transcript),) = seen.items()
    start = "started again" if part.startswith("java") else "after boot"
    left, _, after = " ".join(transcript).partition(start)
    ids = [set(re.findall(r"\|([0-9a-f]{12})\b", said)) for said in (left, after)]
    assert all(ids)
    assert not ids[0] & ids[1]
    before = set(lab.engine.docker("ps", "-q").stdout.split())
    answers = [one.answers for one in lab.devices]
    nuclei_killed(lab)
    until(
        lambda: all(
            one.answers[name] > had[name]
            for one, had in zip(lab.devices, answers, strict=True)
            for name in OURS
        ),
        "others answer",
    )
    lab.answered()
    assert not before & set(lab.engine.docker("ps", "-q").stdout.split())


def test_a_running_component_costs_a_shell_and_wakes_nobody(lab: Lab) -> None:
    for one in lab.devices:
        client = one.client(SERVICE)
        shell = client.parent()
        assert shell
        assert shell.children() == [client], "the client, as ever, and no more"
        before = shell.num_ctx_switches(), shell.cpu_times()
        wait(3)  # Anything that polls would do so within three seconds.
        assert (shell.num_ctx_switches(), shell.cpu_times()) == before
        print(f"{one.flavour}: the shell has {shell.memory_info().rss // 1024} kB")


def test_a_nucleus_that_stops_ends_its_containers_before_it_would_kill_them(lab: Lab) -> None:
    """Java gives them five seconds, Lite the recipe's time."""
    stopped = [one.said(name, "stopped") for one in lab.devices for name in OURS]
    began = time.monotonic()
    lab.nuclei(signal.SIGTERM)
    print(f"all are stopped after {time.monotonic() - began:.1f} s")
    assert not lab.engine.docker("ps", "-aq").stdout
    assert [one.said(name, "stopped") for one in lab.devices for name in OURS] == [
        count + 1 for count in stopped
    ], "each by SIGTERM"
    assert not any(one.said(name, "Going to kill") for one in lab.devices for name in OURS)
    answers = [one.answers for one in lab.devices]
    lab.boot()
    for one, before in zip(lab.devices, answers, strict=True):
        for name in OURS:
            until(partial(one.answers_again, name, before[name]), f"{name} answers")
    lab.answered()


def test_a_container_that_crashes_or_is_killed_at_three_starts_is_broken(lab: Lab) -> None:
    """The service ends with a code of its own, the consumer by SIGKILL within ten seconds."""
    lab.settle()
    signals = {SERVICE: "USR1", CONSUMER: "KILL"}
    ends = {(one.flavour, name): 0 for one in lab.devices for name in OURS}
    while living := [
        (one, name) for one in lab.devices for name in OURS if not one.is_broken(name)
    ]:
        answers = [one.answers[name] for one, name in living]
        for one, name in living:
            lab.engine.docker("kill", "--signal", signals[name], f"{name}.{one.thing}")
            ends[one.flavour, name] += 1
        for (one, name), before in zip(living, answers, strict=True):
            until(
                partial(one.answers_again_or_never, name, before),
                f"{one.flavour}: {name} starts again, or never: {log(one.root, name)[-2000:]}",
            )
    expected = {SERVICE: 3, CONSUMER: 1 + 3}  # The consumer's first container was an old one.
    assert ends == {(one.flavour, name): expected[name] for one in lab.devices for name in OURS}
    assert not lab.engine.containers()
