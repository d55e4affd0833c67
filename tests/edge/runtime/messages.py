"""Messages that a test sends to the runtime."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from typing import Any

from edge.inference.protocol import MAX_OPENINGS, MAX_REQUEST, REQUEST_TOPIC, Record, encode_request
from greenhouse.device.ipc.frames import MAX_FRAME
from tests.bench.client import Client

# Bytes of requests: greenhouse's broker closes a connection for which 64 MiB wait.
AT_ONCE = 25 * 2**20

# A binary message is in base64, with the topic and headers around it.
LARGEST = bytes((MAX_FRAME - 500) // 4 * 3)
# Close to the text that takes the most memory when it is parsed. More openings are refused before.
NESTED = ",".join(["[" * 500 + "]" * 500] * ((MAX_OPENINGS - 10) // 500))
LARGE = f"[{NESTED},{','.join(['1.5'] * ((MAX_REQUEST - len(NESTED) - 100) // 4))}]"


def worst(seed: int, sample: list[Record]) -> list[bytes]:
    """Requests that take the most memory, in random order. Each has to get an answer."""
    bodies = [json.dumps({"id": f"b{n}", "body": LARGE}).encode() for n in range(20)]
    envelopes = [f'{{"id": "e{n}", "x": {LARGE}}}'.encode() for n in range(20)]
    others = [LARGEST] * 4 + [b"n" * MAX_REQUEST] * 5
    small = [encode_request(f"s{n}", sample) for n in range(300)]
    requests = [*bodies, *envelopes, *others, *small]
    random.Random(seed).shuffle(requests)  # noqa: S311  # an order, no secret
    return [*others[:3], *bodies, LARGEST, *requests]


def ask_all(connect: Callable[[], Client], requests: Sequence[bytes]) -> list[dict[str, Any]]:
    """Their replies in order, with as many in flight as a broker holds.

    Raises Closed, or TimeoutError.
    """
    asker, hearer = connect(), connect()
    replies: list[dict[str, Any]] = []
    unanswered = 0
    for number, request in enumerate(requests, 1):
        asker.publish(REQUEST_TOPIC, request)
        unanswered += len(request)
        while number > len(replies) and (unanswered > AT_ONCE or number == len(requests)):
            new = [json.loads(reply) for reply in hearer.received()]
            done = requests[len(replies) : len(replies) + len(new)]
            unanswered -= sum(map(len, done))
            replies += new
    asker.close()
    hearer.close()
    return replies
