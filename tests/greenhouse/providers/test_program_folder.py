"""Relative paths belong to the folder of the program that asks."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from greenhouse.providers.protocol.program_folder import NoProgram, folder_of, process_of

ASK = """
import socket, sys
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as connection:
    connection.recv(1)
"""


def test_the_process_behind_a_connection_is_found(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.yaml").touch()
    (tmp_path / "infra").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        with subprocess.Popen([sys.executable, "-c", ASK, port], cwd=tmp_path / "infra") as asking:
            connection, peer = server.accept()
            with connection:
                found = process_of(f"ipv4:127.0.0.1:{peer[1]}", int(port))
                assert found is not None
                assert found.pid == asking.pid
                assert folder_of(found) == tmp_path, "the program is where Pulumi.yaml is"
                connection.send(b".")


def test_a_connection_that_is_gone_is_nobodys() -> None:
    assert process_of("ipv4:127.0.0.1:1", 2) is None
    with pytest.raises(NoProgram, match="Run pulumi as the user who started greenhouse"):
        folder_of(None)


def test_a_process_outside_of_any_program_is_told_where_to_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NoProgram, match=rf"neither {tmp_path} nor .* has a Pulumi.yaml"):
        folder_of(psutil.Process())
