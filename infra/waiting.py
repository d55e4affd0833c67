"""Waiting for devices: AWS has no event to wait for, so it is asked again, until a time is over."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

_PAUSE_SECONDS = 1.0


class RolloutFailed(Exception):
    """The devices don't run what was asked; the message says which, why, and what to do."""


@dataclass(kw_only=True)
class Clock:
    """How long to wait, and how to pass the time."""

    seconds: float
    now: Callable[[], float] = time.monotonic
    pause: Callable[[float], None] = time.sleep

    def __post_init__(self) -> None:
        self._end = self.now() + self.seconds

    def tick(self) -> bool:
        """Pass a moment; False once the time is over."""
        if self.now() >= self._end:
            return False
        self.pause(_PAUSE_SECONDS)
        return True
