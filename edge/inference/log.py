"""One line, one JSON object, on stdout: the nucleus keeps it in the component's log."""

from __future__ import annotations

import json
import logging
import sys
import time
from contextlib import suppress
from typing import Any


def event(name: str, **fields: Any) -> None:
    now = time.time()
    at = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(now))}.{int(now % 1 * 1000):03}+00:00"
    with suppress(OSError):  # a log that nobody takes any more is no reason to stop answering
        sys.stdout.write(json.dumps({"time": at, "event": name, **fields}) + "\n")
        sys.stdout.flush()


class _Lines(logging.Handler):
    """What the SDK says, in the same form as everything else."""

    def emit(self, record: logging.LogRecord) -> None:
        event("sdk", level=record.levelname, message=record.getMessage())


def capture() -> None:
    """Have warnings of libraries logged as events; without it they go to stderr as bare text."""
    logging.basicConfig(level=logging.WARNING, handlers=[_Lines()])
