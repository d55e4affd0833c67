"""What serve, check and consumer have in common: how they begin, and what their end is called."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from . import log
from .files import UnusableFile
from .settings import Exit, Nucleus, Unreachable


def run(program: Callable[[Nucleus], Coroutine[Any, Any, Exit]]) -> Exit:
    """The program's exit code; what ends it early is the last line of the log."""
    log.capture()
    try:
        return asyncio.run(program(Nucleus.from_environment(os.environ)))
    except UnusableFile as exc:
        return _fatal(exc, Exit.UNUSABLE_FILE)
    except Unreachable as exc:
        return _fatal(exc, Exit.UNREACHABLE)


async def first(*works: Awaitable[Any]) -> Any:
    """The outcome of the work that ends first; the others are cancelled."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return next(task for task in tasks if task.done()).result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def sigterm() -> asyncio.Event:
    """Set once the nucleus wants us to end."""
    asked = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asked.set)
    return asked


def _fatal(exc: Exception, code: Exit) -> Exit:
    log.event("fatal", message=str(exc), exit=code)
    return code
