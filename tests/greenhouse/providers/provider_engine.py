"""The part of Pulumi's engine that a provider sees: five verbs over a real connection, and a log.

It keeps state as the engine does, so a test says `up` and means what a person means.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent import futures
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import grpc
from google.protobuf import empty_pb2  # type: ignore[import-untyped]
from pulumi.runtime.proto import (
    engine_pb2,
    engine_pb2_grpc,
    plugin_pb2,
    provider_pb2,
    provider_pb2_grpc,
)

from greenhouse.providers.protocol.wire import Properties, decode, encode

NONE = provider_pb2.DiffResponse.DIFF_NONE


class Rejected(Exception):
    """The message that an operator would read."""


@dataclass
class State:
    """A resource as the engine remembers it."""

    kind: str
    name: str
    id: str = ""
    inputs: Properties = field(default_factory=dict)
    outputs: Properties = field(default_factory=dict)

    @property
    def urn(self) -> str:
        return f"urn:pulumi:test::program::{self.kind}::{self.name}"


class Engine(engine_pb2_grpc.EngineServicer):
    """An engine that is connected to every package, as one provider instance each."""

    def __init__(self, ports: Mapping[str, int]) -> None:
        self.heard: list[str] = []
        self._hearing = threading.Condition()
        self._server = grpc.server(futures.ThreadPoolExecutor(4))
        engine_pb2_grpc.add_EngineServicer_to_server(self, self._server)
        self._port = self._server.add_insecure_port("127.0.0.1:0")
        self._channels = {
            # Each engine has its own channel. gRPC would share one channel to the same address.
            name: grpc.insecure_channel(
                f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1)]
            )
            for name, port in ports.items()
        }

    def __enter__(self) -> Self:
        self._server.start()
        for name in self._channels:
            self.provider(name).Attach(plugin_pb2.PluginAttach(address=f"127.0.0.1:{self._port}"))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for channel in self._channels.values():
            channel.close()
        self._server.stop(grace=None).wait()

    def Log(  # noqa: N802  # the protocol's name
        self, request: engine_pb2.LogRequest, context: grpc.ServicerContext
    ) -> empty_pb2.Empty:
        del context
        with self._hearing:
            self.heard.append(request.message)
            self._hearing.notify_all()
        return empty_pb2.Empty()

    def await_log(self, message: str) -> None:
        """Wait until a provider has logged this."""
        with self._hearing:
            heard = self._hearing.wait_for(lambda: message in self.heard, timeout=120)
        assert heard, f"never heard {message!r}, only {self.heard}"

    def provider(self, of: str) -> provider_pb2_grpc.ResourceProviderStub:
        """The provider of a type token or a package."""
        return provider_pb2_grpc.ResourceProviderStub(self._channels[of.partition(":")[0]])

    def configure(self, package: str, **settings: Any) -> None:
        variables = {f"{package}:config:{name}": str(value) for name, value in settings.items()}
        request = provider_pb2.ConfigureRequest(args=encode(settings), variables=variables)
        _answer(lambda: self.provider(package).Configure(request))

    def check(self, state: State, news: Properties) -> Properties:
        """The checked inputs. Raises Rejected with all reasons."""
        request = provider_pb2.CheckRequest(
            urn=state.urn, olds=encode(state.inputs), news=encode(news), randomSeed=b"seed"
        )
        answer = _answer(lambda: self.provider(state.kind).Check(request))
        if answer.failures:
            raise Rejected("\n".join(f.reason for f in answer.failures))
        return decode(answer.inputs)

    def diff(self, state: State, news: Properties) -> provider_pb2.DiffResponse:
        """What a change to these (unchecked) inputs would do."""
        request = provider_pb2.DiffRequest(
            id=state.id,
            urn=state.urn,
            old_inputs=encode(state.inputs),
            olds=encode(state.outputs),
            news=encode(self.check(state, news)),
        )
        diff: provider_pb2.DiffResponse = _answer(lambda: self.provider(state.kind).Diff(request))
        return diff

    def preview(self, state: State, news: Properties) -> Properties:
        """The outputs as far as a preview knows them."""
        inputs = encode(self.check(state, news))
        provider = self.provider(state.kind)
        if not state.id:
            request = provider_pb2.CreateRequest(urn=state.urn, properties=inputs, preview=True)
            return decode(_answer(lambda: provider.Create(request)).properties)
        change = provider_pb2.UpdateRequest(
            id=state.id,
            urn=state.urn,
            old_inputs=encode(state.inputs),
            olds=encode(state.outputs),
            news=inputs,
            preview=True,
        )
        return decode(_answer(lambda: provider.Update(change)).properties)

    def create(self, kind: str, called: str = "it", /, **news: Any) -> State:
        """Create a resource. Nothing is remembered if that fails."""
        state = State(kind, called)
        state.inputs = self.check(state, news)
        request = provider_pb2.CreateRequest(urn=state.urn, properties=encode(state.inputs))
        made = _answer(lambda: self.provider(kind).Create(request))
        state.id, state.outputs = made.id, decode(made.properties)
        return state

    def up(self, state: State, **news: Any) -> None:
        """Change it in place, if there is anything to change."""
        inputs = self.check(state, news)
        request = provider_pb2.UpdateRequest(
            id=state.id,
            urn=state.urn,
            old_inputs=encode(state.inputs),
            olds=encode(state.outputs),
            news=encode(inputs),
        )
        changed = _answer(lambda: self.provider(state.kind).Update(request))
        state.inputs, state.outputs = inputs, decode(changed.properties)

    def refresh(self, state: State) -> bool:
        """Read it. Returns whether it still exists."""
        request = provider_pb2.ReadRequest(
            id=state.id,
            urn=state.urn,
            properties=encode(state.outputs),
            inputs=encode(state.inputs),
        )
        found = _answer(lambda: self.provider(state.kind).Read(request))
        state.outputs, state.inputs = decode(found.properties), decode(found.inputs)
        return bool(found.id)

    def delete(self, state: State) -> None:
        request = provider_pb2.DeleteRequest(
            id=state.id, urn=state.urn, properties=encode(state.outputs)
        )
        _answer(lambda: self.provider(state.kind).Delete(request))

    def invoke(self, token: str, **arguments: Any) -> Properties:
        request = provider_pb2.InvokeRequest(tok=token, args=encode(arguments))
        return decode(getattr(_answer(lambda: self.provider(token).Invoke(request)), "return"))


def _answer(ask: Any) -> Any:
    try:
        return ask()
    except grpc.RpcError as error:
        raise Rejected(error.details()) from error
