"""Which engine and which client are chosen, and the message for a person without them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from greenhouse.processes import ProcessFailed
from greenhouse.toolchain import ToolchainFailed, docker, stop_engine
from tests.greenhouse.toolchain.machine import Machine

# The output of `docker` where an engine of version 20.10.24 runs.
CLIENT = """
case "$1" in
  --version) echo "Docker version {version}, build e6534b4" ;;
  buildx) exit {buildx} ;;
  version) echo 20.10.24 ;;
  ps) echo "{containers}" ;;
esac
"""
# An engine as far as we use it: it answers /_ping, and ends on SIGTERM.
ENGINE = """
exec {python} -c '
import http.server, socketserver
class Engine(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_): pass
socketserver.UnixStreamServer("{socket}", Engine).serve_forever()
'
"""


def client(version: str, *, buildx: bool = False, containers: str = "") -> str:
    return CLIENT.format(version=version, buildx=0 if buildx else 1, containers=containers)


@pytest.fixture
def as_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)


@pytest.fixture
def startable(machine: Machine, as_root: None) -> Iterator[None]:  # noqa: ARG001  # before it
    """A machine with an installed engine that isn't running. It is stopped afterwards."""
    machine.tool("docker", client("20.10.24"))
    machine.tool("dockerd", ENGINE.format(python=sys.executable, socket=machine.socket))
    yield
    machine.tool("docker", client("20.10.24"))
    stop_engine()


@pytest.mark.usefixtures("engine")
def test_a_running_engine_is_used_as_it_is(machine: Machine) -> None:
    machine.tool("docker", client("20.10.24"))
    found = docker.prepare_docker(machine.progress)
    assert (found.engine_version, found.host, found.ours) == ("20.10.24", None, False)
    assert machine.said() == "", "nothing was slow, so there is nothing to say"


def test_an_engine_elsewhere_is_passed_on(
    machine: Machine, engine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.tool("docker", client("20.10.24"))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{engine}")
    assert docker.prepare_docker(machine.progress).host == f"unix://{engine}"


@pytest.mark.usefixtures("as_root")
def test_a_named_engine_that_is_silent_is_not_replaced_by_another(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere.sock")
    with pytest.raises(ToolchainFailed, match=r"(?s)DOCKER_HOST=unix:///nowhere\.sock.*unset"):
        docker.prepare_docker(machine.progress)


def test_an_engine_on_another_machine_is_refused_for_its_mounts(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://build.example.com:2376")
    with pytest.raises(ToolchainFailed, match="mount files of this machine"):
        docker.prepare_docker(machine.progress)


def test_a_socket_without_an_engine_is_no_engine(machine: Machine, tmp_path: Path) -> None:
    assert not docker.answers(tmp_path / "absent.sock")
    machine.socket.touch()
    assert not docker.answers(machine.socket), (
        "leftovers of a killed engine would be taken for an engine"
    )


def test_someone_without_rights_is_told_the_group(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(docker, "answers", refuse)
    with pytest.raises(ToolchainFailed, match=r'sudo usermod -aG docker "\$\(id -un\)"'):
        docker.prepare_docker(machine.progress)


def test_someone_who_is_not_root_is_told_what_to_install(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(
        ToolchainFailed, match=r"(?s)systemctl start docker.*apt-get install docker\.io"
    ):
        docker.prepare_docker(machine.progress)
    assert machine.calls() == [], "nothing is installed behind their back"


@pytest.mark.usefixtures("as_root")
def test_the_docs_are_named_if_there_is_no_apt(machine: Machine) -> None:
    with pytest.raises(ToolchainFailed, match=r"docs\.docker\.com"):
        docker.prepare_docker(machine.progress)


@pytest.mark.usefixtures("startable")
def test_missing_package_lists_are_fetched_and_the_install_is_done_again(machine: Machine) -> None:
    dockerd = machine.bin / "dockerd"
    kept = dockerd.rename(machine.bin / "dockerd.deb")
    lists = machine.bin / "lists"
    machine.tool(
        "apt-get",
        f'if [ "$1" = update ]; then touch {lists}; exit 0; fi\n'
        f"[ -e {lists} ] || {{ echo Unable to locate package docker.io; exit 100; }}\n"
        f"mv {kept} {dockerd}",
    )
    assert docker.prepare_docker(machine.progress).ours
    verbs = [call.split()[1] for call in machine.calls("apt-get")]
    assert verbs == ["install", "update", "install"]


@pytest.mark.usefixtures("startable")
def test_an_engine_that_we_started_outlives_us_and_is_ours_to_stop(machine: Machine) -> None:
    found = docker.prepare_docker(machine.progress)
    assert found.ours
    assert f"--data-root {machine.cache}" in machine.calls("dockerd")[0], (
        "images that lie in the checkout would be loaded again for each"
    )
    again = docker.prepare_docker(machine.progress)
    assert again.ours
    assert len(machine.calls("dockerd ")) == 1, "it was running, so no second one is started"
    assert stop_engine()
    assert not docker.answers(machine.socket)
    assert not stop_engine(), "it is stopped already"


@pytest.mark.usefixtures("startable")
def test_an_engine_with_containers_on_it_is_left_running(machine: Machine) -> None:
    docker.prepare_docker(machine.progress)
    machine.tool("docker", client("20.10.24", containers="4c01db0b339c"))
    assert not stop_engine(), "another checkout's device would lose its containers"
    assert docker.answers(machine.socket)


def test_an_engine_that_was_there_before_us_is_not_ours_to_stop(
    machine: Machine, engine: Path
) -> None:
    machine.tool("docker", client("20.10.24"))
    docker.prepare_docker(machine.progress)
    assert not stop_engine()
    assert docker.answers(engine)


@pytest.mark.usefixtures("as_root")
def test_an_engine_that_does_not_start_says_its_own_reason_and_its_log(machine: Machine) -> None:
    machine.tool("dockerd", "echo failed to mount overlay: operation not permitted; exit 1")
    with pytest.raises(ProcessFailed, match=r"operation not permitted[^$]*dockerd\.log"):
        docker.prepare_docker(machine.progress)


@pytest.mark.usefixtures("engine")
def test_a_client_that_can_not_build_is_passed_over(machine: Machine) -> None:
    machine.tool("docker", client("28.2.2"))
    older = machine.tool("docker", client("20.10.24"), machine.bin / "debian")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{machine.bin}:{older.parent}")
        found = docker.prepare_docker(machine.progress)
    assert found.client == older, "28 without buildx refuses to build; 20.10 carries BuildKit"


@pytest.mark.usefixtures("engine")
def test_a_newer_client_with_its_plugin_is_the_machines_choice(machine: Machine) -> None:
    newer = machine.tool("docker", client("28.2.2", buildx=True))
    assert docker.prepare_docker(machine.progress).client == newer


@pytest.mark.usefixtures("engine")
def test_without_any_building_client_each_refusal_is_named(machine: Machine) -> None:
    machine.tool("docker", client("28.2.2"))
    with pytest.raises(ToolchainFailed, match=r"(?s)28\.2\.2 can't build: .* no buildx.*Install"):
        docker.prepare_docker(machine.progress)
