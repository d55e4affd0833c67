"""Pulumi's provider protocol, for any package of resources.

Protocol: https://github.com/pulumi/pulumi/blob/master/proto/pulumi/provider.proto
"""

# ruff: noqa: N802, ARG002  # names and signatures are the protocol's

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from botocore import exceptions as boto
from google.protobuf import empty_pb2  # type: ignore[import-untyped]
from pulumi.runtime.proto import provider_pb2

from greenhouse.providers.protocol.plugin import Plugin, abort_half_made
from greenhouse.providers.protocol.program_folder import NoProgram
from greenhouse.providers.protocol.resource import (
    Diff,
    Function,
    Incomplete,
    Naming,
    Refused,
    Resource,
)
from greenhouse.providers.protocol.session import Call, Session
from greenhouse.providers.protocol.wire import (
    Properties,
    decode,
    encode,
    has_unknown,
    keep_secret,
    plain,
)
from infra.errors import told

_OF_EVERY_PROVIDER = frozenset({"version", "pluginDownloadURL", "pluginChecksums"})
_OUTSIDE = "It was made outside of this stack. Delete it, or import it:"
_BY_HAND = "Somebody may have deleted it by hand. See what is left:"
_ADVICE = {  # Why it happens, and the command to type.
    "BucketAlreadyOwnedByYou": (
        _OUTSIDE,
        "pulumi import aws:s3/bucket:Bucket NAME BUCKET",
    ),
    "BucketNotEmpty": (
        "Set force_destroy=True on it, and update before you destroy:",
        "pulumi up && pulumi destroy",
    ),
    "NoSuchBucket": (_BY_HAND, "pulumi refresh"),
    "RepositoryAlreadyExistsException": (
        _OUTSIDE,
        "pulumi import aws:ecr/repository:Repository NAME REPOSITORY",
    ),
    "RepositoryNotEmptyException": (
        "Set force_delete=True on it, and update before you destroy:",
        "pulumi up && pulumi destroy",
    ),
    "RepositoryNotFoundException": (_BY_HAND, "pulumi refresh"),
    "NoSuchEntity": ("Make it first, or name an existing role:", "aws iam list-roles"),
}


@dataclass(frozen=True, kw_only=True)
class Package:
    """A Pulumi package: its resources, its functions and the config that it understands."""

    name: str
    version: str
    resources: Mapping[str, Resource]
    functions: Mapping[str, Function] = field(default_factory=dict)
    config: frozenset[str] = frozenset()


