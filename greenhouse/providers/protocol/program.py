"""Which program is asking.

A plugin that the engine starts shares the program's folder; one that it attaches to doesn't, and no
request says where the program is. But the engine asks over a loopback connection, and the process
at the other end of it is the `pulumi` that runs in that folder.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import psutil

_PROJECT_FILES = ("Pulumi.yaml", "Pulumi.yml", "Pulumi.json")


class NoProgram(Exception):
    """The program's folder can't be found; the message says what to do."""


def process_of(peer: str, port: int) -> psutil.Process | None:
    """The process behind a gRPC peer such as `ipv4:127.0.0.1:40312` of our port.

    None when it has ended, or is another user's that we may not look at.
    """
    ends = (int(peer.rpartition(":")[2]), port)  # a port of its own may serve other connections too
    for connection in psutil.net_connections("tcp"):
        near, far = connection.laddr, connection.raddr
        if connection.pid and near and far and (near.port, far.port) == ends:
            return psutil.Process(connection.pid)
    return None


def environment_of(process: psutil.Process | None) -> Mapping[str, str]:
    """The variables that a plugin started by this process would see; none where it can't be read.

    /proc keeps those that a process was started with, so our own are asked for directly.
    """
    if process is None:
        return {}
    if process.pid == os.getpid():
        return os.environ
    try:
        return process.environ()
    except psutil.Error:
        return {}


def folder_of(process: psutil.Process | None) -> Path:
    """The nearest folder with a Pulumi.yaml, from the process's own folder upwards."""
    if process is None:
        raise NoProgram(
            "Relative paths belong to the program's folder, but the process that asks can't be"
            " seen. Run pulumi as the user who started greenhouse: python -m greenhouse status"
            " lists its processes"
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
