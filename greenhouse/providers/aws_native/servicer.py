"""Package `aws-native`: a generic client of Cloud Control, as the real plugin is.

It does and says what the real plugin did and said when it was recorded
(tests/greenhouse/providers/conformance). These behaviours surprise, and are kept:

* Any change asks to delete before it replaces. The SDK says which changes replace.
* New inputs are compared with the live state, below what the program gives.
* Secrets come back in the clear among the outputs. `__inputs` keeps them secret.
* Cloud Control checks enums, lengths and required properties inside lists.
* A resource that was made and can't be read isn't kept.

Three things are refused where the plugin goes on. The first is a type that greenhouse's Cloud
Control doesn't have. The second is a deployment without a name: the plugin makes a name up. The
third is a request that crashes the plugin.
"""

# ruff: noqa: N802, ARG002  # names and signatures are the protocol's

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

import grpc
from botocore import exceptions as boto
from google.protobuf import empty_pb2  # type: ignore[import-untyped]
from pulumi.runtime.proto import provider_pb2

from greenhouse.providers.aws_clients import AwsClients
from greenhouse.providers.aws_native import schema
from greenhouse.providers.aws_native.cloudcontrol import (
    Failed,
    HalfMade,
)
from greenhouse.providers.aws_native.configuration import (
    Configured,
    Refused,
    configure,
    unsupported,
)
from greenhouse.providers.aws_native.schema import TYPES, NativeType
from greenhouse.providers.protocol.plugin import Plugin, abort_half_made
from greenhouse.providers.protocol.session import Call, Session
from greenhouse.providers.protocol.wire import (
    UNKNOWN,
    Properties,
    Secret,
    decode,
    encode,
    keep_secret,
    plain,
)
from infra.errors import told

_PARTITIONS = {
    "us-gov-": ("aws-us-gov", "amazonaws.com"),
    "cn-": ("aws-cn", "amazonaws.com.cn"),
}


@dataclass
class _Provider:
    """One connection's state."""

    cancelled: threading.Event = field(default_factory=threading.Event)
    configured: Configured | None = None


