"""What serve, check and consumer have in common: how they begin, and what their end is called."""

from __future__ import annotations

import os
from collections.abc import Callable

from . import log
from .files import UnusableFile
from .settings import Exit, Nucleus, Unreachable


def run(program: Callable[[Nucleus], Exit]) -> Exit:
    """The program's exit code; what ends it early is the last line of the log."""
    log.capture()
    try:
        return program(Nucleus.from_environment(os.environ))
    except UnusableFile as exc:
        return _fatal(exc, Exit.UNUSABLE_FILE)
    except Unreachable as exc:
        return _fatal(exc, Exit.UNREACHABLE)


def _fatal(exc: Exception, code: Exit) -> Exit:
    log.event("fatal", message=str(exc), exit=code)
    return code
