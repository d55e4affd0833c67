"""Logs one JSON object per line on stdout. The nucleus keeps it in the component's log."""

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
    with suppress(OSError):  # A broken log must not stop the service.
        sys.stdout.write(json.dumps({"time": at, "event": name, **fields}) + "\n")
        sys.stdout.flush()


class _Lines(logging.Handler):
    """Log records of libraries, in the same form."""

    def emit(self, record: logging.LogRecord) -> None:
        event("sdk", level=record.levelname, message=record.getMessage())


def capture() -> None:
    """Log libraries' warnings as events. Otherwise they go to stderr as plain text."""
    logging.basicConfig(level=logging.WARNING, handlers=[_Lines()])
