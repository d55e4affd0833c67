"""Serve the providers on loopback ports until SIGTERM: python -m greenhouse.providers --help."""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import Annotated

import typer

os.environ["GRPC_VERBOSITY"] = "NONE"  # We report a port that is in use ourselves, in one line.

from greenhouse.providers.aws_clients import AwsClients
from greenhouse.providers.docker.client import end_running
from greenhouse.providers.protocol.resource import Refused
from greenhouse.providers.server import serve


def main(
    ports: Annotated[
        str, typer.Option(help="As PULUMI_DEBUG_PROVIDERS has it: aws:P1,aws-native:P2,docker:P3.")
    ],
) -> None:
    """Pulumi providers that work on this machine, with AWS_ENDPOINT_URL and the Docker engine."""
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    try:
        servers = serve(ports, AwsClients.of(os.environ))
    except Refused as error:
        sys.stderr.write(f"{error}\n")
        raise typer.Exit(1) from error
    sys.stdout.write(f"PULUMI_DEBUG_PROVIDERS={ports}\n")
    sys.stdout.flush()
    ended.wait()
    for stopped in [server.stop(grace=None) for server in servers]:
        stopped.wait()
    end_running()


if __name__ == "__main__":
    typer.run(main)
