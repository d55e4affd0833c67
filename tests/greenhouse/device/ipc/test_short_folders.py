"""The private folder of a device whose root folder is too deep for a socket."""

from __future__ import annotations

import os
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from greenhouse.device.docker_socket import socket_of
from greenhouse.device.ipc.broker import Broker
from tests.greenhouse.device.ipc.test_ipc_broker import Running
from tests.greenhouse.device.ipc.test_ipc_conformance import Host
from tests.missing import needs_root

NOBODY = 65534  # Every Linux has this user.


@pytest.fixture
def deep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A root folder too deep for a socket, and a shared temporary folder."""
    with tempfile.TemporaryDirectory(dir="/tmp") as shared:  # tmp_path would be too long.
        monkeypatch.setattr(tempfile, "tempdir", shared)
        yield tmp_path / ("x" * 120)


def test_a_root_folder_too_deep_for_a_socket_gets_a_private_one_and_takes_it_along(
    deep: Path,
) -> None:
    running = Running(deep)
    running.start()
    path = running.broker.path
    with running.wire():
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700, "others don't get as far"
    running.stop()
    assert not [*Path(tempfile.gettempdir()).iterdir()], "nothing of ours stays"


def test_a_successor_of_a_killed_device_is_found_at_the_same_place(deep: Path) -> None:
    killed, successor = Broker(deep, Host({})), Running(deep)
    assert killed.path == successor.broker.path
    successor.start()
    successor.stop()
    assert not [*Path(tempfile.gettempdir()).iterdir()], "and what was left is cleared away"


def test_a_temporary_folder_too_deep_for_a_socket_is_passed_over(
    deep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / ("t" * 70)
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    running = Running(deep)
    running.start()
    with running.wire():
        assert stat.S_IMODE(running.broker.path.parent.stat().st_mode) == 0o700
    running.stop()
    assert not running.broker.path.parent.exists(), "nothing of ours stays"


def test_the_longest_name_of_a_thing_fits_into_an_engines_path(deep: Path) -> None:
    deep.mkdir()
    things = ["x" * 128, "x" * 127]
    paths = [socket_of(deep, thing) for thing in things]
    assert len(set(paths)) == len(things), "each device has its own"
    for path in paths:
        with socket.socket(socket.AF_UNIX) as line:
            line.bind(str(path))


@pytest.mark.parametrize("taken", ["link", "open", "strangers"])
def test_a_folder_that_is_not_the_devices_own_is_left_alone(
    deep: Path, tmp_path: Path, taken: str
) -> None:
    first = Broker(deep, Host({})).path.parent
    first.rmdir()
    theirs = tmp_path / "theirs"
    theirs.mkdir(mode=0o700)
    (theirs / "ipc.socket").write_text("a file that nobody may change")
    if taken == "link":
        first.symlink_to(theirs)
    else:
        first.mkdir(mode=0o755 if taken == "open" else 0o700)
    if taken == "strangers":
        needs_root("give a folder to another user")
        os.chown(first, NOBODY, NOBODY)
    running = Running(deep)
    running.start()
    running.stop()
    assert running.broker.path.parent != first
    assert (theirs / "ipc.socket").read_text() == "a file that nobody may change"
    assert first.is_symlink() or first.is_dir(), "it is somebody else's"
