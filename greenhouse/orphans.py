"""What a killed `pulumi` leaves: its language host, its program, its plugins, and a locked state.

They hold memory and ports, and nobody ends them: a killed parent can't. Nor does it unlock.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import psutil

_PARTS = ("pulumi-language-", "pulumi-resource-")
_DYNAMIC = "pulumi.dynamic"  # the module that a dynamic provider's shell script starts
_PATIENCE_SECONDS = 5.0


def orphans(pulumi_home: Path) -> list[psutil.Process]:
    """Parts of a `pulumi` with this PULUMI_HOME that is gone; one that runs keeps its own."""
    found = []
    psutil.process_iter.cache_clear()  # it would take a process for an ended one with its number
    for process in psutil.process_iter():
        with suppress(psutil.Error):  # it has just ended, or is another user's
            words = process.cmdline()
            part = _DYNAMIC in words or any(Path(one).name.startswith(_PARTS) for one in words[:3])
            if not part or process.environ().get("PULUMI_HOME") != str(pulumi_home):
                continue
            if not any(parent.name() == "pulumi" for parent in process.parents()):
                found.append(process)
    return found


def end_orphans(pulumi_home: Path) -> None:
    """SIGTERM, then SIGKILL."""
    left = orphans(pulumi_home)
    for process in left:
        with suppress(psutil.Error):
            process.terminate()
    for process in psutil.wait_procs(left, timeout=_PATIENCE_SECONDS)[1]:
        with suppress(psutil.Error):
            process.kill()


def unlock(stacks: Path) -> None:
    """Remove the locks of `pulumi`s that are gone from the state in this folder.

    Pulumi itself asks a person to look and to type `pulumi cancel`, as a lock in a shared place may
    be another machine's. This state is on this one (pkg/backend/diy/lock.go).
    """
    for lock in (stacks / ".pulumi" / "locks").rglob("*.json"):
        with suppress(OSError, ValueError, KeyError, psutil.Error):  # half written, or just gone
            pid = json.loads(lock.read_text())["pid"]
            if not psutil.pid_exists(pid) or psutil.Process(pid).name() != "pulumi":
                lock.unlink()
