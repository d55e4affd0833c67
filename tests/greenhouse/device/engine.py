"""One device's own view of the Docker engine: a socket that a test can restart, kill or withhold.

The containers are on the real engine, which belongs to others as well: so its end is played, from
facts that were seen on it. An engine that stops in good order ends its containers by SIGTERM, one
that is killed takes them with it, and in both cases every client loses its line.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import threading
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

ENGINE = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://")


def docker(*arguments: str) -> str:
    """What the real engine says, past every device's view of it."""
    env = {**os.environ, "DOCKER_HOST": f"unix://{ENGINE}"}
    done = subprocess.run(
        ["docker", *arguments], env=env, check=False, capture_output=True, text=True
    )
    return done.stdout.strip()


class Engine:
    """An engine that isn't there until `start`; `own` is a label of its containers."""

    def __init__(self, socket: Path, own: str) -> None:
        self.host = f"unix://{socket}"
        self._socket, self._own = socket, own
        self._server: asyncio.Server | None = None
        self._lines: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    @property
    def containers(self) -> list[str]:
        """Ids of those that run."""
        return docker("ps", "--quiet", "--no-trunc", "--filter", f"label={self._own}").split()

    def start(self) -> None:
        self._do(self._start())

    def stop(self) -> None:
        """`systemctl stop docker`: each container gets SIGTERM, then nobody listens."""
        for container in self.containers:
            docker("stop", "--time", "10", container)
        self._do(self._cut())

    def kill(self) -> None:
        """The engine and its containers are gone at once."""
        self._do(self._cut())
        for container in self.containers:
            docker("kill", container)

    def close(self) -> None:
        self._do(self._cut())
        for container in docker("ps", "--all", "--quiet", "--filter", f"label={self._own}").split():
            docker("rm", "--force", container)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=30)

    async def _start(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, self._socket)

    async def _cut(self) -> None:
        if self._server:
            self._server.close()
            self._server = None
            self._socket.unlink(missing_ok=True)
        for line in self._lines:
            line.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection(ENGINE)
        self._lines |= {writer, back}
        try:
            await asyncio.gather(_pump(reader, back), _pump(there, writer))
        finally:
            for line in (writer, back):
                self._lines.discard(line)
                line.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """All bytes, and the end of them: a client of `docker run` closes its writing half early."""
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