class Servicer(Plugin):
    """One package on one port, for every connection that the engine opens."""

    def __init__(self, package: Package, port: int) -> None:
        super().__init__(package.version, port)
        self._package = package

    # The plugin itself:

    def Handshake(
        self, request: provider_pb2.ProviderHandshakeRequest, context: grpc.ServicerContext
    ) -> provider_pb2.ProviderHandshakeResponse:
        self._sessions.of(context.peer()).attach(request.engine_address)
        return provider_pb2.ProviderHandshakeResponse(
            accept_secrets=True, supports_autonaming_configuration=True
        )

    def CheckConfig(
        self,
        request: provider_pb2.CheckRequest,
        context: grpc.ServicerContext,
    ) -> provider_pb2.CheckResponse:
        understood = self._package.config | _OF_EVERY_PROVIDER
        failures = [
            provider_pb2.CheckFailure(
                reason=told(
                    f"{self._package.name}:{name} has no effect on greenhouse, which knows"
                    f" {', '.join(sorted(self._package.config)) or 'no setting'}.",
                    "Remove it from this stack:",
                    f"pulumi config rm {self._package.name}:{name}",
                ),
            )
            for name in sorted(decode(request.news).keys() - understood)
        ]
        return provider_pb2.CheckResponse(inputs=request.news, failures=failures)

    def DiffConfig(
        self,
        request: provider_pb2.DiffRequest,
        context: grpc.ServicerContext,
    ) -> provider_pb2.DiffResponse:
        olds, news = plain(decode(request.old_inputs)), plain(decode(request.news))
        changed = sorted(
            name
            for name in self._package.config
            if olds.get(name) != news.get(name) and not has_unknown(news.get(name))
        )
        # In place, whatever changed: pulumi-aws 7 replaces for no key (its pull request 5656).
        return _diff_response(Diff(changed=tuple(changed)), olds, news)

    def Configure(
        self, request: provider_pb2.ConfigureRequest, context: grpc.ServicerContext
    ) -> provider_pb2.ConfigureResponse:
        session = self._sessions.of(context.peer())
        with _answering(context, f"configuring {self._package.name}"):
            session.config = plain(decode(request.args))
        return provider_pb2.ConfigureResponse(
            acceptSecrets=True, supportsPreview=True, supports_autonaming_configuration=True
        )

    def Cancel(
        self,
        request: empty_pb2.Empty,
        context: grpc.ServicerContext,
    ) -> empty_pb2.Empty:
        """^C, and also the ordinary end of every operation.

        Others may still use this process, so it goes on.
        """
        return empty_pb2.Empty()

    # Resources:

    def Check(
        self, request: provider_pb2.CheckRequest, context: grpc.ServicerContext
    ) -> provider_pb2.CheckResponse:
        with self._called(request, context, "checking") as (resource, call):
            news, olds = decode(request.news), decode(request.olds)
            naming = Naming(
                name=call.name,
                seed=request.randomSeed,
                proposed=request.autonaming.proposed_name,
                disabled=request.autonaming.mode
                == provider_pb2.CheckRequest.AutonamingOptions.Mode.DISABLE,
            )
            inputs, failures = resource.check(call, plain(news), plain(olds), naming)
            return provider_pb2.CheckResponse(
                inputs=encode(keep_secret(inputs, news)),
                failures=[
                    # Without `property`, because the engine would print the value as well.
                    provider_pb2.CheckFailure(reason=f"{found.path} {found.reason}")
                    for found in failures
                ],
            )

    def Diff(
        self, request: provider_pb2.DiffRequest, context: grpc.ServicerContext
    ) -> provider_pb2.DiffResponse:
        with self._called(request, context, "comparing") as (resource, _):
            olds, news = plain(decode(request.old_inputs)), plain(decode(request.news))
            return _diff_response(resource.diff(olds, news), olds, news)

    def Create(
        self, request: provider_pb2.CreateRequest, context: grpc.ServicerContext
    ) -> provider_pb2.CreateResponse:
        with self._called(request, context, "creating") as (resource, call):
            wire = decode(request.properties)
            inputs = plain(wire)
            if request.preview:
                outputs = resource.preview(call, inputs, None)
                return provider_pb2.CreateResponse(properties=encode(keep_secret(outputs, wire)))
            try:
                made, attributes = resource.create(call, inputs)
            except Incomplete as error:
                outputs = keep_secret({**plain(wire), **error.attributes}, wire)
                abort_half_made(context, error.id, outputs, wire, str(error))
            return provider_pb2.CreateResponse(
                id=made, properties=encode(keep_secret({**inputs, **attributes}, wire))
            )

    def Read(
        self, request: provider_pb2.ReadRequest, context: grpc.ServicerContext
    ) -> provider_pb2.ReadResponse:
        with self._called(request, context, f"reading {request.id}") as (resource, call):
            wire, old_inputs = decode(request.properties), decode(request.inputs)
            olds = plain(wire)
            found = resource.read(call, request.id, olds)
            if found is None:
                return provider_pb2.ReadResponse()
            inputs = _inputs_as_they_are(resource, plain(old_inputs), found)
            return provider_pb2.ReadResponse(
                id=request.id,
                properties=encode(keep_secret({**olds, **found, **inputs}, wire)),
                inputs=encode(keep_secret(inputs, old_inputs)),
            )

    def Update(
        self, request: provider_pb2.UpdateRequest, context: grpc.ServicerContext
    ) -> provider_pb2.UpdateResponse:
        with self._called(request, context, f"updating {request.id}") as (resource, call):
            wire, olds = decode(request.news), plain(decode(request.olds))
            news = plain(wire)
            dropped = plain(decode(request.old_inputs)).keys() - news.keys()
            kept = {name: value for name, value in olds.items() if name not in dropped}
            if request.preview:
                outputs = resource.preview(call, news, kept)
            else:
                try:
                    attributes = resource.update(call, request.id, olds, news)
                except Incomplete as error:
                    outputs = keep_secret({**plain(wire), **error.attributes}, wire)
                    abort_half_made(context, error.id, outputs, wire, str(error))
                outputs = {**kept, **news, **attributes}
            return provider_pb2.UpdateResponse(properties=encode(keep_secret(outputs, wire)))

    def Delete(
        self, request: provider_pb2.DeleteRequest, context: grpc.ServicerContext
    ) -> empty_pb2.Empty:
        with self._called(request, context, f"deleting {request.id}") as (resource, call):
            resource.delete(call, request.id, plain(decode(request.properties)))
        return empty_pb2.Empty()

    def Invoke(
        self, request: provider_pb2.InvokeRequest, context: grpc.ServicerContext
    ) -> provider_pb2.InvokeResponse:
        call = Call(self._sessions.of(context.peer()), urn="")
        with _answering(context, f"calling {request.tok}"):
            function = self._package.functions.get(request.tok)
            if function is None:
                raise Refused(
                    f"greenhouse has no function {request.tok}; there are:"
                    f" {', '.join(self._package.functions) or 'none'}"
                )
            arguments = plain(decode(request.args))
            if wrong := arguments.keys() - function.arguments:
                raise Refused(
                    f"{', '.join(sorted(wrong))}: greenhouse takes"
                    f" {', '.join(sorted(function.arguments)) or 'no argument'}"
                )
            answer = function.call(call, arguments)
        return provider_pb2.InvokeResponse(**{"return": encode(answer)})

    @contextmanager
    def _called(
        self, request: Any, context: grpc.ServicerContext, doing: str
    ) -> Iterator[tuple[Resource, Call]]:
        """The resource of a request. Every error becomes a single error for the engine."""
        session: Session = self._sessions.of(context.peer())
        call = Call(session, request.urn)
        token = request.type or request.urn.split("::")[-2].rpartition("$")[2]
        with _answering(context, doing):
            if token not in self._package.resources:
                raise Refused(
                    f"greenhouse has no {token}; of this package there are:"
                    f" {', '.join(self._package.resources)}"
                )
            yield self._package.resources[token], call


