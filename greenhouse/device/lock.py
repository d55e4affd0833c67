"""Allows one device for each thing on a machine, whichever greenhouse it belongs to.

Containers are named after the thing, so two devices of one thing would remove each other's
containers. The lock is an abstract Unix socket. The kernel frees it with its process, and its
holder can say where the device's folder is.

Other users' devices count as well, so the lock can't be a file in a private folder. Another user
can therefore take the name first, as with any lock that both can reach. The kernel says who did.
"""

from __future__ import annotations

import asyncio
import hashlib
import pwd
import socket
import struct
from pathlib import Path

from infra.errors import told
from infra.printable import printable

ANSWER_SECONDS = 2.0
_CREDENTIALS = struct.Struct("iII")  # Process, user and group: struct ucred in unix(7).


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
    """What the holder says of its folder, and what the kernel says of the holder."""
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(ANSWER_SECONDS)
        try:
            line.connect(address)
        except OSError:
            return "(it doesn't answer)"
        of = line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        try:
            # Any user of the machine may hold this name and answer anything.
            said = line.recv(4096).decode(errors="backslashreplace") or "(it doesn't say)"
        except OSError:
            said = "(it doesn't answer)"
    pid, user, _ = _CREDENTIALS.unpack(of)
    return f"{printable(said)} (pid {pid} of {_name(user)})"


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"user {user}"
