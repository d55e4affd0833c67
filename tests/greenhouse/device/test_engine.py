"""A component in a container, and everything that can become of its engine: it answers again.

The scripts are the release's own (infra/publish/scripts.py), around a container that answers five
times a second; device, shell, docker client and engine are real. No row may cost one of the three
errors an hour, needs a deployment or a hand. How long each took is printed (`pytest -rP`).
"""

from __future__ import annotations

import re
import secrets
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from greenhouse import toolchain
from infra.publish import scripts
from tests.greenhouse.device.bench import GROUP_ARN, recipe
from tests.greenhouse.device.engine import Engine, docker
from tests.greenhouse.device.recorded import together
from tests.greenhouse.device.test_process import Server, device, log, until

pytestmark = pytest.mark.docker

IMAGE = "greenhouse/runtime:bookworm"
SETTLED_SECONDS = scripts._QUICK_SECONDS + 1  # an earlier end would count as the container's own

# Answers until SIGTERM; SIGUSR1 has it take more memory than it may have.
ANSWERS = (
    "import signal, sys, time, uuid\n"
    "name = uuid.uuid4().hex\n"
    "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\n"
    "signal.signal(signal.SIGUSR1, lambda *_: bytes(b'x' * (1 << 28)))\n"
    "while True:\n"
    "    print('answer of', name, flush=True)\n"
    "    time.sleep(0.2)"
)


@dataclass
class Lab:
    """A device of either flavour with an engine of its own, and the component on it."""

    server: Server
    engine: Engine
    root: Path
    flavour: str
    thing: str = field(default_factory=lambda: f"engine-{secrets.token_hex(4)}")
    stack: ExitStack = field(default_factory=ExitStack)
    process: subprocess.Popen[str] | None = None

    def boot(self) -> None:
        self.process = self.stack.enter_context(
            device(self.server, self.thing, self.root, "--flavour", self.flavour)
        )

    def kill_nucleus(self) -> None:
        assert self.process
        self.process.kill()
        self.process.wait()

    @property
    def java(self) -> bool:
        return self.flavour == "java"

    @property
    def answering(self) -> list[str]:
        """The containers that have answered so far, each once, oldest first."""
        return list(dict.fromkeys(re.findall(r"answer of (\w+)", log(self.root, "app"))))

    @property
    def changes(self) -> list[str]:
        return re.findall(r": app \S+: (\w+->\w+)", log(self.root, "greengrass"))

    @property
    def errors(self) -> int:
        """Of the three an hour: Lite goes back to STARTING, Java to ERRORED."""
        used = ("RUNNING->STARTING", "RUNNING->ERRORED", "STARTING->ERRORED")
        return sum(change in used or change.endswith("->BROKEN") for change in self.changes)

    @property
    def container(self) -> str:
        (found,) = self.engine.containers
        return found

    @property
    def client(self) -> psutil.Process:
        """The `docker run` of the component."""
        mine = f"app.{self.thing}"
        psutil.process_iter.cache_clear()  # it may take a process for an ended one with its number
        (found,) = (
            one
            for one in psutil.process_iter(["cmdline"])
            if (said := one.info["cmdline"] or [""])[0] == "docker"
            and said[1:2] == ["run"]
            and mine in said
        )
        return found

    def run(self) -> None:
        """Deploy it and wait until its container is old enough to be missed."""
        command = " ".join(
            (
                'docker run --rm --init --log-driver none --name "$c" --network none',
                f"--label {self.thing} --memory 64m --memory-swap 64m",
                f'--entrypoint /usr/bin/python3 {IMAGE} -c "{ANSWERS}"',
            )
        )
        run = scripts.stays("app.$AWS_IOT_THING_NAME", command)
        self.server.cloud.publish(recipe("app", lifecycle={"run": run}))
        self.server.cloud.create_deployment({"app": "1.0.0"}, target=GROUP_ARN)

    def wait(self, seconds: float) -> None:
        threading.Event().wait(seconds)


@pytest.fixture(params=["java", "lite"])
def lab(
    request: pytest.FixtureRequest,
    tools: toolchain.Toolchain,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Lab]:
    assert tools.path, "docker comes from the toolchain"
    server = Server()
    thing = f"engine-{secrets.token_hex(4)}"
    with tempfile.TemporaryDirectory(prefix="engine-") as folder:  # a socket's path is short
        engine = Engine(Path(folder) / "docker.sock", thing)
        monkeypatch.setenv("DOCKER_HOST", engine.host)
        made = Lab(server, engine, tmp_path / "gg", request.param, thing)
        try:
            with made.stack:
                yield made
                if made.process and made.process.poll() is None:
                    made.process.send_signal(signal.SIGTERM)
                    made.process.communicate(timeout=60)
        finally:
            engine.close()
            server.close()


def restarted_in_good_order(lab: Lab) -> None:
    lab.engine.stop()
    lab.wait(3)
    lab.engine.start()


def killed(lab: Lab) -> None:
    lab.engine.kill()
    lab.wait(3)
    lab.engine.start()


