"""Processes that outlive the command that started them, and the messages of those that don't."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from greenhouse.processes import Processes, ProcessFailed, birth, port_holder

WAITS = [sys.executable, "-c", "import signal; print('here', flush=True); signal.pause()"]


@pytest.fixture
def processes(tmp_path: Path) -> Processes:
    return Processes(run=tmp_path / "run", logs=tmp_path / "logs")


def start(processes: Processes, tmp_path: Path, argv: list[str] | None = None) -> None:
    log = processes.log("waiter")
    processes.start(
        "waiter",
        argv or WAITS,
        env={},
        cwd=tmp_path,
        ready=lambda: log.exists() and "here" in log.read_text(),
    )


def test_a_started_process_is_found_by_a_later_command_and_ends_when_stopped(
    processes: Processes, tmp_path: Path
) -> None:
    start(processes, tmp_path)
    later = Processes(run=tmp_path / "run", logs=tmp_path / "logs")
    found = later.find("waiter")
    assert found is not None
    later.stop("waiter")
    assert later.find("waiter") is None
    assert not psutil.pid_exists(found.pid) or found.status() == psutil.STATUS_ZOMBIE


def test_starting_what_runs_already_changes_nothing(processes: Processes, tmp_path: Path) -> None:
    start(processes, tmp_path)
    first = processes.find("waiter")
    start(processes, tmp_path)
    assert processes.find("waiter") == first
    processes.stop("waiter")


def test_a_pid_that_now_belongs_to_a_stranger_is_not_ours(
    processes: Processes, tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    for stranger in ("another-boot 12", birth(1)):
        record = json.dumps({"pid": os.getpid(), "birth": stranger})
        (tmp_path / "run" / "waiter.json").write_text(record)
        assert processes.find("waiter") is None
        processes.stop("waiter")  # It must not be killed, as it is the test's own process.


def test_a_process_is_recognized_after_a_change_of_the_clock(
    processes: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(processes, tmp_path)
    found = processes.find("waiter")
    assert found is not None
    assert birth(found.pid) == birth(found.pid) != birth(os.getpid())
    monkeypatch.setattr(psutil.Process, "create_time", lambda _: time.time())
    assert processes.find("waiter") == found, "the clock was set, and it would be lost"
    processes.stop("waiter")


@pytest.mark.parametrize("record", ["", "{", "[]", "{}", '{"pid": "x", "birth": ""}'])
def test_a_record_that_can_not_be_read_is_ignored(
    processes: Processes, tmp_path: Path, record: str
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "waiter.json").write_text(record)
    assert processes.find("waiter") is None
    processes.stop("waiter")
    assert processes.names() == [], "make clean stops all that there are"


def test_a_container_found_running_is_waited_for_like_a_started_one(
    processes: Processes, tmp_path: Path
) -> None:
    start(processes, tmp_path)
    asked = iter([False, True])
    processes.start("waiter", WAITS, env={}, cwd=tmp_path, ready=lambda: next(asked))
    assert next(asked, "all asked") == "all asked", "an interrupted start left it half-way"
    with pytest.raises(ProcessFailed, match=r"(?s)not ready after 0 s.*greenhouse stop"):
        processes.start("waiter", WAITS, env={}, cwd=tmp_path, ready=lambda: False, timeout=0)
    assert processes.find("waiter"), "it may be somebody else's just now"
    processes.stop("waiter")


def test_a_process_that_ends_at_once_is_reported_with_its_last_words(
    processes: Processes, tmp_path: Path
) -> None:
    dies = [sys.executable, "-c", "import sys; sys.exit('the disk is on fire')"]
    for _ in range(2):
        with pytest.raises(ProcessFailed, match=r"^waiter ended with 1:") as failed:
            start(processes, tmp_path, dies)
        assert str(failed.value).count("the disk is on fire") == 1, "the words of this start"
    assert processes.log("waiter").read_text().count("the disk is on fire") == 2
    assert processes.names() == [], "a dead process must not look started"


def test_a_taken_port_names_its_holder_and_the_way_out(
    processes: Processes, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ProcessFailed, match=rf"(?s){port}.*pid {os.getpid()} .*make clean"):
            processes.start("waiter", WAITS, env={}, cwd=tmp_path, ready=lambda: True, ports=[port])
    assert processes.names() == []


def test_a_port_of_another_user_names_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = SimpleNamespace(status=psutil.CONN_LISTEN, laddr=SimpleNamespace(port=1), pid=None)
    monkeypatch.setattr(psutil, "net_connections", lambda _kind: [theirs])
    assert port_holder(1) == "a process of another user"
