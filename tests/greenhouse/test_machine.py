"""What a greenhouse does about processes that were killed, and about a half that was started."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from greenhouse import machine
from greenhouse.home import Home
from greenhouse.machine import bring_up, refuse_what_forgot
from greenhouse.processes import Processes, ProcessFailed


@pytest.mark.parametrize(("kept", "refused"), [(None, True), (-1, True), (1, False)])
def test_a_ministack_that_was_killed_has_forgotten_what_others_count_on(
    tmp_path: Path, kept: int | None, refused: bool
) -> None:
    """It has a record, no process, and no state that it kept when it ended."""
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
        with pytest.raises(ProcessFailed, match=r"was killed.*make clean, then make up"):
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
def test_of_a_start_that_fails_nothing_stays_but_what_ran_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    home = Home(tmp_path)
    processes = Processes(run=home.run, logs=home.logs)

    def start(name: str) -> None:
        processes.start(name, ["sleep", "100"], env={}, cwd=tmp_path, ready=lambda: True)

    def half(*_: object, **__: object) -> None:
        start("cloud")
        raise failure

    monkeypatch.setattr(machine, "start_greenhouse", half)
    start("ministack")
    try:
        with pytest.raises(type(failure)):
            bring_up(home, {}, ["thing"])
        assert processes.names() == ["ministack"]
    finally:
        processes.stop("ministack")
