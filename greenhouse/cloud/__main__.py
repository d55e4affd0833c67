"""Serve the cloud on a loopback port until SIGTERM: python -m greenhouse.cloud --help."""

from __future__ import annotations

import errno
import logging
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Annotated

import typer
import uvicorn

from greenhouse.cloud.cloudcontrol.requests import CloudControl
from greenhouse.cloud.greengrassv2.api import Api
from greenhouse.cloud.iot_and_s3 import IotAndS3
from greenhouse.cloud.server import Cloud
from greenhouse.cloud.service_shapes import ServiceShapes
from greenhouse.cloud.store import Store, StoreUnusable
from greenhouse.faults import Faults
from greenhouse.signatures import Guard, NoKey, own_key

log = logging.getLogger("greenhouse.cloud")


class PortTaken(Exception):
    """Another process listens on the port."""


def listen(port: int) -> socket.socket:
    """Return our socket on the loopback address."""
    # Nagle's delay (40 ms an answer) is off in asyncio only if the protocol is given explicitly.
    taken = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        taken.bind(("127.0.0.1", port))
        taken.listen()
    except OSError as error:
        taken.close()
        if error.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise
        raise PortTaken(
            f"the cloud needs 127.0.0.1:{port}: {error.strerror}. Stop the process that uses it,"
            " or choose another --port"
        ) from error
    return taken


def serve(
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1.")],
    store: Annotated[Path, typer.Option(help="SQLite file; made when it isn't there.")],
) -> None:
    """greengrassv2 and cloudcontrol for boto3, beside MiniStack (AWS_ENDPOINT_URL)."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stdout, format="%(asctime)s %(message)s")
    logging.getLogger("greenhouse").setLevel(logging.INFO)
    try:
        key = own_key(os.environ)
        listening, opened = listen(port), Store(store)
    except (NoKey, PortTaken, StoreUnusable) as error:
        sys.stderr.write(f"{error}\n")
        raise typer.Exit(1) from error
    shapes = ServiceShapes()
    faults = Faults(store.parent)
    api = Api(opened, IotAndS3(), shapes, faults)
    control = CloudControl(opened, shapes, api.call)
    cloud = Cloud(api, shapes, control, faults=faults, closing=lambda: server.should_exit)
    config = uvicorn.Config(
        Guard(cloud.app(), key, health="/health"),
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
    )
    server = uvicorn.Server(config)
    for number in (signal.SIGINT, signal.SIGTERM):
        # Uvicorn ends in order and then raises the signal again, which has been obeyed by then.
        signal.signal(number, lambda *_: None)
    log.info("cloud on http://127.0.0.1:%d, store %s", port, store)
    server.run(sockets=[listening])
    opened.close()
    log.info("cloud stopped")


if __name__ == "__main__":
    typer.run(serve)
