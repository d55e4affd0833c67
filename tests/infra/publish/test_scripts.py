"""The scripts of the recipes under a real shell, with a `docker` that simulates each failure.

The test controls time: `/proc/uptime` is a file, and a pause takes a hundredth of a second.

The file is long because one `docker` simulates all of the failures.
"""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from greenhouse.device.flavours.lite.flavour import Lite
from greenhouse.device.recipe.interpolation import Names, render
from greenhouse.device.recipe.recipes import Script, Step
from infra.names import CHECK, CONSUMER, SERVICE
from tests.infra.publish.test_recipe import NUCLEUS, lifecycle

# Its state is in its folder. `container` has the pid of the client that runs a container. `away`
# means that no engine answers, `removing` that it still removes the last container, `starting` that
# a start takes time. A code written to the pipe `ends` ends the container.
DOCKER = r"""#!/bin/sh
cd FOLDER; echo "$*" >>asked
if [ -e away ]; then
  cat away >&2; [ "$1" != run ] || exit 125; exit 1
fi
case $1 in
ps) [ ! -e removing ] || echo beef; [ ! -e container ] || echo cafe;;
rm)
  if [ -e removing ]; then rm removing; echo "removal is already in progress" >&2; exit 1; fi
  read -r pid <container && kill -9 "$pid"; rm -f container;;
stop)
  read -r pid <container || exit 1
  kill "$pid" || exit 1; while [ -e container ]; do /bin/sleep 0.01; done;;
run)
  if [ -e starting ]; then echo >started; /bin/sleep 60 & wait; fi
  if [ -e container ]; then echo "name is already in use" >&2; exit 125; fi
  trap 'kill $!; rm -f container; exit 0' TERM
  echo $$ >container.new; mv container.new container
  cat ends >code & wait $!
  rm -f container; exit "$(cat code)";;
esac 2>/dev/null
"""
AWAY = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is it running?"


def eventually(happened: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < deadline, f"not within 30 s: {what}"
        time.sleep(0.005)


class Machine:
    """A device with one component's script, and the engine that it meets."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.work = folder / "work"
        self.work.mkdir()
        os.mkfifo(folder / "ends")
        self._put("docker", DOCKER.replace("FOLDER", str(folder)))
        self._put("sleep", "#!/bin/sh\nexec /bin/sleep 0.01\n")
        self._put("cut", f"#!/bin/sh\nexec /bin/cat {folder}/uptime\n")
        self.uptime(1000)
        (folder / "asked").touch()
        self.started: list[subprocess.Popen[str]] = []

    def _put(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)
        (self.folder / name).chmod(0o755)

    def uptime(self, seconds: int) -> None:
        (self.folder / "uptime.new").write_text(f"{seconds}\n")
        (self.folder / "uptime.new").rename(self.folder / "uptime")

    def pass_time(self, seconds: int) -> None:
        self.uptime(int((self.folder / "uptime").read_text()) + seconds)

    def start(self, name: str = SERVICE) -> subprocess.Popen[str]:
        steps = lifecycle(name)
        script = str((steps.get("run") or steps["startup"])["Script"])
        script = script.replace("{artifacts:path}", "/files").replace("{work:path}", str(self.work))
        process = subprocess.Popen(
            ["/bin/sh", "-c", script],
            env={"PATH": f"{self.folder}:/usr/bin:/bin", **NUCLEUS},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.started.append(process)
        return process

    @property
    def asked(self) -> list[str]:
        return [line.split()[0] for line in (self.folder / "asked").read_text().splitlines()]

    @property
    def runs(self) -> int:
        return self.asked.count("run")

    def container(self) -> int:
        """The pid of the container's client, as soon as the container exists."""
        eventually(lambda: self._shown() != 0, "a container")
        return int((self.folder / "container").read_text())

    def next_container(self, before: int) -> int:
        eventually(lambda: self._shown() not in (0, before), "another container")
        return int((self.folder / "container").read_text())

    def _shown(self) -> int:
        """0 if no container is there, or if it has just ended."""
        try:
            return int((self.folder / "container").read_text())
        except (FileNotFoundError, ValueError):
            return 0

    def ends(self, code: int) -> None:
        (self.folder / "ends").write_text(f"{code}\n")

    def engine_goes(self, why: str = AWAY) -> None:
        (self.folder / "away").write_text(why)

    def engine_comes(self) -> None:
        (self.folder / "away").unlink()

    def await_calls(self, count: int) -> None:
        before = len(self.asked)
        eventually(lambda: len(self.asked) >= before + count, "the engine is asked again")


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path)
    yield made
    for process in made.started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def code_of(process: subprocess.Popen[str]) -> int:
    return process.wait(timeout=30)


