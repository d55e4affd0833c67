"""Paces the wait for devices. AWS sends no event, so it is polled until the time is over."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

_LEAST_PAUSE, _LONGEST_PAUSE = 1.0, 15.0  # In seconds.
_SHARE = 0.1  # Of the time waited so far: a long wait polls less often.


@dataclass(kw_only=True)
class Clock:
    """How long to wait, and how to pause."""

    seconds: float
    now: Callable[[], float] = time.monotonic
    pause: Callable[[float], None] = time.sleep

    def __post_init__(self) -> None:
        self._began = self.now()

    @property
    def over(self) -> bool:
        return self.now() - self._began >= self.seconds

    def tick(self) -> bool:
        """Pause; False once the time is over.

        Pauses grow with the time that has passed. A random part keeps two updates from polling at
        the same moments.
        """
        if self.over:
            return False
        passed = self.now() - self._began
        grown = passed * _SHARE * random.uniform(0.5, 1.5)  # noqa: S311  # nobody guesses pauses
        self.pause(min(max(grown, _LEAST_PAUSE), _LONGEST_PAUSE, self.seconds - passed))
        return True
