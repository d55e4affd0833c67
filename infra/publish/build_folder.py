"""Files that an update makes from the tree before it uploads them, each kept in .build."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from infra.settings import Misconfigured

# Git ignores it. It is relative, so the state is the same in every checkout.
BUILD = Path(".build")


def made_once(name: str, make: Callable[[Path], object]) -> Path:
    """The file or folder with this name, which depends on its content. `make` writes a draft.

    If the making is interrupted, no part of it stays. Raises Misconfigured if nothing can be
    written.
    """
    target = BUILD / name
    if target.exists():
        return target
    try:
        BUILD.mkdir(exist_ok=True)
        with TemporaryDirectory(dir=BUILD) as scratch:
            draft = Path(scratch) / name
            make(draft)
            draft.rename(target)
    except OSError as error:
        if not target.exists():  # Otherwise another stack's update was faster.
            raise Misconfigured(
                f"{BUILD.absolute()} can't keep what an update makes: {error.strerror}.",
                "Look at the folder and at the room on its disk:",
                f"ls -ld {BUILD}; df {Path.cwd()}",
            ) from error
    return target
