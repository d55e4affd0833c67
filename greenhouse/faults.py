"""Faults that a test puts into a greenhouse by name, for what can't be broken from outside.

A fault is a line in `faults.txt` of the process it is for: a device's own root folder, the home
folder for the cloud. It is read at the moment it matters, so it can be set and cleared while a
deployment is under way, and costs one failed look for a file where there is none.

    python -m greenhouse fault set disk-full --thing greenhouse
    python -m greenhouse fault set crash-at:downloaded
    python -m greenhouse fault list
    python -m greenhouse fault clear

Where the real thing is easy it is the better test: an image removed from the registry, an object
deleted from its bucket, a statement taken out of the device's role, SIGSTOP or SIGKILL to a process
(`<home>/run/<name>.json` has its pid), a device root on a small tmpfs.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from greenhouse.files import write_whole
from greenhouse.home import Home

log = logging.getLogger(__name__)

_FILE = "faults.txt"


class Step(StrEnum):
    """Where `crash-at` can kill a device, in the order in which a deployment gets there.

    Between `downloaded` and `removed` every component goes its own way through stopping, stopped,
    starting and running; the first one to get there counts.
    """

    RECEIVED = "received"
    RESOLVED = "resolved"
    DOWNLOADED = "downloaded"
    STOPPING = "stopping"
    STOPPED = "stopped"
    STARTING = "starting"
    RUNNING = "running"
    ACTIVATED = "activated"  # everything has arrived
    REMOVED = "removed"  # what isn't wanted any more has been stopped
    RECORDED = "recorded"  # the end is on disk, the cloud doesn't know it
    REPORTED = "reported"


@dataclass(frozen=True)
class Fault:
    """One kind of fault."""

    effect: str
    detail: str = ""  # what may stand behind the colon; empty: nothing

    def takes(self, detail: str) -> bool:
        """Whether this can be behind the colon; what a list in it names is not looked at."""
        if "|" in self.detail and "," not in self.detail:
            return detail in self.detail.split("|")
        return bool(self.detail) == bool(detail)


DEVICE = {
    "disk-full": Fault("no byte is left for an artifact that has to be downloaded"),
    "pull-fails": Fault("every docker pull fails, also of what is there", "denied|timeout"),
    "digest-mismatch": Fault("a byte is added to every S3 artifact on its way"),
    "ipc-denied": Fault("no component has its accessControl: it may not publish or subscribe"),
    "slow": Fault("every download is held up, until the fault is cleared at most", "SECONDS"),
    "clock": Fault("the clock is before the certificates' time: every connection is refused"),
    "crashes": Fault(
        "a component's process is killed, once for each; of Lite's own there is"
        " aws.greengrass.TokenExchangeService, for tesd dies",
        "COMPONENT,…",
    ),
    "engine": Fault(
        "the device's Docker engine and its containers have ended, until the fault is cleared",
        "stopped|killed",
    ),
    "crash-at": Fault("the device kills itself, once at each", f"{'|'.join(Step)},…"),
}
CLOUD = {
    "expired-credentials": Fault("greengrassv2 answers ExpiredTokenException to people"),
    "component-fails": Fault("every component version is FAILED instead of DEPLOYABLE"),
    "error": Fault(
        "greengrassv2 or Cloud Control answers it once, for each", "OPERATION=EXCEPTION,…"
    ),
    "crash-before": Fault("the cloud kills itself when it is asked, once for each", "OPERATION,…"),
    "crash-after": Fault("the cloud kills itself before it answers, once for each", "OPERATION,…"),
}


class Unknown(Exception):
    """There is no such fault; the message lists those there are."""


class Faults:
    """The faults of the process that lives in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / _FILE

    def active(self) -> dict[str, str]:
        """Details by name; an empty one where there is none."""
        try:
            lines = self._path.read_text().split()
        except FileNotFoundError:
            return {}
        return {name: detail for name, _, detail in (line.partition(":") for line in lines)}

    def detail(self, name: str) -> str | None:
        """The detail of an active fault; None where it isn't active."""
        return self.active().get(name)

    def set(self, fault: str) -> None:
        """Make `NAME` or `NAME:DETAIL` active; raises Unknown."""
        name, _, detail = fault.partition(":")
        kind = (DEVICE | CLOUD).get(name)
        if kind is None or not kind.takes(detail):
            raise Unknown(f"there is no fault {fault!r}; there are:\n{catalogue()}")
        self._write({**self.active(), name: detail})

    def clear(self, name: str | None = None) -> None:
        """End one fault, or all."""
        left = self.active()
        left.pop(name or "", None)
        self._write(left if name else {})

    def crash(self, name: str, where: str) -> None:
        """Kill this process if the fault says so here; once, so that its successor lives."""
        if self._take(name, where):
            log.critical("fault %s:%s", name, where)
            os.kill(os.getpid(), signal.SIGKILL)

    def error(self, operation: str) -> str | None:
        """The exception that this call of the operation is to be answered with."""
        for one in (self.detail("error") or "").split(","):
            asked, _, exception = one.partition("=")
            if asked == operation and self._take("error", one):
                return exception
        return None

    def _take(self, name: str, one: str) -> bool:
        """Whether a fault's list has `one`; it is taken out."""
        left = (self.detail(name) or "").split(",")
        if one not in left:
            return False
        left.remove(one)
        self.clear(name)
        if left:
            self.set(f"{name}:{','.join(left)}")
        return True

    def drain(self, name: str) -> list[str]:
        """All that is behind the fault's colon, and the fault is over."""
        if taken := self.detail(name):
            self.clear(name)
        return taken.split(",") if taken else []

    def _write(self, faults: dict[str, str]) -> None:
        if not faults:
            self._path.unlink(missing_ok=True)
            return
        write_whole(self._path, "".join(f"{one}:{detail}\n" for one, detail in faults.items()))


