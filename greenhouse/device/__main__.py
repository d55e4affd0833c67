"""`python -m greenhouse.device`: one core device, until SIGTERM."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import boto3
import typer

from greenhouse.device.cloud import AccountCloud
from greenhouse.device.flavours import Flavour
from greenhouse.device.flavours.java import Java
from greenhouse.device.flavours.lite.flavour import Lite
from greenhouse.device.folders import Folders
from greenhouse.device.lock import Taken, hold
from greenhouse.device.nucleus import Nucleus, Settings
from greenhouse.faults import Faults
from greenhouse.files import write_whole
from greenhouse.home import DEVICE_ROLE, REGION
from greenhouse.signatures import NoKey, own_key
from infra.errors import told

FLAVOURS: dict[str, Callable[[], Flavour]] = {
    "java": Java,
    "lite": Lite,
    "lite-252": partial(Lite, systemd=252),  # As on Debian 12: no startup can succeed.
}

EX_TEMPFAIL = 75
EX_CONFIG = 78


def main(
    thing: Annotated[str, typer.Option(help="The name of the thing that the device is.")],
    root: Annotated[Path, typer.Option(help="The Greengrass root folder.")],
    role: Annotated[
        str, typer.Option(help="The token exchange role, asked before every download.")
    ] = DEVICE_ROLE,
    flavour: Annotated[
        Literal["java", "lite", "lite-252"] | None,
        typer.Option(help="The runtime that it imitates; by default the one before, or java."),
    ] = None,
) -> None:
    """Run one core device. The variables AWS_* name its account."""
    try:
        endpoint = os.environ["AWS_ENDPOINT_URL_GREENGRASSV2"]
    except KeyError as missing:
        print(
            told(
                f"{missing.args[0]} is not set, so the device doesn't know its cloud.",
                "Give this shell greenhouse's environment:",
                'eval "$(make -s env)"',
            ),
            file=sys.stderr,
        )
        raise typer.Exit(EX_CONFIG) from missing
    try:
        key = own_key(os.environ)
    except NoKey as error:
        print(error, file=sys.stderr)
        raise typer.Exit(EX_CONFIG) from error
    folders = Folders(root.resolve())

    def nucleus() -> Nucleus:
        _log_to(folders.log("greengrass"))
        settings = Settings(
            thing=thing,
            folders=folders,
            role=role,
            region=REGION,
            flavour=FLAVOURS[_remembered(folders.root / "flavour", flavour)](),
        )
        session = boto3.Session(region_name=REGION)
        cloud = AccountCloud(
            thing=thing,
            endpoint=endpoint,
            greengrass=session.client("greengrassv2"),
            iot=session.client("iot"),
            credentials=key,
            faults=Faults(folders.root),
        )
        return Nucleus(settings, cloud=cloud, iam=session.client("iam"), s3=session.client("s3"))

    try:
        asyncio.run(_run(thing, folders.root, nucleus))
    except Taken as taken:
        print(taken, file=sys.stderr)
        raise typer.Exit(EX_TEMPFAIL) from taken


async def _run(thing: str, root: Path, nucleus: Callable[[], Nucleus]) -> None:
    """Make the device only after it holds the lock on its name.

    A refused process leaves no folder.
    """
    lock = await hold(thing, root)
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    async with lock:
        await nucleus().run(ended)


def _remembered(path: Path, wanted: str | None) -> str:
    """The flavour with which the device was first started. The disk holds one flavour's files."""
    known = path.read_text() if path.exists() else wanted or "java"
    if wanted not in (None, known):
        print(
            f"{path.parent} is a device of the flavour {known}, not {wanted}."
            " Name another --root, or remove that device.",
            file=sys.stderr,
        )
        raise typer.Exit(EX_CONFIG)
    write_whole(path, known)
    return known


def _log_to(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s [%(levelname)s] %(name)s: %(message)s",
        handlers=[logging.FileHandler(path), logging.StreamHandler()],
    )
    logging.getLogger("botocore").setLevel(logging.WARNING)


if __name__ == "__main__":
    typer.run(main)