def away_for_30_seconds(lab: Lab) -> None:
    lab.engine.stop()
    lab.wait(30)
    lab.engine.start()


def docker_stop(lab: Lab) -> None:
    docker("stop", lab.container)


def docker_kill(lab: Lab) -> None:
    docker("kill", lab.container)


def out_of_memory(lab: Lab) -> None:
    docker("kill", "--signal", "USR1", lab.container)


def client_killed(lab: Lab) -> None:
    lab.client.kill()


def nucleus_killed(lab: Lab) -> None:
    lab.kill_nucleus()
    assert lab.engine.containers, "a container outlives its nucleus"
    lab.boot()


def name_being_removed(lab: Lab) -> None:
    """Its container is killed and another one has its name for a while (case 15)."""
    lab.client.kill()
    docker("rm", "--force", lab.container)
    docker(
        *("run", "--detach", "--rm", "--init", "--network", "none", "--label", lab.thing),
        *("--name", f"app.{lab.thing}", "--entrypoint", "/bin/sleep", IMAGE, "1"),
    )


@dataclass(frozen=True)
class Row:
    trouble: Callable[[Lab], None]
    within: float  # seconds from the engine's, or the trouble's, end to the next answer


ROWS = {
    "engine restarted in good order": Row(restarted_in_good_order, 10),
    "engine killed": Row(killed, 10),
    "engine away for 30 s": Row(away_for_30_seconds, 10),
    "docker stop": Row(docker_stop, 10),
    "docker kill": Row(docker_kill, 10),
    "out of memory": Row(out_of_memory, 10),
    "docker client killed": Row(client_killed, 10),
    "name being removed": Row(name_being_removed, 20),
}


def answers_again(lab: Lab, before: list[str], begun: float, what: str, within: float) -> None:
    until(lambda: len(lab.answering) > len(before), f"another container answers after {what}")
    seconds = time.monotonic() - begun
    until(lambda: lab.changes[-1] == "STARTING->RUNNING", "it is RUNNING")
    assert (lab.errors, len(lab.engine.containers)) == (0, 1), lab.changes
    print(f"{lab.flavour}: {what}: the next answer after {seconds:.1f} s, {lab.errors} errors")
    assert seconds < within, what


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(
            row,
            id=name,
            marks=() if name == "engine restarted in good order" else pytest.mark.matrix,
        )
        for name, row in ROWS.items()
    ],
)
def test_it_answers_again_without_an_error_a_deployment_or_a_hand(lab: Lab, row: Row) -> None:
    lab.engine.start()
    lab.boot()
    lab.run()
    until(lambda: bool(lab.answering), "it answers")
    lab.wait(SETTLED_SECONDS)
    before = lab.answering
    row.trouble(lab)
    answers_again(lab, before, time.monotonic(), row.trouble.__name__, row.within)


def test_an_engine_that_is_late_at_boot_is_waited_for(lab: Lab) -> None:
    """The nucleus has no engine for 15 s; before it came, the release was deployed."""
    lab.engine.start()
    lab.boot()
    lab.run()
    until(lambda: bool(lab.answering), "it answers")
    before = lab.answering
    lab.kill_nucleus()
    lab.engine.kill()
    lab.boot()
    lab.wait(15)
    lab.engine.start()
    answers_again(lab, before, time.monotonic(), "an engine late at boot", 10)


def test_who_is_killed_again_and_again_is_broken_in_the_end(lab: Lab) -> None:
    """Killed within ten seconds of each start: an error each, and the third is the last."""
    lab.engine.start()
    lab.boot()
    lab.run()
    for times in (1, 2, 3):
        until(lambda times=times: len(lab.answering) == times, "it answers")  # type: ignore[misc]  # bound per turn
        docker("kill", lab.container)
    until(lambda: lab.changes[-1].endswith("->BROKEN"), "it is BROKEN")
    assert not lab.engine.containers


@pytest.mark.parametrize(
    ("lab", "seen"),
    [
        pytest.param("java", *together("java-ml-sigkill")[0].values),
        pytest.param("lite", *together("lite-ml-power-cut")[0].values),
    ],
    indirect=["lab"],
)
def test_what_a_killed_nucleus_left_makes_room_for_another(
    lab: Lab, seen: dict[str, list[str]]
) -> None:
    """So did the real ones: containers were left behind, and others ran after the start."""
    (transcript,) = seen.values()
    left, _, after = " ".join(transcript).partition("started again" if lab.java else "after boot")
    ids = [set(re.findall(r"\|([0-9a-f]{12})\b", said)) for said in (left, after)]
    assert all(ids)
    assert not ids[0] & ids[1]
    lab.engine.start()
    lab.boot()
    lab.run()
    until(lambda: bool(lab.answering), "it answers")
    before, container = lab.answering, lab.container
    nucleus_killed(lab)
    answers_again(lab, before, time.monotonic(), "a nucleus killed", 30)
    assert lab.container != container
