"""Package `docker`: an image, built by the engine and pushed to its registry.

It does and says what the real plugin did and said when it was recorded
(tests/greenhouse/providers/conformance). These behaviours surprise, and are kept:

* It takes no secrets: the engine sends the registry's password in the clear. Only `__inputs`, which
  is a secret, keeps the password.
* A preview returns the bare inputs. Nothing is ever replaced, read or deleted.
* New inputs are compared with `__inputs` in the state. Credentials don't count.
* A cancelled build goes on, and its image is pushed.

One rule of ECR, which MiniStack lacks, is added here: an immutable tag is never used twice, even
for the same bytes (aws/containers-roadmap#2380).
"""

# ruff: noqa: N802, ARG002  # names and signatures are the protocol's

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from typing import Any

import grpc
import pulumi_docker
from botocore import exceptions as boto
from google.protobuf import empty_pb2  # type: ignore[import-untyped]
from pulumi.runtime.proto import provider_pb2

from greenhouse.home import REGION
from greenhouse.providers.aws.common import fine_if
from greenhouse.providers.aws_clients import AwsClients
from greenhouse.providers.docker import inputs as image
from greenhouse.providers.docker.client import Client, split, warn_of_half_a_login
from greenhouse.providers.protocol.plugin import Plugin
from greenhouse.providers.protocol.program_folder import NoProgram
from greenhouse.providers.protocol.resource import Refused
from greenhouse.providers.protocol.session import Call, Session
from greenhouse.providers.protocol.wire import (
    Properties,
    Secret,
    Unknown,
    decode,
    encode,
    has_unknown,
    plain,
)

_IMAGE = "docker:index/image:Image"
_CONFIG = frozenset({"host", "version"})
_NOT_ACTED_ON = frozenset(
    {"caMaterial", "certMaterial", "certPath", "context", "disableDockerDaemonCheck"}
    | {"keyMaterial", "registryAuth", "sshOpts"}
)


