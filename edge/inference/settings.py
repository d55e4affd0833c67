"""The vocabulary of the device half: topics, limits and exit codes, each with its reason.

The recipe's accessControl names the same topics; one test holds both ends.
"""

from __future__ import annotations

from enum import IntEnum

REQUESTS = "local/inference"
ANSWERS = "local/result"

# Nucleus Lite closes the connection on more: 10,000 bytes a packet, base64 and JSON counted.
# 7,000 bytes of binary pass there, 7,300 don't (2.6.0, 2026-11-23).
MAX_MESSAGE_BYTES = 7_000
# The Java nucleus carries 13 MB, and one such request would take all of the container's memory.
MAX_REQUEST_BYTES = 256 * 1024
MAX_ROWS = MAX_MESSAGE_BYTES // 5  # "0.5, " is the shortest prediction: more can't be answered
MAX_ID_LENGTH = 64

MAX_WAITING = 1_024  # requests taken, but not answered yet
MAX_WAITING_BYTES = 4 * 1024 * 1024
MAX_UNCONFIRMED = 64  # answers on their way to the nucleus

LINK_ATTEMPTS = 10  # with pauses that double from the first to the longest: 30 s in all
FIRST_PAUSE = 0.1
LONGEST_PAUSE = 5.0
CONNECT_SECONDS = 10.0
STEADY_SECONDS = 10.0  # a link that held that long has earned all its attempts again
STOP_SECONDS = 1.5  # the Java nucleus kills 5 s after SIGTERM, `docker stop -t 10` after 10 s


class Exit(IntEnum):
    """What the nucleus, and whoever reads its log, can tell an end by."""

    OK = 0  # ended by SIGTERM, or the check passed
    CHECK_FAILED = 1
    USAGE = 64  # as sysexits.h has it, like the next two
    UNUSABLE_FILE = 65  # model, samples or golden answers
    NO_IPC = 69  # the nucleus was not reachable, or was lost for good
