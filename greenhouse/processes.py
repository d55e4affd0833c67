"""Starts and stops the processes of one greenhouse, which run apart from the terminal.

Any later command can find them. The kernel may give a pid to another process later, so each process
is remembered with its time of birth.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

import psutil

from greenhouse.files import write_whole
from infra.errors import told

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_POLL_SECONDS = 0.05
_SHOWN_LINES = 10  # Of a log, where a process failed.
OWNERS_ALONE = 0o077  # The umask of a process whose files nobody else may read.
STOP_SECONDS = 20.0  # A device runs its components' shutdown scripts first, for up to 15 s each.


class ProcessFailed(Exception):
    """A process of ours could not be started or stopped. The message says what to do."""


def birth(pid: int) -> str | None:
    """What tells a process from a later one with its pid: the boot, and the clock tick of its
    start.

    None if there is no process. The wall clock can't serve, as it is set while processes run.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # By proc_pid_stat(5), starttime is the 22nd field.
    behind_name = stat.rpartition(")")[2].split()
    return f"{_BOOT.read_text().strip()} {behind_name[22 - 3]}"


def port_holder(port: int) -> str | None:
    """The process that listens on the loopback port, as `pid 12 (name)`.

    None if the port is free.
    """
    for found in psutil.net_connections("tcp"):
        if found.status == psutil.CONN_LISTEN and found.laddr and found.laddr.port == port:
            with suppress(psutil.Error):
                if found.pid is not None:  # The kernel names only the user's own processes.
                    return f"pid {found.pid} ({psutil.Process(found.pid).name()})"
            return "a process of another user"
    return None


class Processes:
    """Named processes, remembered in a folder."""

    _children: ClassVar[dict[int, subprocess.Popen[bytes]]] = {}  # Started here, so reaped here.

    def __init__(self, *, run: Path, logs: Path) -> None:
        self._run, self._logs = run, logs

    def log(self, name: str) -> Path:
        return self._logs / f"{name}.log"

    def names(self) -> list[str]:
        return sorted(path.stem for path in self._run.glob("*.json"))

    def find(self, name: str) -> psutil.Process | None:
        """The running process of that name, or None."""
        unreadable = (ValueError, LookupError, TypeError)  # Such a record counts as none.
        with suppress(FileNotFoundError, psutil.NoSuchProcess, *unreadable):
            seen = json.loads(self._record(name).read_text())
            process = psutil.Process(seen["pid"])
            if process.status() != psutil.STATUS_ZOMBIE and birth(process.pid) == seen["birth"]:
                return process
        return None

    def started(self, name: str) -> datetime:
        """When the process of that name was started. It need not run now."""
        return datetime.fromtimestamp(self._record(name).stat().st_mtime, UTC)

    def start(
        self,
        name: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path,
        ready: Callable[[], bool],
        ports: Sequence[int] = (),
        umask: int = OWNERS_ALONE,
        timeout: float = 60.0,
    ) -> None:
        """Start the process unless it runs, and return when `ready()` is true.

        Raises ProcessFailed with the log's last lines if the process ends early or isn't ready in
        time. Raises it with the holder's name if a port that it needs is taken.
        """
        # A shown log begins with this start: the last refusal of the same kind is no news.
        begin = log.stat().st_size if (log := self.log(name)).exists() else 0
        child = (
            None
            if self.find(name)
            else self._spawn(name, argv, env=env, cwd=cwd, ports=ports, umask=umask)
        )
        deadline = time.monotonic() + timeout
        while not ready():
            if self.find(name) is None:
                what = f"ended with {child.wait()}" if child else "ended"
            elif time.monotonic() > deadline:
                what = f"was not ready after {timeout:.0f} s"
            else:
                time.sleep(_POLL_SECONDS)
                continue
            if child:
                self.stop(name)
                raise ProcessFailed(f"{name} {what}:\n{self._tail(name, begin)}")
            # We may not end it.
            raise ProcessFailed(
                told(
                    f"{name} {what}, although it ran before:\n{self._tail(name)}",
                    "Stop it, and try again:",
                    "python -m greenhouse stop",
                )
            )

    def _spawn(
        self,
        name: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path,
        ports: Sequence[int],
        umask: int,
    ) -> subprocess.Popen[bytes]:
        for port in ports:
            if holder := port_holder(port):
                raise ProcessFailed(
                    told(
                        f"{name} needs 127.0.0.1:{port}, but {holder} uses it.",
                        "Stop that process, or remove this greenhouse to get other ports:",
                        "make clean",
                    )
                )
        self._logs.mkdir(parents=True, exist_ok=True)
        with self.log(name).open("ab") as log:
            child = subprocess.Popen(
                argv,
                env={**os.environ, **env},
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                umask=umask,
            )
        self._children[child.pid] = child
        write_whole(self._record(name), json.dumps({"pid": child.pid, "birth": birth(child.pid)}))
        return child

    def stop(self, name: str) -> None:
        """Send SIGTERM, then SIGKILL after `STOP_SECONDS`.

        Without a running process, do nothing.
        """
        if process := self.find(name):
            process.terminate()
            if not self._ends(name):
                process.kill()
                self._ends(name)
            if child := self._children.pop(process.pid, None):
                child.wait()
        self._forget(name)

    def _ends(self, name: str) -> bool:
        """Wait until it has ended.

        A zombie has ended, even if this machine's init never collects it.
        """
        deadline = time.monotonic() + STOP_SECONDS
        while self.find(name):
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_SECONDS)
        return True

    def _record(self, name: str) -> Path:
        return self._run / f"{name}.json"

    def _forget(self, name: str) -> None:
        self._record(name).unlink(missing_ok=True)

    def _tail(self, name: str, begin: int = 0) -> str:
        """The last lines of its log from this byte on."""
        written = self.log(name).read_bytes()[begin:].decode(errors="replace")
        text = written.splitlines()[-_SHOWN_LINES:]
        return "\n".join(f"  {line}" for line in text) + f"\n  (all of it: {self.log(name)})"