class DockerServicer(Plugin):
    """The package on one port, for every connection that the engine opens."""

    def __init__(self, clients: AwsClients, port: int) -> None:
        super().__init__(metadata.version("pulumi-docker"), port)
        self._aws_clients = clients
        self._clients: dict[Session, Client] = {}

    # The plugin itself:

    def CheckConfig(
        self, request: provider_pb2.CheckRequest, context: grpc.ServicerContext
    ) -> provider_pb2.CheckResponse:
        reasons = [
            f"docker:{name} is not acted on by greenhouse. Take it out of this stack: pulumi config"
            f" rm docker:{name}"
            if name in _NOT_ACTED_ON
            else f"`docker:{name}` is not a valid configuration key for the docker provider. If the"
            " referenced key is not intended for the provider, please choose a different namespace"
            " from `docker:`."
            for name in sorted(decode(request.news).keys() - _CONFIG)
        ]
        if reasons:
            return provider_pb2.CheckResponse(
                failures=[provider_pb2.CheckFailure(reason=reason) for reason in reasons]
            )
        return provider_pb2.CheckResponse(inputs=request.news)

    def DiffConfig(
        self, request: provider_pb2.DiffRequest, context: grpc.ServicerContext
    ) -> provider_pb2.DiffResponse:
        olds, news = plain(decode(request.old_inputs)), plain(decode(request.news))
        kinds = {
            name: kind
            for name, kind in image.differences(olds, news).items()
            if not has_unknown(news.get(name))
        }
        if not kinds:
            return provider_pb2.DiffResponse(changes=provider_pb2.DiffResponse.DIFF_UNKNOWN)
        return provider_pb2.DiffResponse(
            changes=provider_pb2.DiffResponse.DIFF_SOME,
            diffs=sorted(kinds),
            detailedDiff=_detailed(kinds),
        )

    def Configure(
        self, request: provider_pb2.ConfigureRequest, context: grpc.ServicerContext
    ) -> provider_pb2.ConfigureResponse:
        session = self._sessions.of(context.peer())
        with _told(context):
            if registries := request.variables.get("docker:config:registryAuth"):
                del registries  # It may hold a password.
                raise Refused("docker:registryAuth is not acted on by greenhouse")
            try:
                host = request.variables.get("docker:config:host")
                self._clients[session] = Client.find(session, host)
            except Refused as error:
                raise Refused(
                    f"docker native provider returned an unexpected error from Configure: {error}"
                ) from error
        return provider_pb2.ConfigureResponse(
            supportsPreview=True, supports_autonaming_configuration=True
        )

    def Cancel(self, request: empty_pb2.Empty, context: grpc.ServicerContext) -> empty_pb2.Empty:
        """Do nothing: a running build goes on."""
        return empty_pb2.Empty()

    def Invoke(
        self, request: provider_pb2.InvokeRequest, context: grpc.ServicerContext
    ) -> provider_pb2.InvokeResponse:
        with _told(context):
            raise Refused(f"unrecognized data function (Invoke): {request.tok}")
        raise AssertionError("abort returns never")

    # The image:

    def Check(
        self, request: provider_pb2.CheckRequest, context: grpc.ServicerContext
    ) -> provider_pb2.CheckResponse:
        with self._called(request, context, "Check") as (call, _):
            news = plain(decode(request.news))
            if failures := list(image.unusable(news)):
                return provider_pb2.CheckResponse(
                    failures=[
                        # Without `property`, because the engine would print the value as well.
                        provider_pb2.CheckFailure(reason=f"{found.path} {found.reason}")
                        for found in failures
                    ]
                )
            return provider_pb2.CheckResponse(inputs=encode(image.checked(call, news)))

    def Diff(
        self, request: provider_pb2.DiffRequest, context: grpc.ServicerContext
    ) -> provider_pb2.DiffResponse:
        with self._called(request, context, "Diff"):
            olds = plain(decode(request.olds)).get("__inputs")
            kinds = image.differences(olds, plain(decode(request.news)))
        if not kinds:
            return provider_pb2.DiffResponse(changes=provider_pb2.DiffResponse.DIFF_NONE)
        return provider_pb2.DiffResponse(
            changes=provider_pb2.DiffResponse.DIFF_SOME,
            detailedDiff=_detailed(kinds),
            hasDetailedDiff=True,
        )

    def Create(
        self, request: provider_pb2.CreateRequest, context: grpc.ServicerContext
    ) -> provider_pb2.CreateResponse:
        with self._called(request, context, "Create") as (call, client):
            inputs = plain(decode(request.properties))
            if request.preview and not _builds_in_preview(call, inputs):
                return provider_pb2.CreateResponse(properties=request.properties)
            outputs = self._made(call, client, inputs, pushed=not request.preview)
            return provider_pb2.CreateResponse(id=inputs["imageName"], properties=encode(outputs))

    def Update(
        self, request: provider_pb2.UpdateRequest, context: grpc.ServicerContext
    ) -> provider_pb2.UpdateResponse:
        with self._called(request, context, "Update") as (call, client):
            inputs = plain(decode(request.news))
            if request.preview and not _builds_in_preview(call, inputs):
                return provider_pb2.UpdateResponse(properties=request.news)
            outputs = self._made(call, client, inputs, pushed=not request.preview)
            return provider_pb2.UpdateResponse(properties=encode(outputs))

    def Read(
        self, request: provider_pb2.ReadRequest, context: grpc.ServicerContext
    ) -> provider_pb2.ReadResponse:
        with self._called(request, context, "Read"):
            return provider_pb2.ReadResponse(
                id=request.id, properties=request.properties, inputs=request.inputs
            )

    def Delete(
        self, request: provider_pb2.DeleteRequest, context: grpc.ServicerContext
    ) -> empty_pb2.Empty:
        """Do nothing: the image belongs to its repository now."""
        with self._called(request, context, "Delete"):
            return empty_pb2.Empty()

    def _made(
        self, call: Call, client: Client | None, inputs: Properties, *, pushed: bool
    ) -> Properties:
        if client is None:
            raise Refused("the provider is not configured")
        warn_of_half_a_login(call, inputs)
        digest = client.build(call, inputs)
        if pushed and not inputs.get("skipPush"):
            self._refuse_as_ecr(*split(inputs["imageName"]))
            digest = client.push(call, inputs)
        return {**image.described(inputs), "repoDigest": digest, "__inputs": Secret(inputs)}

    def _refuse_as_ecr(self, repository: str, tag: str) -> None:
        host, _, name = repository.partition("/")
        if host != self._aws_clients.registry:
            return
        ecr = self._aws_clients.ecr(REGION)
        with fine_if("RepositoryNotFoundException"):  # The registry will report this itself.
            (found,) = ecr.describe_repositories(repositoryNames=[name])["repositories"]
            taken = ecr.batch_get_image(repositoryName=name, imageIds=[{"imageTag": tag}])["images"]
            if found["imageTagMutability"] != "IMMUTABLE" or not taken:
                return
            raise Refused(
                f"error reading push output: tag invalid: The image tag '{tag}' already exists in"
                f" the '{name}' repository and cannot be overwritten because the repository is"
                " immutable."
            )

    @contextmanager
    def _called(
        self, request: Any, context: grpc.ServicerContext, verb: str
    ) -> Iterator[tuple[Call, Client | None]]:
        """The call. Every error becomes a single error for the engine."""
        session = self._sessions.of(context.peer())
        token = request.urn.split("::")[-2].rpartition("$")[2]
        with _told(context):
            if token != _IMAGE and hasattr(pulumi_docker, token.rpartition(":")[2]):
                raise Refused(f"greenhouse has no {token}; of this package there is: {_IMAGE}")
            if token != _IMAGE:
                raise Refused(f"unrecognized resource type ({verb}): {token}")
            yield Call(session, request.urn), self._clients.get(session)


def _builds_in_preview(call: Call, inputs: Properties) -> bool:
    asked = inputs.get("buildOnPreview")
    if isinstance(asked, Unknown):
        call.warn(
            "buildOnPreview is unresolved; cannot build on preview. Continuing without preview"
            " image build. To avoid this warning, set buildOnPreview explicitly, and ensure all"
            " inputs are resolved at preview."
        )
        return False
    if not asked:
        return False
    if not image.can_be_built(inputs):
        call.warn(
            "Minimum inputs for build are unresolved. Continuing without preview image build. To"
            " avoid this warning, ensure image name, dockerfile, args, and context are resolved at"
            " preview."
        )
        return False
    return True


def _detailed(kinds: dict[str, str]) -> dict[str, provider_pb2.PropertyDiff]:
    return {
        name: provider_pb2.PropertyDiff(kind=provider_pb2.PropertyDiff.Kind.Value(kind))
        for name, kind in kinds.items()
    }


@contextmanager
def _told(context: grpc.ServicerContext) -> Iterator[None]:
    """Turn every error into one text for the engine, in the plugin's words."""
    try:
        yield
    except (Refused, NoProgram, OSError, boto.BotoCoreError, boto.ClientError) as error:
        context.abort(grpc.StatusCode.UNKNOWN, str(error))
