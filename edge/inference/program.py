"""The common start and end of serve, check and consumer."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable

from . import log
from .files import UnusableFile
from .settings import Exit, Nucleus, Unreachable


def run(program: Callable[[Nucleus], Exit]) -> Exit:
    """Run a program and return its exit code. The last log line says why it ended early."""
    log.capture()
    try:
        return program(Nucleus.from_environment(os.environ))
    except UnusableFile as exc:
        return _fatal(exc, Exit.UNUSABLE_FILE)
    except Unreachable as exc:
        return _fatal(exc, Exit.UNREACHABLE)
    except Exception as exc:  # Otherwise exit 1 would say that the check failed.
        return _fatal(exc, Exit.INTERNAL, traceback=traceback.format_exc())


def _fatal(exc: Exception, code: Exit, **more: str) -> Exit:
    log.event("fatal", message=str(exc), exit=code, **more)
    return code
