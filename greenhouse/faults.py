"""Faults that a test puts into a greenhouse by name, where nothing outside can cause them.

A fault is a line in the file `faults.txt` of the process it is for. A device has the file in its
root folder, the cloud has it in the home folder. The process reads it at the moment it matters, so
a test can set and clear a fault during a deployment. Without the file, a check costs one failed
look-up. What a fault does is written where its name is read.

    python -m greenhouse fault set disk-full --thing greenhouse
    python -m greenhouse fault set crash-at:downloaded
    python -m greenhouse fault list
    python -m greenhouse fault clear

The real failure is the better test, if it is easy to cause. Examples: remove an image from the
registry, delete an object from its bucket, or take a statement out of the device's role. Send
SIGSTOP or SIGKILL to a process (`<home>/run/<name>.json` has its pid), or put a device's root on a
small tmpfs.
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
    """The steps at which `crash-at` can kill a device, in the order of a deployment.

    Between `downloaded` and `removed` each component stops and starts at its own pace. The first
    component that reaches the step counts.
    """

    RECEIVED = "received"
    RESOLVED = "resolved"
    DOWNLOADED = "downloaded"
    STOPPING = "stopping"
    STOPPED = "stopped"
    STARTING = "starting"
    RUNNING = "running"
    ACTIVATED = "activated"  # Every component has started or finished.
    REMOVED = "removed"  # Unwanted components have been stopped.
    RECORDED = "recorded"  # The outcome is on disk, and the cloud doesn't know it.
    REPORTED = "reported"


@dataclass(frozen=True)
class Fault:
    """One kind of fault."""

    effect: str
    detail: str = ""  # What may follow the colon. Empty: nothing may.

    def takes(self, detail: str) -> bool:
        """Whether this can follow the colon. The names in a list are not checked."""
        if "|" in self.detail and "," not in self.detail:
            return detail in self.detail.split("|")
        return bool(self.detail) == bool(detail)


DEVICE = {
    "disk-full": Fault("no byte is left for an artifact that has to be downloaded"),
    "pull-fails": Fault("every docker pull fails, even of a present image", "denied|timeout"),
    "digest-mismatch": Fault("a byte is added to every S3 artifact on its way"),
    "ipc-denied": Fault("no component has its accessControl: it may not publish or subscribe"),
    "slow": Fault("every download waits, at most until the fault is cleared", "SECONDS"),
    "clock": Fault("the clock is before the certificates' time: every connection is refused"),
    "crashes": Fault(
        "each component's process is killed once. On Lite aws.greengrass.TokenExchangeService"
        " kills tesd",
        "COMPONENT,…",
    ),
    "engine": Fault(
        "the device's Docker engine and its containers have ended, until the fault is cleared",
        "stopped|killed",
    ),
    "crash-at": Fault("the device kills itself, once at each step", f"{'|'.join(Step)},…"),
}
CLOUD = {
    "expired-credentials": Fault("greengrassv2 answers ExpiredTokenException, except to devices"),
    "component-fails": Fault("every component version is FAILED instead of DEPLOYABLE"),
    "error": Fault(
        "greengrassv2 or Cloud Control answers each of these exceptions once",
        "OPERATION=EXCEPTION,…",
    ),
    "crash-before": Fault(
        "the cloud kills itself when it gets the call, once for each operation", "OPERATION,…"
    ),
    "crash-after": Fault(
        "the cloud kills itself before it answers, once for each operation", "OPERATION,…"
    ),
}


class Unknown(Exception):
    """There is no such fault. The message lists the faults that exist."""


class Faults:
    """The faults of the process that lives in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / _FILE

    def active(self) -> dict[str, str]:
        """Details by name. A fault without a detail has an empty string."""
        try:
            lines = self._path.read_text().split()
        except FileNotFoundError:
            return {}
        return {name: detail for name, _, detail in (line.partition(":") for line in lines)}

    def detail(self, name: str) -> str | None:
        """The detail of an active fault, or None if the fault is not active."""
        return self.active().get(name)

    def set(self, fault: str) -> None:
        """Make `NAME` or `NAME:DETAIL` active. Raises Unknown."""
        name, _, detail = fault.partition(":")
        kind = (DEVICE | CLOUD).get(name)
        if kind is None:
            raise Unknown(f"there is no fault {fault!r}; there are:\n{catalogue()}")
        if not kind.takes(detail):
            raise Unknown(f"there is no fault {fault!r}; there is:\n{_line(name, kind)}")
        self._write({**self.active(), name: detail})

    def clear(self, name: str | None = None) -> None:
        """End one fault, or all."""
        left = self.active()
        left.pop(name or "", None)
        self._write(left if name else {})

    def crash(self, name: str, where: str) -> None:
        """Kill this process if the fault names this step.

        It works once, so that the next process lives.
        """
        if self._take(name, where):
            log.critical("fault %s:%s", name, where)
            os.kill(os.getpid(), signal.SIGKILL)

    def error(self, operation: str) -> str | None:
        """The exception with which this call of the operation is answered."""
        for one in (self.detail("error") or "").split(","):
            asked, _, exception = one.partition("=")
            if asked == operation and self._take("error", one):
                return exception
        return None

    def _take(self, name: str, one: str) -> bool:
        """Whether the fault's list has `one`, which is then removed from the list."""
        left = (self.detail(name) or "").split(",")
        if one not in left:
            return False
        left.remove(one)
        self.clear(name)
        if left:
            self.set(f"{name}:{','.join(left)}")
        return True

    def drain(self, name: str) -> list[str]:
        """Everything after the fault's colon. The fault is then cleared."""
        if taken := self.detail(name):
            self.clear(name)
        return taken.split(",") if taken else []

    def _write(self, faults: dict[str, str]) -> None:
        if not faults:
            self._path.unlink(missing_ok=True)
            return
        write_whole(self._path, "".join(f"{one}:{detail}\n" for one, detail in faults.items()))


