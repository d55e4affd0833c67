"""Serves the packages on their ports."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent import futures

import grpc
from pulumi.runtime.proto import provider_pb2_grpc

from greenhouse.providers import aws
from greenhouse.providers.aws_clients import AwsClients
from greenhouse.providers.aws_native import servicer as aws_native
from greenhouse.providers.docker.servicer import DockerServicer
from greenhouse.providers.protocol.peer_user import OwnersAlone
from greenhouse.providers.protocol.resource import Refused
from greenhouse.providers.protocol.servicer import Servicer
from infra.errors import told

PACKAGES: Mapping[str, Callable[[AwsClients, int], provider_pb2_grpc.ResourceProviderServicer]] = {
    "aws": lambda clients, port: Servicer(aws.package(clients), port),
    "aws-native": aws_native.NativeServicer,
    "docker": DockerServicer,
}
_THREADS = 32  # The engine runs any number of steps at once.
_LONGEST_MESSAGE = 400 * 1024 * 1024  # The engine's own limit.
_OPTIONS = [
    ("grpc.max_receive_message_length", _LONGEST_MESSAGE),
    ("grpc.max_send_message_length", _LONGEST_MESSAGE),
    ("grpc.so_reuseport", 0),  # Otherwise two greenhouses could share a port without an error.
]


def serve(ports: str, clients: AwsClients) -> list[grpc.Server]:
    """Start the servers of `aws:P1,aws-native:P2,…`. Raises Refused if a port isn't free."""
    return [_serve(name, port, clients) for name, port in _parse(ports)]


def _parse(ports: str) -> list[tuple[str, int]]:
    entries = [entry.partition(":") for entry in ports.split(",")]
    for name, _, port in entries:
        if name not in PACKAGES or not port.isdecimal():
            raise Refused(
                f"--ports '{ports}': '{name}:{port}' is not PACKAGE:PORT with one of"
                f" {', '.join(PACKAGES)}. For example: aws:4501,aws-native:4502,docker:4503"
            )
    return [(name, int(port)) for name, _, port in entries]


def _serve(name: str, port: int, clients: AwsClients) -> grpc.Server:
    server = grpc.server(
        futures.ThreadPoolExecutor(_THREADS, name),
        options=_OPTIONS,
        interceptors=[OwnersAlone(port)],
    )
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(PACKAGES[name](clients, port), server)
    try:
        server.add_insecure_port(f"127.0.0.1:{port}")
    except RuntimeError as error:
        raise Refused(
            told(
                f"{name} needs 127.0.0.1:{port}, which can't be had.",
                "Stop the process that uses it, or choose another port. See which it is:",
                f"ss -ltnp 'sport = :{port}'",
            )
        ) from error
    server.start()
    return server