class NativeServicer(Plugin):
    """The package on one port, for every connection that the engine opens."""

    def __init__(self, clients: AwsClients, port: int) -> None:
        super().__init__(metadata.version("pulumi-aws-native"), port)
        self._clients = clients
        self._providers: dict[Session, _Provider] = {}

    # The plugin itself:

    def CheckConfig(
        self, request: provider_pb2.CheckRequest, context: grpc.ServicerContext
    ) -> provider_pb2.CheckResponse:
        if failures := list(unsupported(plain(decode(request.news)))):
            return provider_pb2.CheckResponse(
                failures=[
                    provider_pb2.CheckFailure(property=name, reason=reason)
                    for name, reason in failures
                ]
            )
        return provider_pb2.CheckResponse(inputs=request.news)

    def DiffConfig(
        self, request: provider_pb2.DiffRequest, context: grpc.ServicerContext
    ) -> provider_pb2.DiffResponse:
        olds, news = plain(decode(request.old_inputs)), plain(decode(request.news))
        if olds == news:
            return provider_pb2.DiffResponse(changes=provider_pb2.DiffResponse.DIFF_NONE)
        # It has no `replaces`, and includes the names of unchanged properties.
        return provider_pb2.DiffResponse(
            changes=provider_pb2.DiffResponse.DIFF_SOME, diffs=sorted(olds.keys() | news.keys())
        )

    def Configure(
        self, request: provider_pb2.ConfigureRequest, context: grpc.ServicerContext
    ) -> provider_pb2.ConfigureResponse:
        session = self._sessions.of(context.peer())
        given = {
            name.removeprefix("aws-native:config:"): value
            for name, value in request.variables.items()
        }
        with _told(context):
            # A new provider instance. Its connection may have the address of an ended connection.
            state = self._providers[session] = _Provider()
            state.configured = configure(given, session.environment, self._clients, state.cancelled)
        return provider_pb2.ConfigureResponse(
            acceptSecrets=True, supportsPreview=True, supports_autonaming_configuration=True
        )

    def Cancel(self, request: empty_pb2.Empty, context: grpc.ServicerContext) -> empty_pb2.Empty:
        """An operation ends, or ^C: no read, update or delete follows on this connection."""
        self._provider(self._sessions.of(context.peer())).cancelled.set()
        return empty_pb2.Empty()

    def _provider(self, session: Session) -> _Provider:
        return self._providers.setdefault(session, _Provider())

    # Resources:

    def Check(
        self, request: provider_pb2.CheckRequest, context: grpc.ServicerContext
    ) -> provider_pb2.CheckResponse:
        with self._called(request, context) as (kind, configured, _):
            news, olds = _without_nulls(decode(request.news)), plain(decode(request.olds))
            if path := schema.first_asset(news):
                raise Refused(f'unexpected Asset property value for "{path}"')
            if configured.default_tags:
                tags = news.get("tags", {})
                if isinstance(tags, Secret):
                    raise Refused("expected tags to be an object but found secret<object>")
                if tags is not UNKNOWN:
                    news["tags"] = {**configured.default_tags, **tags}
            if "deploymentName" in schema.names(kind) and "deploymentName" not in news:
                self._name(request, news, olds)
            if failures := list(schema.failures(kind.args, news)):
                return provider_pb2.CheckResponse(
                    failures=[
                        provider_pb2.CheckFailure(property=path, reason=reason)
                        for path, reason in failures
                    ]
                )
            return provider_pb2.CheckResponse(inputs=encode(news))

    @staticmethod
    def _name(request: provider_pb2.CheckRequest, news: Properties, olds: Properties) -> None:
        """The name of a deployment that the program doesn't name."""
        modes = provider_pb2.CheckRequest.AutonamingOptions.Mode
        proposed = request.autonaming.proposed_name
        if "deploymentName" in olds:
            news["deploymentName"] = olds["deploymentName"]
        elif request.HasField("autonaming") and request.autonaming.mode == modes.DISABLE:
            return
        elif len(proposed) > _MAX_NAME:
            raise Refused(
                f'failed to apply auto-naming: proposed name "{proposed}" exceeds max length of'
                f" {_MAX_NAME}"
            )
        elif proposed:
            news["deploymentName"] = proposed
        elif "targetArn" in news:
            raise Refused(
                "the deployment has no name, and greenhouse makes none up, unlike the plugin."
                ' Name it in the program: deployment_name="…"'
            )

    def Diff(
        self, request: provider_pb2.DiffRequest, context: grpc.ServicerContext
    ) -> provider_pb2.DiffResponse:
        with self._called(request, context) as (kind, _, _):
            outputs, new = decode(request.olds), decode(request.news)
            old = _kept_inputs(outputs)
            live = schema.baseline(kind, old, plain(outputs), new)
            if schema.same_inputs(kind, keep_secret(plain(live), old or {}), new):
                return provider_pb2.DiffResponse(changes=provider_pb2.DiffResponse.DIFF_NONE)
            return provider_pb2.DiffResponse(
                changes=provider_pb2.DiffResponse.DIFF_UNKNOWN, deleteBeforeReplace=True
            )

    def Create(
        self, request: provider_pb2.CreateRequest, context: grpc.ServicerContext
    ) -> provider_pb2.CreateResponse:
        with self._called(request, context) as (kind, configured, call):
            inputs = decode(request.properties)
            if request.preview:
                outputs = {**dict.fromkeys(kind.read_only, UNKNOWN), **inputs}
                return provider_pb2.CreateResponse(properties=encode(outputs))
            state = _converted(kind, inputs)
            try:
                made, found = configured.control.create(kind.cfn, state, _says(call))
            except HalfMade as error:
                outputs = _outputs(kind, error.state, inputs)
                abort_half_made(context, error.identifier, outputs, inputs, str(error))
            return provider_pb2.CreateResponse(
                id=made, properties=encode(_outputs(kind, found, inputs))
            )

    def Read(
        self, request: provider_pb2.ReadRequest, context: grpc.ServicerContext
    ) -> provider_pb2.ReadResponse:
        with self._called(request, context) as (kind, configured, call):
            old = _kept_inputs(decode(request.properties))
            found = configured.control.read(kind.cfn, request.id)
            if found is None:
                return provider_pb2.ReadResponse()
            outputs = schema.to_sdk(kind.args, found)
            if old is None:
                if kind.write_only:
                    call.warn(f"Can't import write-only properties: {', '.join(kind.write_only)}")
                inputs = schema.written_state(kind, outputs)
            else:
                live = schema.baseline(kind, old, outputs, {})
                inputs = schema.refreshed(kind, old, keep_secret(plain(live), old))
                shown = {name: old[name] for name in kind.write_only if name in old}
                outputs = keep_secret({**outputs, **plain(shown)}, old)
            return provider_pb2.ReadResponse(
                id=request.id,
                properties=encode({**outputs, "__inputs": Secret(inputs)}),
                inputs=encode(inputs),
            )

    def Update(
        self, request: provider_pb2.UpdateRequest, context: grpc.ServicerContext
    ) -> provider_pb2.UpdateResponse:
        with self._called(request, context) as (kind, configured, call):
            outputs, new = decode(request.olds), decode(request.news)
            if request.preview:
                known = {name: outputs.get(name, UNKNOWN) for name in kind.kept_read_only}
                shown = {**dict.fromkeys(kind.read_only, UNKNOWN), **known, **new}
                return provider_pb2.UpdateResponse(properties=encode(shown))
            old = _kept_inputs(outputs)
            live = schema.baseline(kind, old, plain(outputs), new)
            patch = _patch(kind, keep_secret(plain(live), old or {}), new)
            found = configured.control.update(kind.cfn, request.id, patch, _says(call))
            return provider_pb2.UpdateResponse(properties=encode(_outputs(kind, found, new)))

    def Delete(
        self, request: provider_pb2.DeleteRequest, context: grpc.ServicerContext
    ) -> empty_pb2.Empty:
        with self._called(request, context) as (kind, configured, call):
            configured.control.delete(kind.cfn, request.id, _says(call))
        return empty_pb2.Empty()

    def Invoke(
        self, request: provider_pb2.InvokeRequest, context: grpc.ServicerContext
    ) -> provider_pb2.InvokeResponse:
        configured = self._provider(self._sessions.of(context.peer())).configured
        with _told(context):
            if configured is None:
                raise Refused("the provider is not configured")
            answer = self._invoked(configured, request.tok, plain(decode(request.args)))
        return provider_pb2.InvokeResponse(**{"return": encode(answer)})

    def _invoked(self, configured: Configured, token: str, arguments: Properties) -> Properties:
        partition, suffix = next(
            (found for start, found in _PARTITIONS.items() if configured.region.startswith(start)),
            ("aws", "amazonaws.com"),
        )
        look_ups = {
            kind.kind.replace(":greengrassv2:", ":greengrassv2:get"): kind
            for kind in TYPES.values()
        }
        match token:
            case "aws-native:index:getAccountId":
                return {"accountId": configured.sts()}
            case "aws-native:index:getRegion":
                return {"region": configured.region}
            case "aws-native:index:getPartition":
                return {"partition": partition, "dnsSuffix": suffix}
            case "aws-native:index:getUrlSuffix":
                return {"urlSuffix": suffix}
        if token not in look_ups:
            raise Refused(f"unknown function '{token}'")
        kind = look_ups[token]
        if kind.identifier not in arguments:
            raise Refused(f'missing identifier property "{kind.identifier}"')
        found = configured.control.read(kind.cfn, str(arguments[kind.identifier]))
        if found is None:
            raise Refused("resource not found")
        return schema.to_sdk(kind.args, found)

    @contextmanager
    def _called(
        self, request: Any, context: grpc.ServicerContext
    ) -> Iterator[tuple[NativeType, Configured, Call]]:
        """The resource of a request. Every error becomes a single error for the engine."""
        session = self._sessions.of(context.peer())
        token = request.urn.split("::")[-2].rpartition("$")[2]
        configured = self._provider(session).configured
        with _told(context):
            if token not in TYPES:
                raise Refused(f"resource type {token} not found")
            if configured is None:
                raise Refused("the provider is not configured")
            yield TYPES[token], configured, Call(session, request.urn)


