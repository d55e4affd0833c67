"""Faults by name: where they are kept, and that each breaks what it says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import typer

from greenhouse.faults import CLOUD, DEVICE, Faults, Unknown, of_home, set_fault
from greenhouse.home import Home, HomeBroken


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


@pytest.mark.parametrize("fault", ["disk-ful", "nonsense:3"])
def test_a_fault_that_there_is_not_is_refused_with_those_there_are(
    tmp_path: Path, fault: str
) -> None:
    with pytest.raises(Unknown, match="crash-at:received"):
        Faults(tmp_path).set(fault)


@pytest.mark.parametrize("fault", ["slow", "disk-full:3", "engine", "engine:away"])
def test_a_fault_with_another_detail_is_refused_with_its_own_details(
    tmp_path: Path, fault: str
) -> None:
    with pytest.raises(Unknown) as refused:
        Faults(tmp_path).set(fault)
    first, *there = str(refused.value).splitlines()
    assert first == f"there is no fault {fault!r}; there is:"
    [line] = there
    name = fault.partition(":")[0]
    assert line.split()[0] == ":".join(filter(None, [name, DEVICE[name].detail]))


def test_a_fault_of_a_device_that_there_is_not_is_refused_and_makes_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The next `make down` would take its folder for a device's."""
    home = Home(tmp_path)
    monkeypatch.setattr(Home, "find", lambda: home)
    with pytest.raises(HomeBroken, match="no greenhouse here yet"):
        set_fault("engine:killed", "nope")
    home.ports()
    for thing in ("one", "two"):
        home.device(thing).mkdir(parents=True)
    with pytest.raises(typer.Exit) as ended:
        set_fault("engine:killed", "nope")
    assert ended.value.exit_code == 2
    assert "'nope'. greenhouse's devices are: one, two." in capsys.readouterr().err
    assert home.things() == ["one", "two"]


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
