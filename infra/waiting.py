"""Waiting for devices: AWS has no event to wait for, so it is asked again, until a time is over."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from botocore.exceptions import BotoCoreError, ClientError

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


@contextmanager
def plain_failure() -> Iterator[None]:
    """The message, without the traceback of Pulumi's host of dynamic providers, which buries it.

    Pulumi shows a resource's error and what was printed in either order: both end in the reason.
    """
    try:
        yield
    except RolloutFailed as failure:
        sys.tracebacklimit = 0
        print(failure)
        raise
    except (BotoCoreError, ClientError) as error:
        sys.tracebacklimit = 0
        print(error)
        raise RolloutFailed(
            f"AWS can't be asked any more how it goes: {error}. The devices go on by themselves;"
            " pulumi up again (or destroy) waits for them"
        ) from None
