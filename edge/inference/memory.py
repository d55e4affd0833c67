"""The most memory that the service's container needs: the sum of what can be there at once.

The kernel kills a container above its limit. So each part has a bound, and a request above it is
refused as too large or busy. The figures are of 2026-11-30, CPython 3.11, awscrt 0.36.
tests/edge/runtime/test_memory.py checks them.
"""

from __future__ import annotations

import ctypes

from .protocol import MAX_MESSAGE, MAX_REQUEST
from .service import BACKLOG_BYTES, REFUSAL_BYTES, WINDOW

MIB = 2**20

# Python, the libraries and the shipped model, without mapped files, which the kernel can drop. A
# larger model adds to it, see `check_memory` in infra/model/memory.py.
AT_REST = 14 * MIB
# AWS_EVENT_STREAM_MAX_MESSAGE_SIZE: awscrt keeps a buffer for its longest event. It passes on a
# copy, which is dropped without being read.
EVENTS = 2 * 24 * MIB
WAITING = BACKLOG_BYTES + REFUSAL_BYTES
# Parsing a request takes this many times its length; short texts of other scripts are the worst.
# One thread receives requests and makes bytes of JSON messages. Another thread answers.
TAKING_FACTOR, ANSWERING_FACTOR = 36, 20
READING = (TAKING_FACTOR + ANSWERING_FACTOR) * MAX_REQUEST
# An answer, its base64, the IPC request, the frame, and the socket's copy.
SENDING = 5 * WINDOW * MAX_MESSAGE

LEAST = AT_REST + EVENTS + WAITING + READING + SENDING  # In bytes.

_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8  # From glibc's malloc.h.


def return_freed() -> None:
    """Make glibc return freed buffers to the kernel at once.

    By default, glibc keeps freed memory: after one event of 24 MiB, buffers up to that size come
    from its heap, which shrinks only at its end. That was 7 MiB of the peak.
    """
    # Only glibc has it, and the image has glibc.
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 256 * 1024)
        mallopt(_M_ARENA_MAX, 1)
