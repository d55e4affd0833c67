"""How a greenhouse handles killed processes, and a start that failed half-way."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from greenhouse import start_and_stop
from greenhouse.device.ipc.broker import ShortFolder
from greenhouse.home import Home
from greenhouse.processes import Processes, ProcessFailed
from greenhouse.start_and_stop import bring_up, refuse_what_forgot, stop_greenhouse
from greenhouse.updates.orphans import orphans, unlock


@pytest.mark.parametrize(("kept", "refused"), [(None, True), (-1, True), (1, False)])
def test_a_ministack_that_was_killed_has_forgotten_what_others_count_on(
    tmp_path: Path, kept: int | None, refused: bool
) -> None:
    """There is a record, no process, and no state that it saved at its end."""
    run, state = tmp_path / "run", tmp_path / "state"
    record, ended = run / "ministack.json", state / "iam.json"
    for path in (record, ended):
        path.parent.mkdir()
    record.write_text(json.dumps({"pid": os.getpid(), "birth": "another-boot 12"}))
    os.utime(record, (1000, 1000))
    if kept is not None:
        ended.touch()
        os.utime(ended, (1000 + kept, 1000 + kept))
    processes = Processes(run=run, logs=tmp_path)
    if refused:
        with pytest.raises(ProcessFailed, match=r"(?s)was killed.*make clean && make up"):
            refuse_what_forgot(processes, state)
    else:
        refuse_what_forgot(processes, state)


def test_a_ministack_that_runs_or_never_ran_has_forgotten_nothing(tmp_path: Path) -> None:
    processes = Processes(run=tmp_path / "run", logs=tmp_path)
    refuse_what_forgot(processes, tmp_path / "state")
    processes.start("ministack", ["sleep", "100"], env={}, cwd=tmp_path, ready=lambda: True)
    refuse_what_forgot(processes, tmp_path / "state")
    processes.stop("ministack")


@pytest.mark.parametrize("failure", [ProcessFailed("no providers"), KeyboardInterrupt()])
def test_a_failed_start_leaves_only_what_ran_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    home = Home(tmp_path)
    processes = Processes(run=home.run, logs=home.logs)

    def start(name: str) -> None:
        processes.start(name, ["sleep", "100"], env={}, cwd=tmp_path, ready=lambda: True)

    def half(*_: object, **__: object) -> None:
        start("cloud")
        raise failure

    monkeypatch.setattr(start_and_stop, "start_greenhouse", half)
    start("ministack")
    try:
        with pytest.raises(type(failure)):
            bring_up(home, {}, ["thing"])
        assert processes.names() == ["ministack"]
    finally:
        processes.stop("ministack")


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[dict[str, psutil.Process]]:
    """A plugin of an ended `pulumi`, one of a running `pulumi`, and one of another greenhouse's."""
    plugin = script(tmp_path / "pulumi-resource-x", "echo; sleep 1000; true")
    alive = script(tmp_path / "pulumi", f"{plugin}; true")
    home = Home(tmp_path / "home")
    wanted = {"orphan": (plugin, home), "alive": (alive, home), "other": (plugin, Home(tmp_path))}
    started = {
        name: subprocess.Popen(
            [program],
            env={**os.environ, "PULUMI_HOME": str(whose.pulumi)},
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        for name, (program, whose) in wanted.items()
    }
    for process in started.values():
        assert process.stdout
        assert process.stdout.readline(), "the plugin itself runs"
    yield {name: psutil.Process(process.pid) for name, process in started.items()}
    for process in started.values():
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_a_killed_pulumi_loses_its_parts_and_a_running_pulumi_keeps_them(
    tmp_path: Path, parts: dict[str, psutil.Process]
) -> None:
    home = Home(tmp_path / "home")
    assert orphans(home.pulumi) == [parts["orphan"]]
    stop_greenhouse(home)
    assert orphans(home.pulumi) == []
    assert [*parts["alive"].children()], "it is at work"
    assert parts["other"].status() != psutil.STATUS_ZOMBIE


@pytest.fixture
def shared() -> Iterator[Path]:
    """A temporary folder that isn't too long for a socket, as tmp_path may be."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


def test_the_private_folders_of_killed_processes_go_with_the_greenhouse(
    tmp_path: Path, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(shared))
    home = Home(tmp_path / "home")
    for root in (home.run, home.device("press-1"), home.device("press-2")):
        root.mkdir(parents=True)
        assert ShortFolder(root).path.parent == shared
    theirs = shared / "greenhouse-of-others"
    theirs.mkdir(mode=0o755)
    (home.device("press-2") / "socket-folder").write_text(str(theirs))
    stop_greenhouse(home, but={"device-press-1"})
    assert len(list(shared.iterdir())) == 4, "some of them are in use"
    stop_greenhouse(home)
    left = {path.name for path in shared.iterdir()}
    assert theirs.name in left, "a record is no proof"
    assert len(left) == 2, "and the folder that press-2 had before somebody wrote another name"


def test_a_killed_pulumi_locks_nothing_and_a_running_one_does(tmp_path: Path) -> None:
    program = tmp_path / "pulumi"
    shutil.copy(shutil.which("sleep") or "", program)
    locks = tmp_path / "stacks" / ".pulumi" / "locks" / "organization" / "p" / "local"
    locks.mkdir(parents=True)
    with subprocess.Popen([program, "60"]) as running:
        held = {"running": running.pid, "killed": 2**22 + 1, "another's number": os.getpid()}
        for name, pid in held.items():
            (locks / f"{name}.json").write_text(json.dumps({"pid": pid, "username": "somebody"}))
        (locks / "half written.json").write_text('{"pid":')
        unlock(tmp_path / "stacks")
        assert {one.stem for one in locks.iterdir()} == {"running", "half written"}
        running.kill()
    unlock(tmp_path / "stacks")
    assert {one.stem for one in locks.iterdir()} == {"half written"}
    unlock(tmp_path / "never made")