stays = pytest.mark.parametrize("name", [SERVICE, CONSUMER])


# What comes back, and costs none of Greengrass' three errors


@stays
@pytest.mark.parametrize(
    "code", [pytest.param(0, id="stopped in good order"), pytest.param(125, id="killed")]
)
@pytest.mark.parametrize("lived", [1, 3600])
def test_an_engine_that_goes_and_comes_back_finds_its_container_started_again(
    machine: Machine, name: str, code: int, lived: int
) -> None:
    script = machine.start(name)
    first = machine.container()
    machine.pass_time(lived)
    machine.engine_goes()
    machine.ends(code)
    machine.await_calls(30)
    assert machine.runs == 1, "nothing is asked of an engine that doesn't answer"
    machine.engine_comes()
    machine.next_container(first)
    assert script.poll() is None, "Greengrass has seen no end"


@stays
def test_an_engine_that_is_late_at_boot_is_waited_for(machine: Machine, name: str) -> None:
    machine.engine_goes()
    script = machine.start(name)
    machine.await_calls(180)
    assert machine.runs == 0
    machine.engine_comes()
    machine.container()
    assert script.poll() is None


@stays
@pytest.mark.parametrize(
    "code",
    [
        pytest.param(0, id="docker stop"),
        pytest.param(143, id="docker stop before it could handle it"),
        pytest.param(137, id="docker kill, or out of memory"),
    ],
)
def test_a_container_that_somebody_ended_is_started_again(
    machine: Machine, name: str, code: int
) -> None:
    script = machine.start(name)
    first = machine.container()
    machine.pass_time(10)
    machine.ends(code)
    machine.next_container(first)
    assert script.poll() is None


@stays
def test_a_client_that_is_killed_leaves_a_container_that_makes_room(
    machine: Machine, name: str
) -> None:
    script = machine.start(name)
    first = machine.container()
    machine.pass_time(60)
    os.kill(first, signal.SIGKILL)
    machine.next_container(first)
    assert "rm" in machine.asked
    assert script.poll() is None


@stays
def test_a_name_whose_removal_is_in_progress_is_waited_for(machine: Machine, name: str) -> None:
    (machine.folder / "removing").touch()
    script = machine.start(name)
    machine.container()
    assert machine.runs == 1, "an early docker run would have ended with 125"
    assert script.poll() is None


@stays
def test_the_leftovers_of_a_power_cut_are_cleared_before_the_start(
    machine: Machine, name: str
) -> None:
    (machine.folder / "container").write_text("999999999\n")
    machine.start(name)
    machine.next_container(999999999)
    assert machine.asked[:2] == ["ps", "rm"]


@stays
def test_a_script_that_outlived_its_nucleus_leaves_the_container_to_the_next_one(
    machine: Machine, name: str
) -> None:
    """A killed Java nucleus leaves its scripts running (java-ml-sigkill)."""
    old = machine.start(name)
    first = machine.container()
    machine.pass_time(3600)
    new = machine.start(name)
    second = machine.next_container(first)
    assert code_of(old) == 1
    assert machine.container() == second, "the old one would remove what the new one has started"
    assert new.poll() is None


