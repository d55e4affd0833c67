"""The IPC socket of one device: connections, and the tokens that identify components.

Every component gets a token (SVCUID) that it keeps over restarts. The socket is open to everyone,
as on both real runtimes: the token is the check. A subscriber that doesn't read blocks nobody
(conformance java-ipc-slow-subscriber). A limit bounds the data that waits for it. Above the limit,
its connection is closed.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import shutil
import socket
import stat
import string
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, cast

from greenhouse.device.ipc.connection import After, Connection
from greenhouse.device.ipc.operations import Host, Operations
from greenhouse.device.ipc.topics import Topics
from greenhouse.files import write_whole

log = logging.getLogger(__name__)

MAX_SOCKET_PATH = 107  # The field sun_path has 108 bytes, the last of which is NUL.
_SHORT = "socket-folder"  # A file of this name remembers the folder.
_MADE_BYTES = 40  # Of a path below the temporary folder: our folder's name and the socket's.
MAX_WAITING_BYTES = 64 * 1024 * 1024
TOKEN_LENGTH = 16


class Connect(Protocol):
    """Makes the device's end of a connection. It is a flavour's `connection`."""

    def __call__(
        self,
        host: Host,
        topics: Topics,
        *,
        thing: str,
        component_of: Callable[[str], str | None],
        send: Callable[[bytes], None],
    ) -> Connection: ...


def connect_java(
    host: Host,
    topics: Topics,
    *,
    thing: str,  # noqa: ARG001  # the Java nucleus has no variables in its policies
    component_of: Callable[[str], str | None],
    send: Callable[[bytes], None],
) -> Connection:
    """The Java nucleus' end of a connection."""
    operations = Operations(host, topics)
    return Connection(operations=operations, topics=topics, component_of=component_of, send=send)


class Broker:
    """Listens from `start` to `stop`."""

    def __init__(
        self,
        root: Path,
        host: Host,
        *,
        name: str = "ipc.socket",
        connect: Connect = connect_java,
        thing: str = "",
        most: float = float("inf"),
    ) -> None:
        root.mkdir(parents=True, exist_ok=True)
        plain = root.resolve() / name
        self._short = None if len(bytes(plain)) <= MAX_SOCKET_PATH else ShortFolder(root)
        self.path = self._short.path / name if self._short else plain
        self._host, self._connect, self._thing = host, connect, thing
        self._most = most  # The limit of simultaneous connections.
        self._topics = Topics()
        self._components: dict[str, str] = {}  # Component names by token.
        self._open: set[_Wire] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        # It belongs to a predecessor, which has ended, as the lock shows.
        self.path.unlink(missing_ok=True)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(lambda: _Wire(self), sock=_bound(self.path))

    async def stop(self) -> None:
        if self._server:
            self._server.close()
        for wire in list(self._open):
            wire.abort()
        self.path.unlink(missing_ok=True)
        if self._short:
            self._short.remove()

    def token(self, component: str) -> str:
        """The component's token, made at the first request."""
        for token, name in self._components.items():
            if name == component:
                return token
        alphabet = string.ascii_uppercase + string.digits
        token = "".join(secrets.choice(alphabet) for _ in range(TOKEN_LENGTH))
        self._components[token] = component
        return token

    def opened(self, wire: _Wire) -> None:
        if len(self._open) >= self._most:
            wire.abort()
        self._open.add(wire)

    def lost(self, wire: _Wire) -> None:
        self._open.discard(wire)

    def connection(self, wire: _Wire) -> Connection:
        return self._connect(
            self._host,
            self._topics,
            thing=self._thing,
            component_of=self._components.get,
            send=wire.send,
        )


class _Wire(asyncio.Protocol):
    """The transport of one connection."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._connection = broker.connection(self)
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A Unix socket gives this transport.
        self._transport = cast(asyncio.WriteTransport, transport)
        self._broker.opened(self)

    def data_received(self, data: bytes) -> None:
        after = self._connection.received(data)
        if after is After.CLOSE and self._transport:
            self._transport.close()

    def connection_lost(self, _error: Exception | None) -> None:
        self._connection.closed()
        self._broker.lost(self)

    def send(self, data: bytes) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        if self._transport.get_write_buffer_size() > MAX_WAITING_BYTES:
            log.warning(
                "IPC of %s: more than %d bytes wait for it; closed",
                self._connection.component,
                MAX_WAITING_BYTES,
            )
            self._transport.abort()
            return
        self._transport.write(data)

    def abort(self) -> None:
        if self._transport:
            self._transport.abort()


def _bound(path: Path) -> socket.socket:
    """A socket that everyone may open who can reach its folder.

    It gets its mode when it is made. A later change by its name would follow a link that somebody
    put there meanwhile.
    """
    made = socket.socket(socket.AF_UNIX)
    before = os.umask(0o111)  # This holds for one call: the device writes no other files meanwhile.
    try:
        made.bind(str(path))
    finally:
        os.umask(before)
    return made


class ShortFolder:
    """A private folder in the machine's temporary folder, for a socket with a short path.

    If TMPDIR itself is too long for a socket, the folder is in /tmp. Nobody can foresee its name,
    so the device remembers it. A successor finds the folder that a killed device left, and uses it
    only if it is still the device's own.
    """

    def __init__(self, root: Path) -> None:
        self._record = root / _SHORT
        self.path = self._remembered() or self._made()

    @classmethod
    def forget(cls, root: Path) -> None:
        """Remove the folder that a killed device left, if it is the device's own."""
        if (root / _SHORT).exists():
            cls(root).remove()

    def remove(self) -> None:
        """Remove the folder and its record."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._record.unlink(missing_ok=True)

    def _remembered(self) -> Path | None:
        try:
            path = Path(self._record.read_text())
            found = path.lstat()
        except FileNotFoundError:
            return None
        private = stat.S_ISDIR(found.st_mode) and stat.S_IMODE(found.st_mode) == 0o700
        return path if private and found.st_uid == os.geteuid() else None

    def _made(self) -> Path:
        shared = tempfile.gettempdir()
        if len(os.fsencode(shared)) + _MADE_BYTES > MAX_SOCKET_PATH:
            shared = "/tmp"  # noqa: S108  # mkdtemp makes a folder that nobody else can enter.
        path = Path(tempfile.mkdtemp(prefix="greenhouse-", dir=shared))
        write_whole(self._record, str(path))
        return path