def of_home(home: Home, name: str, thing: str | None = None) -> list[Faults]:
    """Where the fault NAME or NAME:DETAIL belongs: to one device or all of them, or to the cloud.

    Raises Unknown.
    """
    kind = name.partition(":")[0]
    if kind in CLOUD and thing is None:
        return [Faults(home.root)]
    if kind in DEVICE:
        return [Faults(home.device(one)) for one in ([thing] if thing else home.things())]
    where = "of a device" if thing else "here"
    raise Unknown(f"there is no fault {name!r} {where}; there are:\n{catalogue()}")


def catalogue() -> str:
    """Every fault with what it does, one a line."""
    return "\n".join(
        f"  {name}{':' + fault.detail if fault.detail else ''}  {fault.effect}"
        for name, fault in (DEVICE | CLOUD).items()
    )


commands = typer.Typer(no_args_is_help=True, help="Faults for tests: what can break, by name.")
Thing = Annotated[str | None, typer.Option(help="A core device; all of them without it.")]


@commands.command("set")
def set_fault(fault: str, thing: Thing = None) -> None:
    """Put a fault in: NAME or NAME:DETAIL."""
    try:
        for place in of_home(Home.find(), fault, thing):
            place.set(fault)
    except Unknown as error:
        sys.stderr.write(f"{error}\n")
        raise typer.Exit(2) from error


@commands.command("clear")
def clear_faults() -> None:
    """Take all faults out again."""
    home = Home.find()
    for folder in (home.root, *map(home.device, home.things())):
        Faults(folder).clear()


@commands.command("list")
def list_faults() -> None:
    """Which faults there are, and which are in."""
    home = Home.find()
    sys.stdout.write(f"there are:\n{catalogue()}\nactive:\n")
    for folder in (home.root, *map(home.device, home.things())):
        for name, detail in Faults(folder).active().items():
            sys.stdout.write(f"  {folder.name}: {name} {detail}\n")
