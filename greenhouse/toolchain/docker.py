"""A Docker engine on this machine, and a client that can build on it.

The engine has to be local. greenhouse's devices mount files and Unix sockets of this machine into
their containers, and pull from a registry on its loopback. An engine that answers is used
unchanged. If none answers, root on a Debian-like machine gets Debian's own engine. It is started by
hand, because containers and CI machines have no systemd. Its images live in the user's cache, so
they stay when the engine ends.
"""

from __future__ import annotations

import http.client
import os
import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from greenhouse.processes import Processes
from greenhouse.toolchain import cache
from greenhouse.toolchain.commands import ToolchainFailed, ask, install
from greenhouse.toolchain.progress import Progress
from infra.errors import told

DEFAULT_SOCKET = Path("/var/run/docker.sock")
START_SECONDS = 60.0
BUILDX_SINCE = (
    23  # BuildKit is built in before 23.0: https://docs.docker.com/engine/release-notes/23.0/
)
_ENGINE = "dockerd"
# Packages put them here, whatever PATH says.
CLIENT_FOLDERS = ("/usr/bin",)
SYSTEM_FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin")


@dataclass(frozen=True, kw_only=True)
class Docker:
    """A client that builds, and the engine that it uses."""

    client: Path
    client_version: str
    engine_version: str
    host: str | None  # DOCKER_HOST, if the engine is not at the default socket.
    ours: bool  # We started it, so `stop_engine` ends it.

    @property
    def env(self) -> dict[str, str]:
        """BuildKit also in clients that don't use it by default."""
        return {"DOCKER_BUILDKIT": "1", **({"DOCKER_HOST": self.host} if self.host else {})}

    def argv(self, *arguments: str) -> list[str]:
        return [str(self.client), *arguments]

    def ask(self, *arguments: str) -> str | None:
        """The output of a short command. None if it fails."""
        return ask(*self.argv(*arguments), env=self.env)


class _Socket(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=5)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def answers(path: Path) -> bool:
    """Whether an engine answers at the socket. Raises PermissionError if we may not ask."""
    connection = _Socket(path)
    try:
        connection.request("GET", "/_ping")
        return connection.getresponse().status == http.HTTPStatus.OK
    except PermissionError:
        raise
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def prepare_docker(progress: Progress) -> Docker:
    """The engine that answers, or one that we start, and the first client that can build on it."""
    host = os.environ.get("DOCKER_HOST") or None
    path = _socket_of(host)
    try:
        running = answers(path)
    except PermissionError as error:
        raise ToolchainFailed(
            told(
                f"a Docker engine listens at {path}, but your user may not use it.",
                "Join the group docker, and log in again:",
                'sudo usermod -aG docker "$(id -un)"',
            )
        ) from error
    if not running and host:
        raise ToolchainFailed(
            told(
                f"DOCKER_HOST={host}, but no Docker engine answers there.",
                "Start it, or use the machine's own engine:",
                "unset DOCKER_HOST",
            )
        )
    if not running:
        with cache.locked(
            "engine", waiting=lambda: progress.note("another process starts the Docker engine")
        ):
            if not answers(path):
                _start(progress)
    return _with_client(host, path)


def stop_engine() -> bool:
    """Stop the engine that we started, unless containers run on it. True if it was stopped."""
    processes = _processes()
    if processes.find(_ENGINE) is None:
        return False
    if _with_client(None, DEFAULT_SOCKET).ask("ps", "--quiet"):
        return False  # Another checkout's devices.
    processes.stop(_ENGINE)
    return True


def _processes() -> Processes:
    return Processes(run=cache.folder() / "run", logs=cache.folder() / "logs")


def _socket_of(host: str | None) -> Path:
    if host is None:
        return DEFAULT_SOCKET
    if not host.startswith("unix://"):
        raise ToolchainFailed(
            told(
                f"DOCKER_HOST={host} may be another machine.",
                "The devices of greenhouse mount files of this machine. Use its own engine, or name"
                " another local engine's socket:",
                "unset DOCKER_HOST",
                "export DOCKER_HOST=unix://PATH",
            )
        )
    return Path(host.removeprefix("unix://"))


def _start(progress: Progress) -> None:
    """Start dockerd apart from this process, and return when it answers."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), *SYSTEM_FOLDERS])
    if os.geteuid() != 0:
        raise ToolchainFailed(
            told(
                f"no Docker engine answers at {DEFAULT_SOCKET}, and only root can start one.",
                "Start it, or install it and log in again, or name an engine at another socket:",
                "sudo systemctl start docker",
                'sudo apt-get install docker.io && sudo usermod -aG docker "$(id -un)"',
                "export DOCKER_HOST=unix://PATH",
            )
        )
    if shutil.which("dockerd", path=path) is None:
        _install(progress)
        if answers(DEFAULT_SOCKET):  # The package's own service started it.
            return
    with progress.step("starting the Docker engine (none was running)"):
        _processes().start(
            _ENGINE,
            [_ENGINE, "--data-root", str(cache.folder() / "engine")],
            env={"PATH": path},
            cwd=Path("/"),
            ready=lambda: answers(DEFAULT_SOCKET),
            timeout=START_SECONDS,
        )


def _install(progress: Progress) -> None:
    if shutil.which("apt-get") is None:
        raise ToolchainFailed(
            told(
                "no Docker engine is installed.",
                "This machine has no apt-get, so install one by hand:"
                " https://docs.docker.com/engine/install/",
            )
        )
    with progress.step("installing docker.io from Debian (no Docker engine is installed)"):
        install("docker.io", "iptables")


def _clients() -> Iterator[Path]:
    """Every docker client on the machine, in the order in which the machine would choose."""
    seen = set()
    for folder in [*cache.other_path().split(os.pathsep), *CLIENT_FOLDERS]:
        path = Path(folder, "docker")
        if os.access(path, os.X_OK) and (real := path.resolve()) not in seen:
            seen.add(real)
            yield real


def _with_client(host: str | None, socket_path: Path) -> Docker:
    refused = []
    for client in _clients():
        # It says: Docker version 20.10.24+dfsg1, build 297e128.
        said = ask(client, "--version") or ""
        version = said.removeprefix("Docker version ").partition(",")[0]
        if not version[:1].isdigit():
            refused.append(f"{client} is no docker client")
            continue
        if int(version.split(".")[0]) >= BUILDX_SINCE and ask(client, "buildx", "version") is None:
            refused.append(f"{client} {version} can't build: it has no buildx plugin")
            continue
        engine = ask(
            client,
            "version",
            "--format={{.Server.Version}}",
            env={"DOCKER_HOST": f"unix://{socket_path}"},
        )
        if engine is None:
            refused.append(f"{client} {version} and the engine don't understand each other")
            continue
        return Docker(
            client=client,
            client_version=version,
            engine_version=engine,
            host=host,
            ours=host is None and _processes().find(_ENGINE) is not None,
        )
    raise ToolchainFailed(
        told(
            "the Docker engine runs, but no docker client here can build on it"
            f" ({'; '.join(refused) or 'there is none'}).",
            "Install Docker's own plugin, or Debian's client:",
            "sudo apt-get install docker-buildx-plugin",
            "sudo apt-get install docker.io",
        )
    )