def test_the_end_of_a_script_that_outlived_its_nucleus_stops_nothing(machine: Machine) -> None:
    machine.engine_goes()
    old = machine.start()
    machine.await_calls(3)
    new = machine.start()
    assert code_of(old) == 1, "both wait for the engine, and one goes on"
    machine.engine_comes()
    machine.container()
    assert machine.runs == 1
    assert new.poll() is None


# What stays an error


@stays
@pytest.mark.parametrize("code", [1, 64, 69, 126, 127, 134, 139])
def test_a_crash_of_the_container_is_a_crash_of_the_component(
    machine: Machine, name: str, code: int
) -> None:
    script = machine.start(name)
    machine.container()
    machine.pass_time(3600)
    machine.ends(code)
    assert code_of(script) == code
    assert machine.runs == 1


@stays
@pytest.mark.parametrize(("code", "seen"), [(0, 1), (125, 125), (137, 137), (143, 143)])
def test_an_end_right_after_the_start_is_no_fault_of_the_engine(
    machine: Machine, name: str, code: int, seen: int
) -> None:
    """The gate looks twice, five seconds apart: what crashes must not look as if it ran."""
    script = machine.start(name)
    machine.container()
    machine.pass_time(9)
    machine.ends(code)
    assert code_of(script) == seen
    assert machine.runs == 1


def test_a_container_that_is_killed_again_and_again_is_an_error_in_the_end(
    machine: Machine,
) -> None:
    script, container = machine.start(), 0
    for _ in range(6):
        container = machine.next_container(container)
        machine.pass_time(60)
        machine.ends(137)
    assert code_of(script) == 137, "out of memory at each large message, it is BROKEN as before"
    assert machine.runs == 6


def test_a_container_that_ran_for_ten_minutes_gets_all_attempts_again(machine: Machine) -> None:
    script, container = machine.start(), 0
    for lived in (60, 60, 60, 60, 600, 60, 60, 60, 60):
        container = machine.next_container(container)
        machine.pass_time(lived)
        machine.ends(0)
    machine.next_container(container)
    assert script.poll() is None


@pytest.mark.parametrize("name", [SERVICE, CONSUMER, CHECK])
@pytest.mark.parametrize(
    "refusal",
    [
        "permission denied while trying to connect to the Docker daemon socket",
        "Error response from daemon: client version 1.50 is too new",
        "sh: 1: docker: not found",
    ],
)
def test_a_failure_that_waiting_can_t_help_fails_at_once_with_its_reason(
    machine: Machine, name: str, refusal: str
) -> None:
    machine.engine_goes(refusal)
    said, _ = machine.start(name).communicate(timeout=30)
    assert said == f"{refusal}\n"
    assert machine.runs == 0


def test_an_operator_reads_once_what_is_waited_for(machine: Machine) -> None:
    machine.engine_goes()
    script = machine.start()
    machine.await_calls(20)
    os.killpg(script.pid, signal.SIGTERM)
    said, _ = script.communicate(timeout=30)
    assert said.count(AWAY) == 1


# The end that Greengrass asks for


@stays
@pytest.mark.parametrize(
    "send",
    [pytest.param(os.killpg, id="to all processes"), pytest.param(os.kill, id="to the shell")],
)
def test_sigterm_ends_script_and_container(
    machine: Machine, name: str, send: Callable[[int, signal.Signals], None]
) -> None:
    script = machine.start(name)
    machine.container()
    send(script.pid, signal.SIGTERM)
    assert code_of(script) == 0, "another code would be a failed unit to systemd"
    assert not (machine.folder / "container").exists()
    assert not list(machine.work.iterdir()), "a destroy leaves nothing behind"
    assert machine.runs == 1


