"""Processes that outlive the command which started them, and the messages when they don't."""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path

import psutil
import pytest

from greenhouse.home import Home
from greenhouse.processes import Processes, ProcessFailed

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
    (tmp_path / "run" / "waiter.json").write_text(json.dumps({"pid": os.getpid(), "created": 1.0}))
    assert processes.find("waiter") is None
    processes.stop("waiter")  # and must not be killed: this is the test's own process


def test_a_process_that_ends_at_once_is_reported_with_its_last_words(
    processes: Processes, tmp_path: Path
) -> None:
    dies = [sys.executable, "-c", "import sys; sys.exit('the disk is on fire')"]
    with pytest.raises(ProcessFailed, match=r"ended with 1[\s\S]*the disk is on fire"):
        start(processes, tmp_path, dies)
    assert processes.names() == [], "a dead process must not look started"


def test_a_taken_port_names_its_holder_and_the_way_out(
    processes: Processes, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ProcessFailed, match=rf"{port}.*pid {os.getpid()} .*make clean"):
            processes.start("waiter", WAITS, env={}, cwd=tmp_path, ready=lambda: True, ports=[port])
    assert processes.names() == []


def test_a_home_keeps_its_ports(tmp_path: Path) -> None:
    ports = Home(tmp_path).ports()
    assert Home(tmp_path).ports() == ports, "an image's address has its port in it"
