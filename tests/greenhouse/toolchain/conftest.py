"""Every test of the toolchain runs on a machine with an empty PATH and an empty cache."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from greenhouse.toolchain import docker
from tests.greenhouse.toolchain.machine import Machine


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine(tmp_path)
    monkeypatch.setenv("PATH", str(made.bin))
    monkeypatch.setenv("XDG_CACHE_HOME", str(made.cache))
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setattr(docker, "DEFAULT_SOCKET", made.socket)
    monkeypatch.setattr(docker, "CLIENT_FOLDERS", ())
    monkeypatch.setattr(docker, "SYSTEM_FOLDERS", ())
    return made


class _Engine(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass

    def address_string(self) -> str:
        return "a Unix socket has no address"


@pytest.fixture
def engine(machine: Machine) -> Iterator[Path]:
    """A server at the default socket that answers like an engine."""
    with socketserver.UnixStreamServer(str(machine.socket), _Engine) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield machine.socket
        server.shutdown()
        thread.join()
