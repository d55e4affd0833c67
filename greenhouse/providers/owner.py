"""Whether the other end of a connection is the owner's: what Pulumi's protocol leaves us to ask.

The engine opens its connection to a provider's port in the clear and shows no credentials, so it
can't be asked for any. But the kernel knows which user a local connection belongs to.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc

_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_ROOT = 0  # reads this process's memory anyway


def user_of(peer: str, port: int) -> int | None:
    """The user id behind a gRPC peer such as `ipv4:127.0.0.1:40312` of our port; None when gone.

    https://docs.kernel.org/networking/proc_net_tcp.html: the second field is the local address,
    the third the remote one, the eighth the user; ports are hexadecimal.
    """
    near, far = (f":{number:04X}" for number in (int(peer.rpartition(":")[2]), port))
    for table in _TABLES:
        for line in table.read_text().splitlines()[1:]:
            fields = line.split()
            if fields[1].endswith(near) and fields[2].endswith(far):
                return int(fields[7])
    return None


class OwnersAlone(grpc.ServerInterceptor):  # type: ignore[misc]  # grpc is untyped
    """Refuses every call that another user's process makes."""

    def __init__(self, port: int) -> None:
        self._port = port

    def intercept_service(
        self, continuation: Callable[[Any], Any], handler_call_details: Any
    ) -> Any:
        handler = continuation(handler_call_details)
        if handler is None or handler.unary_unary is None:
            return handler  # there is none, or one of no provider's: it answers "unimplemented"

        def answer(request: Any, context: grpc.ServicerContext) -> Any:
            if user_of(context.peer(), self._port) not in (os.geteuid(), _ROOT):
                context.abort(
                    grpc.StatusCode.PERMISSION_DENIED,
                    "this greenhouse answers the user who started it, and you are another one",
                )
            return handler.unary_unary(request, context)

        return grpc.unary_unary_rpc_method_handler(
            answer, handler.request_deserializer, handler.response_serializer
        )
