"""The service at the least memory that it states, with the largest messages among its requests.

A container that the kernel kills loses the answers that it owes. So a reply to each request, in
order, shows that it lived. The least memory is a sum of parts (edge/inference/memory.py). Small
requests without a pause, the longest queue, refusals and the largest messages keep all parts full
at once.
"""

from __future__ import annotations

import json
import math
import random
from collections import Counter, deque
from collections.abc import Iterator
from itertools import islice

from edge.inference import memory
from edge.inference.protocol import ANSWER_TOPIC, MAX_REQUEST, REQUEST_TOPIC, encode_request
from tests.bench import model
from tests.bench.place import place, wait_until_it_answers
from tests.bench.table import Row, megabytes
from tests.edge.runtime.messages import AT_ONCE, LARGE, LARGEST

REQUESTS = 100_000
SEED = 15
IN_FLIGHT = 2_000  # More than the queue takes. The rest is refused as busy, which is also a reply.
BLOCK = 1_000  # Requests in each block, shuffled. Among them are:
LARGEST_ONES, TOO_LONG, NESTED_BODIES, NESTED_ENVELOPES = 1, 4, 5, 5


def requests(count: int) -> Iterator[bytes]:
    """So many requests: each has an id, or is of a kind that is refused unread."""
    chance, number = random.Random(SEED), 0  # noqa: S311  # an order, no secret
    sample = model.samples()[:1]
    while number < count:
        block = [LARGEST] * LARGEST_ONES + [b"n" * MAX_REQUEST] * TOO_LONG
        for kind in ("body", "x"):
            many = NESTED_BODIES if kind == "body" else NESTED_ENVELOPES
            large = json.dumps(LARGE) if kind == "body" else LARGE
            block += [
                f'{{"id":"{kind}{number + n}","{kind}":{large}}}'.encode() for n in range(many)
            ]
        rest = BLOCK - len(block)
        block += [encode_request(f"s{number + n}", sample) for n in range(rest)]
        chance.shuffle(block)
        yield from islice(block, count - number)
        number += BLOCK


def _identity(request: bytes) -> str | None:
    """The id in its reply."""
    if len(request) > MAX_REQUEST or request.startswith(b"n"):
        return None
    return request[:40].split(b'"')[3].decode()


def limit(count: int = REQUESTS) -> Iterator[Row]:
    mib = math.ceil(memory.LEAST / memory.MIB)
    outcomes: Counter[str] = Counter()
    owed: deque[tuple[str | None, int]] = deque()
    with place() as here:
        service = here.service(f"--memory={mib}m", f"--memory-swap={mib}m")  # No swap.
        hearer = here.client(ANSWER_TOPIC)
        wait_until_it_answers(hearer, REQUEST_TOPIC)
        asker, process = here.client(), service.process()
        asked = unanswered = wrong = 0
        for request in requests(count):
            asker.publish(REQUEST_TOPIC, request)
            asked += 1
            owed.append((_identity(request), len(request)))
            unanswered += len(request)
            while unanswered > AT_ONCE or len(owed) > IN_FLIGHT or (owed and asked == count):
                for reply in map(json.loads, hearer.received()):
                    identity, size = owed.popleft()
                    unanswered -= size
                    wrong += reply.get("id") != identity
                    outcomes[reply.get("error", {"code": "answered"})["code"]] += 1
        wrong += len(hearer.received_within(1.0))
        alive = service.process() == process
        peak = service.memory("VmHWM")
    life = "alive" if alive else "ended"
    told = ", ".join(f"{kind} {number:,}" for kind, number in sorted(outcomes.items()))
    yield Row(
        what=f"{asked:,} requests at the memory limit, one in {BLOCK:,} the largest message",
        ours=f"{life}, {wrong} without exactly one answer in turn ({told})",
        bound="alive and 0",
        met=alive and not wrong and sum(outcomes.values()) == asked,
    )
    yield Row(
        what="its memory, peak",
        ours=f"{megabytes(peak)} with what is mapped from files",
        reference=f"the container's limit: {megabytes(mib * 2**20)}",
    )
