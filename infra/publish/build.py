"""What an update makes of the tree before it stores it: kept in .build, each thing once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from infra.settings import Misconfigured

BUILD = Path(".build")  # ignored by git; relative: the state is the same in every checkout


def made_once(name: str, make: Callable[[Path], object]) -> Path:
    """The file or folder of that name, which names its content; `make` writes a draft of it.

    Nothing half made stays, whatever ends the making. Misconfigured where nothing can be written.
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
        if not target.exists():  # else another stack's update was faster
            raise Misconfigured(
                f"{BUILD.absolute()} can't keep what an update makes: {error.strerror}."
                f" Look at it and at the room on its disk: ls -ld {BUILD}; df {Path.cwd()}"
            ) from error
    return target
