"""Allows one device for each thing on a machine, whichever greenhouse it belongs to.

Containers are named after the thing, so two devices of one thing would remove each other's
containers. The lock is an abstract Unix socket. The kernel frees it with its process, and its
holder can say where the device's folder is.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
from pathlib import Path

from infra.errors import told
from infra.printable import printable

ANSWER_SECONDS = 2.0


class Taken(Exception):
    """Another device of this thing runs on this machine. The message names its root folder."""


async def hold(thing: str, root: Path) -> asyncio.Server:
    """Hold the lock until the server is closed. Raises Taken."""
    address = "\0greenhouse-device-" + hashlib.sha256(thing.encode()).hexdigest()

    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(str(root).encode())
        writer.close()

    try:
        return await asyncio.start_unix_server(answer, address)
    except OSError as error:
        owner = await asyncio.to_thread(_ask, address)
        raise Taken(
            told(
                f"a device '{thing}' runs on this machine already, with the root folder {owner}.",
                "Give this device another name (edge-inference:thing in Pulumi.local.yaml), or stop"
                " the other device in its checkout, mostly the folder above .greenhouse. If make"
                " down fails there, make clean stops it:",
                "make down",
                "make clean",
            )
        ) from error


def _ask(address: str) -> str:
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(ANSWER_SECONDS)
        try:
            line.connect(address)
            # Any user of the machine may hold this name and answer anything.
            said = line.recv(4096).decode(errors="backslashreplace")
            return printable(said) or "(it doesn't say)"
        except OSError:
            return "(it doesn't answer)"