_MAX_NAME = 256


def _without_nulls(value: Any) -> Any:
    """The value without nulls. A null in a list counts as nothing, as in an object."""
    match value:
        case dict():
            return {name: _without_nulls(one) for name, one in value.items()}
        case list():
            return [_without_nulls(one) for one in value if one is not None]
        case _:
            return value


def _kept_inputs(outputs: Properties) -> Properties | None:
    """The former inputs, which the state keeps as a secret. None if it doesn't."""
    kept = outputs.get("__inputs")
    if kept is None:
        return None
    if not isinstance(kept, Secret):
        raise Refused(
            told(
                "the state keeps __inputs in the clear, which ends the real plugin.",
                "Somebody may have edited the state. Remove the resource from it, and import it"
                " again:",
                "pulumi state delete URN",
            )
        )
    inputs: Properties = kept.value
    return inputs


def _converted(kind: NativeType, inputs: Properties) -> dict[str, Any]:
    try:
        return schema.to_cfn(kind.args, plain(inputs))
    except schema.NotConvertible as error:
        raise Refused(f"failed to convert value for {kind.kind}: {error}") from error


def _outputs(kind: NativeType, found: Properties, inputs: Properties) -> Properties:
    """What the state keeps: the live properties in the clear, and the inputs unchanged."""
    outputs = schema.to_sdk(kind.args, found)
    shown = {name: plain(inputs[name]) for name in kind.write_only if name in inputs}
    return {**shown, **outputs, "__inputs": Secret(inputs)}


