"""The part that the servers of all packages share: they are attached to, and say their version."""

# ruff: noqa: N802, ARG002  # names and signatures are the protocol's

from __future__ import annotations

from typing import NoReturn

import grpc
from google.protobuf import any_pb2, empty_pb2  # type: ignore[import-untyped]
from google.rpc import status_pb2  # type: ignore[import-untyped]
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc

from greenhouse.providers.protocol.session import Sessions
from greenhouse.providers.protocol.wire import Properties, encode


class Plugin(provider_pb2_grpc.ResourceProviderServicer):
    """One package on one port, for every connection that the engine opens."""

    def __init__(self, version: str, port: int) -> None:
        self._version = version
        self._sessions = Sessions(port)

    def Attach(
        self, request: plugin_pb2.PluginAttach, context: grpc.ServicerContext
    ) -> empty_pb2.Empty:
        self._sessions.of(context.peer()).attach(request.address)
        return empty_pb2.Empty()

    def GetPluginInfo(
        self, request: empty_pb2.Empty, context: grpc.ServicerContext
    ) -> plugin_pb2.PluginInfo:
        return plugin_pb2.PluginInfo(version=self._version)


def abort_half_made(
    context: grpc.ServicerContext, made: str, outputs: Properties, inputs: Properties, reason: str
) -> NoReturn:
    """Report that it exists but isn't right: the protocol puts a detail beside the status."""
    detail = any_pb2.Any()
    detail.Pack(
        provider_pb2.ErrorResourceInitFailed(
            id=made, properties=encode(outputs), inputs=encode(inputs), reasons=[reason]
        )
    )
    code = grpc.StatusCode.UNKNOWN
    status = status_pb2.Status(code=code.value[0], message=reason, details=[detail])
    context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    context.abort(code, reason)
    raise AssertionError("abort returns never")
