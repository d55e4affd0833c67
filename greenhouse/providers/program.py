"""Which program is asking.

A plugin that the engine starts shares the program's folder; one that it attaches to doesn't, and no
request says where the program is. But the engine asks over a loopback connection, and the process
at the other end of it is the `pulumi` that runs in that folder.
"""

from __future__ import annotations

from pathlib import Path

import psutil

_PROJECT_FILES = ("Pulumi.yaml", "Pulumi.yml", "Pulumi.json")


class NoProgram(Exception):
    """The program's folder can't be found; the message says what to do."""


def process_of(peer: str) -> psutil.Process | None:
    """The process behind a gRPC peer such as `ipv4:127.0.0.1:40312`, None when it isn't ours."""
    port = int(peer.rpartition(":")[2])
    for connection in psutil.net_connections("tcp"):
        if (
            connection.laddr
            and connection.laddr.port == port
            and connection.status == psutil.CONN_ESTABLISHED
            and connection.pid
        ):
            return psutil.Process(connection.pid)
    return None


def folder_of(process: psutil.Process | None) -> Path:
    """The nearest folder with a Pulumi.yaml, from the process's own folder upwards."""
    if process is None:
        raise NoProgram(
            "Relative paths belong to the program's folder, but the process that asks can't be"
            " seen. Run pulumi as the user who started greenhouse (see: greenhouse status)"
        )
    try:
        start = Path(process.cwd())
    except psutil.Error as error:
        raise NoProgram(f"The folder of the process that asks can't be read: {error}") from error
    for folder in (start, *start.parents):
        if any((folder / name).is_file() for name in _PROJECT_FILES):
            return folder
    raise NoProgram(
        f"Relative paths belong to the program's folder, but neither {start} nor a folder above it"
        " has a Pulumi.yaml. Run pulumi inside the project, or give it --cwd"
    )
