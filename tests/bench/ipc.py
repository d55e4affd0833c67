"""The service over IPC, against an echo by the same SDK over the same broker.

Both are connected all the time, and are asked in turns. Broker, client and two containers share the
machine, so absolute numbers depend on it. The difference is what the service adds.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from statistics import median

from edge.inference.protocol import ANSWER_TOPIC, REQUEST_TOPIC, encode_request
from tests.bench import model
from tests.bench.broker import ECHO_ANSWERS, ECHO_REQUESTS
from tests.bench.client import Client
from tests.bench.place import place, wait_until_it_answers
from tests.bench.table import Row, megabytes

ROUND_TRIPS = 1500
DEPTHS = (8, 64, 256)
SLICES, SLICE_SECONDS = 6, 0.8
RATE, RATE_SECONDS = 1000, 10.0
STARTS = 7
MIB = 2**20


def request() -> bytes:
    return encode_request("bench-1", model.samples()[:2])


def idle() -> Iterator[Row]:
    payload = request()
    seconds: dict[str, list[float]] = {REQUEST_TOPIC: [], ECHO_REQUESTS: []}
    with place() as here:
        here.service()
        here.echo()
        client = here.client(ANSWER_TOPIC, ECHO_ANSWERS)
        for topic in seconds:
            wait_until_it_answers(client, topic)
        for _ in range(ROUND_TRIPS):
            for topic, times in seconds.items():
                began = time.perf_counter()
                client.publish(topic, payload)
                client.received()
                times.append(time.perf_counter() - began)
    ours, echo = median(seconds[REQUEST_TOPIC]), median(seconds[ECHO_REQUESTS])
    yield Row(
        what="IPC request to answer, p50, idle",
        ours=f"{ours * 1e3:.2f} ms",
        reference=f"echo: {echo * 1e3:.2f} ms",
        relation=f"{ours / echo:.2f}",
        bound="at most 1.3",
        met=ours / echo <= 1.3,
    )


def throughput() -> Iterator[Row]:
    payload = request()
    with place() as here:
        here.service()
        here.echo()
        client = here.client(ANSWER_TOPIC, ECHO_ANSWERS)
        for topic in (REQUEST_TOPIC, ECHO_REQUESTS):
            wait_until_it_answers(client, topic)
        for depth in DEPTHS:
            slices = [
                (
                    _pipelined(client, REQUEST_TOPIC, payload, depth),
                    _pipelined(client, ECHO_REQUESTS, payload, depth),
                )
                for _ in range(SLICES)
            ]
            ratio = median(ours / echo for ours, echo in slices)
            yield Row(
                what=f"throughput, {depth} in flight",
                ours=f"{median(ours for ours, _ in slices):,.0f}/s",
                reference=f"echo: {median(echo for _, echo in slices):,.0f}/s",
                relation=f"{ratio:.2f}",
                bound="at least 0.7",
                met=ratio >= 0.7,
            )


def _pipelined(client: Client, topic: str, payload: bytes, depth: int) -> float:
    """Answers in each second, with so many requests in flight."""
    began, answers = time.perf_counter(), 0
    client.publish(topic, *[payload] * depth)
    while time.perf_counter() - began < SLICE_SECONDS:
        came = len(client.received())
        answers += came
        client.publish(topic, *[payload] * came)
    rate = answers / (time.perf_counter() - began)
    left = depth
    while left:
        left -= len(client.received())
    return rate


def memory() -> Iterator[Row]:
    payload = request()
    with place() as here:
        service = here.service()
        client = here.client(ANSWER_TOPIC)
        wait_until_it_answers(client, REQUEST_TOPIC)
        began = time.perf_counter()
        asked = answered = 0
        while asked < RATE * RATE_SECONDS:
            due = int((time.perf_counter() - began) * RATE) - asked
            client.publish(REQUEST_TOPIC, *[payload] * due)
            asked += due
            answered += len(client.received_within(0.005))
        rate = answered / (time.perf_counter() - began)
        peak = service.memory("VmHWM")
    kept_up = rate > 0.95 * RATE
    yield Row(
        what=f"peak memory of the service, {RATE:,} requests/s",
        ours=f"{megabytes(peak)} ({peak / MIB:.1f} MiB) at {rate:,.0f} answers/s",
        bound="at most 32 MB",
        met=peak <= 32e6 and kept_up,
    )


def start() -> Iterator[Row]:
    seconds: list[tuple[float, float]] = []
    for _ in range(STARTS):
        with place() as here:
            bare = here.seconds_to_bare_python()
            seconds.append((here.seconds_to_first_answer(here.client(ANSWER_TOPIC)), bare))
    ratio = median(ours / bare for ours, bare in seconds)
    yield Row(
        what="container start to first answer",
        ours=f"{median(ours for ours, _ in seconds):.2f} s",
        reference=f"bare Python container: {median(bare for _, bare in seconds):.2f} s",
        relation=f"{ratio:.2f}",
        bound="at most 1.5",
        met=ratio <= 1.5,
    )
