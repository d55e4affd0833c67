"""Finds out which program is asking.

A plugin that the engine starts runs in the program's folder. A provider that the engine attaches to
doesn't, and no request names the folder. But the engine asks over a loopback connection, and the
process at its other end is the `pulumi` that runs in that folder.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import psutil

from infra.errors import told

_PROJECT_FILES = ("Pulumi.yaml", "Pulumi.yml", "Pulumi.json")


class NoProgram(Exception):
    """The program's folder can't be found. The message says what to do."""


def process_of(peer: str, port: int) -> psutil.Process | None:
    """The process behind a gRPC peer such as `ipv4:127.0.0.1:40312` of our port.

    None if it has ended, or belongs to another user, so that we may not look at it.
    """
    # A port of its own may serve other connections as well.
    ends = (int(peer.rpartition(":")[2]), port)
    for connection in psutil.net_connections("tcp"):
        near, far = connection.laddr, connection.raddr
        if connection.pid and near and far and (near.port, far.port) == ends:
            return psutil.Process(connection.pid)
    return None


def environment_of(process: psutil.Process | None) -> Mapping[str, str]:
    """The variables that a plugin of this process would see. Empty if they can't be read.

    /proc has the variables with which a process was started. For our own process we ask directly.
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
            told(
                "the process that asks can't be seen, and relative paths start in its folder.",
                "Run pulumi as the user who started greenhouse, whose processes are listed by:",
                "python -m greenhouse status",
            )
        )
    try:
        start = Path(process.cwd())
    except psutil.Error as error:
        raise NoProgram(f"The folder of the process that asks can't be read: {error}") from error
    for folder in (start, *start.parents):
        if any((folder / name).is_file() for name in _PROJECT_FILES):
            return folder
    raise NoProgram(
        f"neither {start} nor a folder above it has a Pulumi.yaml, and relative paths start in its"
        " folder. Run pulumi inside the project, or give it --cwd."
    )
