"""Checks that the other end of a connection is the owner's, as Pulumi's protocol doesn't.

The engine opens its connection to a provider's port in the clear and sends no credentials. But the
kernel knows which user a local connection belongs to.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc

# Go dials 127.0.0.1 by an IPv4 socket, gRPC's C core by an IPv6 socket.
_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_ROOT = 0  # The user root can read this process's memory anyway.
_REMEMBERED_SECONDS = 30.0  # Linux's TCP_TIMEWAIT_LEN is 60 s.


def user_of(peer: str, port: int) -> int | None:
    """The user id behind a gRPC peer such as `ipv4:127.0.0.1:40312` of our port. None when gone.

    https://docs.kernel.org/networking/proc_net_tcp.html: local address, remote address, state,
    queues, timers, retransmissions, user; the ports are hexadecimal.
    """
    near, far = (f"{number:04X}" for number in (int(peer.rpartition(":")[2]), port))
    line = re.compile(rf"\d+: \w+:{near} \w+:{far} \w+ \S+ \S+ \S+ +(\d+) ")
    for table in _TABLES:
        if found := line.search(table.read_text()):
            return int(found.group(1))
    return None


class OwnersAlone(grpc.ServerInterceptor):  # type: ignore[misc]  # grpc is untyped
    """Refuses every call from another user's process."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._known: dict[str, float] = {}  # When a peer was last found to be the owner's.

    def _owners(self, peer: str) -> bool:
        """Ask the kernel, at most once in a while, as its table is long on a busy machine.

        The while is shorter than the time for which the kernel reserves the port of a closed
        connection.
        """
        now = time.monotonic()
        if now - self._known.get(peer, float("-inf")) < _REMEMBERED_SECONDS:
            return True
        self._known = {one: at for one, at in self._known.items() if now - at < _REMEMBERED_SECONDS}
        if user_of(peer, self._port) not in (os.geteuid(), _ROOT):
            return False
        self._known[peer] = now
        return True

    def intercept_service(
        self, continuation: Callable[[Any], Any], handler_call_details: Any
    ) -> Any:
        handler = continuation(handler_call_details)
        if handler is None or handler.unary_unary is None:
            # There is no handler, or it is no provider's: gRPC answers "unimplemented".
            return handler

        def answer(request: Any, context: grpc.ServicerContext) -> Any:
            if not self._owners(context.peer()):
                context.abort(
                    grpc.StatusCode.PERMISSION_DENIED,
                    "this greenhouse answers the user who started it, and you are another one",
                )
            return handler.unary_unary(request, context)

        return grpc.unary_unary_rpc_method_handler(
            answer, handler.request_deserializer, handler.response_serializer
        )
