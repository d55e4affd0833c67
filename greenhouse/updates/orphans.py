"""Ends what a killed `pulumi` leaves: language host, program, plugins, and a locked state.

These processes hold memory and ports. The killed parent can't end them, and it doesn't unlock the
state.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import psutil

_PARTS = ("pulumi-language-", "pulumi-resource-")
_DYNAMIC = "pulumi.dynamic"  # The shell script of a dynamic provider starts this module.
_PATIENCE_SECONDS = 5.0


def orphans(pulumi_home: Path) -> list[psutil.Process]:
    """The processes of a killed `pulumi` with this PULUMI_HOME.

    A running `pulumi` keeps its own.
    """
    found = []
    # Otherwise a new process could pass for an ended process of the same number.
    psutil.process_iter.cache_clear()
    for process in psutil.process_iter():
        with suppress(psutil.Error):  # It has just ended, or belongs to another user.
            words = process.cmdline()
            part = _DYNAMIC in words or any(Path(one).name.startswith(_PARTS) for one in words[:3])
            if not part or process.environ().get("PULUMI_HOME") != str(pulumi_home):
                continue
            if not any(parent.name() == "pulumi" for parent in process.parents()):
                found.append(process)
    return found


def end_orphans(pulumi_home: Path) -> None:
    """Send SIGTERM, then SIGKILL."""
    left = orphans(pulumi_home)
    for process in left:
        with suppress(psutil.Error):
            process.terminate()
    for process in psutil.wait_procs(left, timeout=_PATIENCE_SECONDS)[1]:
        with suppress(psutil.Error):
            process.kill()


def unlock(stacks: Path) -> None:
    """Remove the locks of ended `pulumi`s from the state in this folder.

    Pulumi itself asks a person to look and to type `pulumi cancel`, as the lock in a shared place
    may belong to another machine. This state is on this machine (pkg/backend/diy/lock.go).
    """
    for lock in (stacks / ".pulumi" / "locks").rglob("*.json"):
        # Half written, or just removed.
        with suppress(OSError, ValueError, KeyError, psutil.Error):
            pid = json.loads(lock.read_text())["pid"]
            if not psutil.pid_exists(pid) or psutil.Process(pid).name() != "pulumi":
                lock.unlink()