def of_home(home: Home, name: str, thing: str | None = None) -> list[Faults]:
    """The processes that the fault NAME or NAME:DETAIL is for: one device, all of them, or the
    cloud.
    """
    kind = name.partition(":")[0]
    if kind in CLOUD and thing is None:
        return [Faults(home.root)]
    if kind in DEVICE:
        things = home.things()
        if thing and thing not in things:
            there = ", ".join(things) or "none"
            raise Unknown(f"there is no device {thing!r}. greenhouse's devices are: {there}.")
        return [Faults(home.device(one)) for one in ([thing] if thing else things)]
    where = "of a device" if thing else "here"
    raise Unknown(f"there is no fault {name!r} {where}; there are:\n{catalogue()}")


def catalogue() -> str:
    """Every fault with what it does, one on each line."""
    return "\n".join(_line(name, fault) for name, fault in (DEVICE | CLOUD).items())


def _line(name: str, fault: Fault) -> str:
    return f"  {name}{':' + fault.detail if fault.detail else ''}  {fault.effect}"


commands = typer.Typer(no_args_is_help=True, help="Faults for tests: what can break, by name.")
Thing = Annotated[str | None, typer.Option(help="A core device; all of them without it.")]


@commands.command("set")
def set_fault(fault: str, thing: Thing = None) -> None:
    """Set a fault: NAME or NAME:DETAIL."""
    home = Home.find()
    home.require()
    try:
        for place in of_home(home, fault, thing):
            place.set(fault)
    except Unknown as error:
        sys.stderr.write(f"{error}\n")
        raise typer.Exit(2) from error


@commands.command("clear")
def clear_faults() -> None:
    """Clear all faults."""
    home = Home.find()
    for folder in (home.root, *map(home.device, home.things())):
        Faults(folder).clear()


@commands.command("list")
def list_faults() -> None:
    """List the faults that exist, and the faults that are set."""
    home = Home.find()
    sys.stdout.write(f"there are:\n{catalogue()}\nactive:\n")
    for folder in (home.root, *map(home.device, home.things())):
        for name, detail in Faults(folder).active().items():
            sys.stdout.write(f"  {folder.name}: {name} {detail}\n")
