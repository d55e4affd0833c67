"""Kills updates and destroys, and checks what must exist in the end all the same.

SIGKILL ends the command, so it can't tidy up. Only the remaining state counts: a death before a
call equals a death after the call before it. So each kill comes when a call was done and nobody has
heard of it.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import psutil
from botocore.exceptions import BotoCoreError

from greenhouse.processes import ProcessFailed
from tests.whole.calls import Calls
from tests.whole.place import OURS, STACK, Place, wait_until

UP = ("up", "--stack", STACK, "--yes", "--skip-preview", "--suppress-outputs")
DESTROY = ("destroy", "--stack", STACK, "--yes", "--skip-preview")


def killed_at_each_change(
    place: Place,
    calls: Calls,
    *command: str,
    kill: Callable[[subprocess.Popen[bytes]], None],
) -> list[str]:
    """Run the command until nothing kills it, and return the changes at which it was killed."""
    died_at: list[str] = []

    def counts(change: str) -> bool:
        return change not in died_at

    while new := killed_once(place, calls, *command, kill=kill, counts=counts):
        died_at += new
    return died_at


def killed_once(
    place: Place,
    calls: Calls,
    *command: str,
    kill: Callable[[subprocess.Popen[bytes]], None],
    counts: Callable[[str], bool],
) -> list[str]:
    """The change at which it was killed, and the changes that were in progress.

    If there was none, the command must succeed.
    """
    unheard: list[str] = []
    one = threading.Lock()
    said = place.home.root / "said.txt"
    wait_until(lambda: providers_listen(place), seconds=120, why="the providers aren't back")

    def answered(change: str) -> None:
        with one:
            if not counts(change) or change in unheard:
                return
            unheard.append(change)
            if not calls.cut:
                calls.cut = True
                kill(run)

    calls.answered = answered
    with said.open("wb") as output:
        run = place.begin(*command, output=output)
        run.wait()
    calls.answered = lambda _change: None
    if not unheard:
        assert run.returncode == 0, said.read_text()
    elif run.returncode < 0:
        place.pulumi("cancel", command[command.index("--stack") + 1], "--yes")
    calls.cut = False
    return unheard


def providers_listen(place: Place) -> bool:
    """The CLI waits for them, but not as long as a slow machine takes to start them again."""
    for port in (place.ports.aws, place.ports.aws_native, place.ports.docker):
        with socket.socket() as line:
            if line.connect_ex(("127.0.0.1", port)):
                return False
    return True


def kill_group(run: subprocess.Popen[bytes]) -> None:
    """CLI, language host, program and plugins. They are groups of their own and would live on."""
    family = psutil.Process(run.pid).children(recursive=True)
    os.killpg(run.pid, signal.SIGKILL)
    for one in family:
        with suppress(psutil.NoSuchProcess):
            one.kill()


@contextmanager
def restarted(place: Place) -> Iterator[None]:
    """Any process of greenhouse that dies is started again, as systemd does with a nucleus."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.1):
            if place.dead():
                # It was killed again before it was ready.
                with suppress(ProcessFailed, BotoCoreError):
                    place.revive()

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        place.revive()


def assert_it_is_there_once(place: Place) -> None:
    """One service, one consumer, one version of each component in use, golden answers."""
    outputs = place.outputs()
    assert place.await_answers(outputs["model"])
    states = place.states()
    assert {name: states[name][0] for name in OURS} == outputs["components"]
    names = [one.split()[0] for one in place.containers()]
    assert names == [f"{name}.{place.thing}" for name in ("com.ml.consumer", "com.ml.xgboost")]
    place.pulumi("preview", "--stack", STACK, "--expect-no-changes")
