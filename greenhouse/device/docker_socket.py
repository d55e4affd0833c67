"""A device's own view of the Docker engine: python -m greenhouse.device.docker_socket.

Its arguments are the thing's name, the device's root folder and the path of its socket.

All devices of a machine share one engine with other users, so no fault may stop that engine. A
device and its components get a socket of their own in front of it. The fault `engine` ends this
socket as a real engine was observed to end (tests/greenhouse/device/test_engine.py tests both):

    engine:stopped  nobody new is heard, each container gets SIGTERM, then every line is cut
    engine:killed   every line is cut at once, and the containers are gone

Until the fault is cleared, nothing listens there. The containers are those named after the device.
The view is a process of its own, as on a real machine the engine doesn't end with a nucleus.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from greenhouse import docker_engine
from greenhouse.device.ipc.broker import MAX_SOCKET_PATH, ShortFolder
from greenhouse.faults import Faults

ENGINE = "unix:///var/run/docker.sock"
STOP_SECONDS = 10  # The daemon waits 15 s for each container. Ours end in under 2 s.
_FAULT_SECONDS = 0.2


def socket_of(run: Path, thing: str) -> Path:
    """Where a device's view listens: in the folder of running processes, or in a shorter one.

    A thing's name may have 128 characters, so it has no place in the shorter one.
    """
    plain = run.resolve() / f"engine-{thing}.sock"
    if len(bytes(plain)) <= MAX_SOCKET_PATH:
        return plain
    return ShortFolder(run).path / f"{hashlib.sha256(thing.encode()).hexdigest()[:12]}.sock"


class View:
    """Forwards all traffic, unless the fault says that there is no engine."""

    def __init__(self, thing: str, root: Path, socket: Path) -> None:
        self._thing, self._faults, self._socket = thing, Faults(root), socket
        # The real engine, from this process's own environment.
        self._behind = (os.environ.get("DOCKER_HOST") or ENGINE).removeprefix("unix://")
        self._server: asyncio.Server | None = None
        self._lines: set[asyncio.StreamWriter] = set()

    async def run(self, ended: asyncio.Event) -> None:
        self._socket.unlink(missing_ok=True)  # A killed predecessor left it.
        while not ended.is_set():
            fault = self._faults.detail("engine")
            if fault is None and self._server is None:
                self._server = await asyncio.start_unix_server(self._serve, self._socket)
            elif fault is not None and self._server is not None:
                await self._end(gently=fault == "stopped")
            with suppress(TimeoutError):
                async with asyncio.timeout(_FAULT_SECONDS):
                    await ended.wait()
        self._deafen()
        self._cut()
        if self._socket.parent.name.startswith("greenhouse-"):
            with suppress(OSError):  # Another view still uses it.
                self._socket.parent.rmdir()

    async def _end(self, *, gently: bool) -> None:
        self._deafen()
        if not gently:
            self._cut()
        named = await asyncio.to_thread(docker_engine.containers, [self._thing])
        if named:
            how = ["stop", "--time", str(STOP_SECONDS)] if gently else ["kill"]
            await asyncio.to_thread(
                subprocess.run,
                ["docker", *how, *named],
                capture_output=True,
                check=False,  # A container may end by itself meanwhile.
            )
        self._cut()

    def _deafen(self) -> None:
        if self._server:
            self._server.close()
            self._server = None
            self._socket.unlink(missing_ok=True)

    def _cut(self) -> None:
        for line in self._lines:
            line.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = {writer}
        self._lines.add(writer)
        try:
            there, back = await asyncio.open_unix_connection(self._behind)
            lines.add(back)
            self._lines.add(back)
            await asyncio.gather(_pass_on(reader, back), _pass_on(there, writer))
        except OSError:
            """The real engine isn't running, and the client finds its connection closed."""
        finally:
            self._lines -= lines
            for line in lines:
                line.close()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy all bytes and the end of stream.

    A client of `docker run` closes its writing half early.
    """
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()


async def main(thing: str, root: str, socket: str) -> None:
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    await View(thing, Path(root), Path(socket)).run(ended)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
