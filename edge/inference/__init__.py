"""Runs on the device: answers requests to a model on a Greengrass IPC topic.

It needs the standard library, awsiotsdk and one small C library. infra/ also imports its modules
that don't need awsiotsdk.
"""

import os
import signal
from typing import NoReturn


def end_at_sigterm() -> None:
    """Have SIGTERM end this program at once, by the code that docker has for it: 143.

    It is for process 1 of a container, for which the kernel drops what it doesn't handle. Each
    program calls it before the longer imports. Serve and consumer handle it otherwise later, and
    end with 0; a check that is stopped has not passed.
    """
    signal.signal(signal.SIGTERM, _end)


def _end(number: int, _frame: object) -> NoReturn:
    os._exit(128 + number)
