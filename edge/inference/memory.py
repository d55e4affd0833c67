"""What the service's container needs at most: a sum of what can be in memory at the same time.

The kernel ends a container that goes beyond its limit. So each part has a bound of its own, and a
request that would go beyond it is refused as too large or busy, which is its answer. Figures of
2026-11-30, CPython 3.11, awscrt 0.36: tests/edge/runtime/test_memory.py holds them.
"""

from __future__ import annotations

import ctypes

from .protocol import MAX_MESSAGE, MAX_REQUEST
from .service import BACKLOG_BYTES, REFUSAL_BYTES, WINDOW

MIB = 2**20

# Python, the libraries and the shipped model, without what is mapped from files: the kernel takes
# that back. A larger model comes on top, see `check_memory` in infra/model/golden.py.
AT_REST = 14 * MIB
# AWS_EVENT_STREAM_MAX_MESSAGE_SIZE: awscrt keeps a buffer for its longest event, and hands on a
# copy, which is dropped unread.
EVENTS = 2 * 24 * MIB
WAITING = BACKLOG_BYTES + REFUSAL_BYTES
# How many times its length a request takes while it is parsed: short texts of other scripts are
# the worst. One thread brings requests, and makes bytes of JSON messages; another one answers.
TAKING_FACTOR, ANSWERING_FACTOR = 36, 20
READING = (TAKING_FACTOR + ANSWERING_FACTOR) * MAX_REQUEST
# An answer, its base64, the request around that, the frame, and the socket's part of it.
SENDING = 5 * WINDOW * MAX_MESSAGE

LEAST = AT_REST + EVENTS + WAITING + READING + SENDING  # bytes

_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8  # malloc.h


def return_freed() -> None:
    """Have freed buffers leave the process at once.

    Unasked, glibc keeps what it frees of a kind: after one event of 24 MiB, buffers of up to that
    size come from its heap, which shrinks at its end alone. That was 7 MiB of the peak.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc's, and the image has glibc
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 256 * 1024)
        mallopt(_M_ARENA_MAX, 1)
