"""Faults by name: where they are kept, and that each breaks what it says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from greenhouse.faults import CLOUD, DEVICE, Faults, Unknown, of_home
from greenhouse.home import Home


def test_a_fault_is_there_from_set_to_clear(tmp_path: Path) -> None:
    faults = Faults(tmp_path)
    assert faults.detail("slow") is None, "nothing is broken unasked"
    faults.set("slow:3")
    faults.set("disk-full")
    assert faults.active() == {"slow": "3", "disk-full": ""}
    faults.clear("slow")
    assert faults.active() == {"disk-full": ""}
    faults.clear()
    assert list(tmp_path.iterdir()) == [], "no trace of it is left"


@pytest.mark.parametrize("fault", ["disk-ful", "slow", "disk-full:3", "engine", "engine:away"])
def test_a_fault_that_there_is_not_is_refused_with_those_there_are(
    tmp_path: Path, fault: str
) -> None:
    with pytest.raises(Unknown, match="crash-at:received"):
        Faults(tmp_path).set(fault)


def test_each_fault_belongs_to_the_process_that_reads_it(tmp_path: Path) -> None:
    home = Home(tmp_path)
    for thing in ("one", "two"):
        home.device(thing).mkdir(parents=True)
    for name in DEVICE:
        assert len(of_home(home, f"{name}:x")) == len(of_home(home, name)) == 2, "every device"
        assert len(of_home(home, name, "one")) == 1
    for name in CLOUD:
        assert len(of_home(home, name)) == 1
        with pytest.raises(Unknown, match="of a device"):
            of_home(home, name, "one")


def test_a_crash_happens_at_each_step_that_was_asked_for_and_once(tmp_path: Path) -> None:
    Faults(tmp_path).set("crash-at:resolved,reported")
    steps = ("received", "resolved", "downloaded", "reported")
    script = (
        "from pathlib import Path; from greenhouse.faults import Faults;"
        f" faults = Faults(Path({str(tmp_path)!r}));"
        f" [(faults.crash('crash-at', step), print(step, flush=True)) for step in {steps}]"
    )
    ends = [
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
        for _ in range(3)
    ]
    assert [(end.returncode, tuple(end.stdout.split())) for end in ends] == [
        (-9, steps[:1]),
        (-9, steps[:3]),
        (0, steps),
    ]