def _inputs_as_they_are(resource: Resource, olds: Properties, found: Properties) -> Properties:
    """The inputs that would make the found state. Inputs that equal the old ones don't change."""
    if not olds:  # An import, or a look-up.
        return {name: value for name, value in found.items() if name in resource.acted_on and value}
    return {
        name: old if name not in found or resource.equal(name, old, found[name]) else found[name]
        for name, old in olds.items()
    } | {
        name: found[name]
        for name in (found.keys() & resource.acted_on) - olds.keys() - resource.computed
        if found[name]
    }


def _diff_response(diff: Diff, olds: Properties, news: Properties) -> provider_pb2.DiffResponse:
    if not diff.changed:
        return provider_pb2.DiffResponse(changes=provider_pb2.DiffResponse.DIFF_NONE)
    if diff.opaque:
        return provider_pb2.DiffResponse(
            changes=provider_pb2.DiffResponse.DIFF_UNKNOWN, deleteBeforeReplace=True
        )

    def kind(name: str) -> Any:
        verb = "ADD" if name not in olds else "UPDATE" if name in news else "DELETE"
        return provider_pb2.PropertyDiff.Kind.Value(
            f"{verb}_REPLACE" if name in diff.replaces else verb
        )

    return provider_pb2.DiffResponse(
        changes=provider_pb2.DiffResponse.DIFF_SOME,
        diffs=diff.changed,
        replaces=diff.replaces,
        detailedDiff={
            name: provider_pb2.PropertyDiff(kind=kind(name), inputDiff=True)
            for name in diff.changed
        },
        hasDetailedDiff=True,
    )


@contextmanager
def _answering(context: grpc.ServicerContext, doing: str) -> Iterator[None]:
    """Turn errors into one sentence each: what was asked, what was found, what to do."""
    try:
        yield
    except (Refused, NoProgram) as error:
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, f"{doing}: {error}")
    except boto.ClientError as error:
        answer = error.response["Error"]
        text = f"{doing}: {answer['Code']}: {answer.get('Message', '')}".rstrip(" .")
        advice = _ADVICE.get(answer["Code"], ())
        context.abort(grpc.StatusCode.UNKNOWN, told(f"{text}.", *advice))
    except (boto.ConnectionError, boto.HTTPClientError) as error:
        context.abort(
            grpc.StatusCode.UNAVAILABLE,
            told(
                f"{doing}: {error}.",
                "A process of greenhouse may have ended. See which run, and start the others:",
                "python -m greenhouse status",
                "make start",
            ),
        )
    except (boto.BotoCoreError, OSError) as error:
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, f"{doing}: {error}")
