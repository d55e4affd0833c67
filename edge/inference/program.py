"""What serve, check and consumer have in common: how they begin, and what their end is called."""

from __future__ import annotations

import os
import traceback
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
    except Exception as exc:  # else a bare traceback and exit 1, which says that the check failed
        return _fatal(exc, Exit.INTERNAL, traceback=traceback.format_exc())


def _fatal(exc: Exception, code: Exit, **more: str) -> Exit:
    log.event("fatal", message=str(exc), exit=code, **more)
    return code
