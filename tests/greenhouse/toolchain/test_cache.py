"""A tool that is obtained once stays complete, even if its maker is killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from greenhouse.toolchain import cache


def never() -> None:
    raise AssertionError("nobody else holds the lock")


def test_the_cache_is_the_users_not_the_checkouts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.folder() == tmp_path / ".cache/edge-inference"


def test_a_build_that_failed_half_way_leaves_nothing_and_is_done_again() -> None:
    target = cache.folder() / "tool"

    def fails(draft: Path) -> None:
        (draft / "half").touch()
        raise RuntimeError("no space left")

    with pytest.raises(RuntimeError, match="no space"):
        cache.made_once(target, fails, waiting=never)
    assert not target.exists(), "a half-made tool would be taken for a whole one"
    cache.made_once(target, lambda draft: (draft / "whole").touch(), waiting=never)
    assert [path.name for path in target.iterdir()] == ["whole"]


def test_the_leftovers_of_a_killed_build_are_not_in_the_next_build() -> None:
    target = cache.folder() / "tool"
    (cache.folder() / "tool.draft").mkdir(parents=True)
    (cache.folder() / "tool.draft/stale").touch()
    cache.made_once(target, lambda draft: (draft / "whole").touch(), waiting=never)
    assert [path.name for path in target.iterdir()] == ["whole"]


def test_two_checkouts_make_a_tool_once_and_the_second_says_that_it_waits() -> None:
    target = cache.folder() / "tool"
    making, waited = threading.Event(), threading.Event()
    made: list[str] = []

    def slowly(_: Path) -> None:
        making.set()
        assert waited.wait(120), "the other one never came to the lock"
        made.append("first")

    first = threading.Thread(
        target=cache.made_once, args=(target, slowly), kwargs={"waiting": never}
    )
    first.start()
    assert making.wait(120)
    cache.made_once(target, lambda _: made.append("second"), waiting=waited.set)
    first.join()
    assert made == ["first"]


def _hold(held: Event) -> None:
    with cache.locked("tool", waiting=never):
        held.set()
        signal.pause()


def test_a_killed_process_blocks_nobody() -> None:
    processes = multiprocessing.get_context("fork")
    held = processes.Event()
    holder = processes.Process(target=_hold, args=(held,))
    holder.start()
    assert held.wait(120)
    assert holder.pid is not None
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    with cache.locked("tool", waiting=never):
        pass


def test_a_link_moves_to_the_newer_tool(tmp_path: Path) -> None:
    for name in ("old", "new", "new"):
        cache.link("docker", tmp_path / name)
        assert (cache.bin_folder() / "docker").readlink() == tmp_path / name
    assert [path.name for path in cache.bin_folder().iterdir()] == ["docker"], "no drafts stay"


def test_our_own_links_are_not_the_machines_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{cache.bin_folder()}:/usr/bin")
    assert cache.other_path() == "/usr/bin", (
        "otherwise a cached tool would be found on PATH and kept"
    )
