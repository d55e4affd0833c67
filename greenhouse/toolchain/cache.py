"""Keeps obtained tools for each user, so that a second checkout does not build them again.

A tool is made in a draft folder and then moved into place as a whole. So a tool in its place is
complete. A killed build leaves a draft, which the next build removes.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def folder() -> Path:
    """`$XDG_CACHE_HOME/edge-inference`, else in `~/.cache`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edge-inference"


def bin_folder() -> Path:
    """The one folder to put on PATH: links to what was found or obtained."""
    return folder() / "bin"


@contextmanager
def locked(name: str, *, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold a lock of this user. `waiting()` is called once if another process holds it.

    The kernel frees the lock when its holder dies, so a killed build blocks nobody.
    """
    path = folder() / "run" / f"{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def made_once(target: Path, make: Callable[[Path], None], *, waiting: Callable[[], None]) -> None:
    """Have `make` fill a draft of the folder `target`, unless `target` exists."""
    if target.exists():
        return
    with locked(target.name, waiting=waiting):
        if target.exists():
            return
        draft = target.with_name(f"{target.name}.draft")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        try:
            make(draft)
            draft.replace(target)
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def link(name: str, executable: Path) -> None:
    """Point `bin_folder()/name` at the executable. A shell finds the old link or the new link."""
    path = bin_folder() / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink() and path.readlink() == executable:
        return
    draft = path.with_name(f"{name}.{os.getpid()}.draft")
    draft.symlink_to(executable)
    draft.replace(path)


def other_path() -> str:
    """PATH without our own folder, which tells the machine's tools from ours."""
    ours = str(bin_folder())
    parts = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return os.pathsep.join(part for part in parts if part != ours)
