"""One connection of the engine: its program, its log, and its configuration.

The engine opens a connection for each provider instance, and no request names the instance. So the
connection's address tells the instances apart.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import grpc
import psutil
from pulumi.runtime.proto import engine_pb2, engine_pb2_grpc

from greenhouse.providers.protocol.program_folder import environment_of, folder_of, process_of
from greenhouse.providers.protocol.wire import Properties

_LOG_SECONDS = 5


class Session:
    """What is known of one connection."""

    def __init__(self, process: psutil.Process | None) -> None:
        self.process = process
        self.config: Properties = {}
        self._engine: engine_pb2_grpc.EngineStub | None = None
        self._channel: grpc.Channel | None = None

    def attach(self, engine: str) -> None:
        """Remember the engine's own address, which takes log messages."""
        if self._channel is None:
            self._channel = grpc.insecure_channel(engine)
            self._engine = engine_pb2_grpc.EngineStub(self._channel)

    def over(self) -> bool:
        """Whether the process at the other end has ended."""
        return self.process is not None and not self.process.is_running()

    def close(self) -> None:
        if self._channel:
            self._channel.close()

    @cached_property
    def environment(self) -> Mapping[str, str]:
        """The environment of the program's `pulumi`, which a plugin would have inherited."""
        return environment_of(self.process)

    @cached_property
    def folder(self) -> Path:
        """The program's folder."""
        return folder_of(self.process)

    def warn(self, text: str) -> None:
        """Show a message that belongs to no single resource."""
        self.log(engine_pb2.WARNING, text, "", passing=False)

    def log(self, severity: int, text: str, urn: str, *, passing: bool) -> None:
        """Show a message in the engine's display. With `passing` it replaces the line before."""
        if self._engine is None:
            return
        request = engine_pb2.LogRequest(
            severity=severity,  # type: ignore[arg-type]  # the stubs' enum is an int at run time
            message=text,
            urn=urn,
            ephemeral=passing,
        )
        try:
            self._engine.Log(request, timeout=_LOG_SECONDS)
        except grpc.RpcError:
            return  # A log line that can't be sent must not fail the step.


class Sessions:
    """The sessions of the server on one port."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._by_peer: dict[str, Session] = {}
        self._lock = threading.Lock()

    def of(self, peer: str) -> Session:
        """The session of this connection. Sessions of ended processes are removed."""
        with self._lock:
            if peer not in self._by_peer:
                for ended in [peer for peer, known in self._by_peer.items() if known.over()]:
                    self._by_peer.pop(ended).close()
                self._by_peer[peer] = Session(process_of(peer, self._port))
            return self._by_peer[peer]


class Call:
    """One request for one resource, as the resource sees it."""

    def __init__(self, session: Session, urn: str) -> None:
        self.session = session
        self.urn = urn

    @property
    def name(self) -> str:
        """The resource's name in the program."""
        return self.urn.rpartition("::")[2]

    def path(self, written: str) -> Path:
        """A path as the program writes it, relative to the program's folder."""
        return Path(written) if Path(written).is_absolute() else self.session.folder / written

    def status(self, text: str) -> None:
        self.session.log(engine_pb2.INFO, text, self.urn, passing=True)

    def info(self, text: str) -> None:
        self.session.log(engine_pb2.INFO, text, self.urn, passing=False)

    def passing_warning(self, text: str) -> None:
        self.session.log(engine_pb2.WARNING, text, self.urn, passing=True)

    def warn(self, text: str) -> None:
        self.session.log(engine_pb2.WARNING, text, self.urn, passing=False)
