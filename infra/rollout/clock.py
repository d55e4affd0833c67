"""Waiting for devices: AWS has no event to wait for, so it is asked again, until a time is over."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

_LEAST_PAUSE, _LONGEST_PAUSE = 1.0, 15.0  # seconds
_SHARE = 0.1  # of the time waited so far: what takes long is asked for rarely


class RolloutFailed(Exception):
    """The devices don't run what was asked; the message says which, why, and what to do."""


@dataclass(kw_only=True)
class Clock:
    """How long to wait, and how to pass the time."""

    seconds: float
    now: Callable[[], float] = time.monotonic
    pause: Callable[[float], None] = time.sleep

    def __post_init__(self) -> None:
        self._began = self.now()

    @property
    def over(self) -> bool:
        return self.now() - self._began >= self.seconds

    def tick(self) -> bool:
        """Pass a moment; False once the time is over.

        The moments grow with the time that has passed, and no two updates keep step for long.
        """
        if self.over:
            return False
        passed = self.now() - self._began
        grown = passed * _SHARE * random.uniform(0.5, 1.5)  # noqa: S311  # nobody guesses pauses
        self.pause(min(max(grown, _LEAST_PAUSE), _LONGEST_PAUSE, self.seconds - passed))
        return True
