"""What a killed `pulumi` leaves running: its language host, its program and its plugins.

They hold memory and ports, and nobody ends them: a killed parent can't.
"""

from __future__ import annotations

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