def _patch(kind: NativeType, live: Properties, new: Properties) -> list[dict[str, Any]]:
    """The JSON Patch from the live state to the wanted state, one whole property at a time."""
    wanted = _converted(kind, new)
    patch: list[dict[str, Any]] = []
    for name in sorted(live.keys() | new.keys()):
        path = f"/{name[:1].upper()}{name[1:]}"
        if name not in new:
            patch.append({"op": "remove", "path": path})
        elif name not in live or (name in kind.write_only and live[name] != new[name]):
            patch.append({"op": "add", "path": path, "value": wanted[path[1:]]})
        elif not schema.same_inputs(kind, {name: live[name]}, {name: new[name]}):
            patch.append({"op": "replace", "path": path, "value": wanted[path[1:]]})
    return patch


def _says(call: Call) -> Callable[[str, bool], None]:
    """The plugin's messages about its waiting, shown for a moment only."""

    def say(text: str, warning: bool) -> None:
        call.passing_warning(text) if warning else call.status(text)

    return say


@contextmanager
def _told(context: grpc.ServicerContext) -> Iterator[None]:
    """Turn every error into one text for the engine, in the plugin's words."""
    try:
        yield
    except Failed as error:
        code = grpc.StatusCode.CANCELLED if error.cancelled else grpc.StatusCode.UNKNOWN
        context.abort(code, str(error))
    except Refused as error:
        context.abort(grpc.StatusCode.UNKNOWN, str(error))
    except boto.BotoCoreError as error:
        context.abort(grpc.StatusCode.UNKNOWN, str(error))