def test_sigterm_ends_a_wait_for_the_engine(machine: Machine) -> None:
    machine.engine_goes()
    script = machine.start()
    machine.await_calls(3)
    os.killpg(script.pid, signal.SIGTERM)
    assert code_of(script) == 0
    assert "stop" not in machine.asked, "a stop would wait for the engine as well"


def test_a_client_that_ends_while_it_asks_for_a_container_gets_it_removed(machine: Machine) -> None:
    (machine.folder / "starting").touch()
    script = machine.start()
    eventually((machine.folder / "started").exists, "a client in the middle of its start")
    os.killpg(script.pid, signal.SIGTERM)
    (machine.folder / "container").write_text("999999999\n")  # The engine had heard it.
    assert code_of(script) == 0
    assert not (machine.folder / "container").exists()


# The check


def test_a_check_waits_two_minutes_for_an_engine_and_not_longer(machine: Machine) -> None:
    machine.engine_goes()
    late = machine.start(CHECK)
    machine.await_calls(180)  # Two calls a second.
    machine.engine_comes()
    machine.container()
    machine.ends(0)
    assert code_of(late) == 0
    machine.engine_goes()
    assert code_of(machine.start(CHECK)) == 1, "no startup is waited for without end"
    assert lifecycle(CHECK)["startup"]["Timeout"] > 120 + 110


@pytest.mark.parametrize("code", [125, 137, 143])
def test_a_check_whose_engine_went_is_made_again(machine: Machine, code: int) -> None:
    script = machine.start(CHECK)
    first = machine.container()
    machine.engine_goes()
    machine.ends(code)
    machine.await_calls(10)
    machine.engine_comes()
    machine.next_container(first)
    machine.ends(0)
    assert code_of(script) == 0


@pytest.mark.parametrize("code", [1, 65, 125, 137, 143])
def test_a_check_that_failed_under_a_living_engine_has_failed(machine: Machine, code: int) -> None:
    script = machine.start(CHECK)
    machine.container()
    machine.ends(code)
    assert code_of(script) == code
    assert machine.runs == 1


# Paths


@pytest.mark.parametrize(
    "root", ["/my folder", "/my projects (edge)", "/a & b; c", "/it's", "/#1", "/glob*"]
)
@pytest.mark.parametrize("flavour", ["java", "lite"])
@pytest.mark.parametrize("name", [SERVICE, CONSUMER, CHECK])
def test_a_root_of_any_name_is_mounted_as_it_is(
    tmp_path: Path, name: str, flavour: str, root: str
) -> None:
    steps = lifecycle(name)
    step = Step.RUN if "run" in steps else Step.STARTUP
    work = tmp_path / root.lstrip("/")
    work.mkdir()
    own = Names({}, Path(root, "artifacts"), Path(root), work, Path(root), "press-1")
    script = Script(text=str(steps[step.value]["Script"]), timeout=None)
    ready = (Lite().render if flavour == "lite" else render)(step, script, own, {})
    asked = tmp_path / "asked"
    docker = tmp_path / "docker"
    docker.write_text(
        f'#!/bin/sh\n[ "$1" = run ] || exit 0\nprintf "%s\\n" "$@" >{asked}\nexit 7\n'
    )
    docker.chmod(0o755)
    subprocess.run(
        ["/bin/sh", "-c", ready.text],
        env={
            "PATH": f"{tmp_path}:/usr/bin:/bin",
            **NUCLEUS,
            "AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT": f"{root}/ipc.socket",
        },
        timeout=30,
        check=False,
    )
    words = asked.read_text().replace("//", "/").splitlines()  # Lite's folders end in a slash.
    mounts = [value for flag, value in itertools.pairwise(words) if flag == "-v"]
    assert mounts[0] == f"{root}/ipc.socket:{root}/ipc.socket"
    assert mounts[1:]
    for mount in mounts[1:]:
        file = mount.removesuffix(":ro").rpartition("/")[2]
        assert mount == f"{root}/artifacts/{file}:/artifacts/{file}:ro"
