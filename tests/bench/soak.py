"""Checks that every request gets its own answer, under wrong requests and broken connections.

A request may be answered or refused. Its own connection may also close under it, which its client
sees, or the service's connection. Anything else is a failure: silence, two answers, or an answer to
somebody else's request.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

from edge.inference.protocol import ANSWER_TOPIC, REQUEST_TOPIC, encode_request
from infra.names import SERVICE
from tests.bench import fuzz, model
from tests.bench.client import Client, Closed
from tests.bench.place import PATIENCE, Place, place, probe, wait_until_it_answers
from tests.bench.table import Row, kilobytes, megabytes

FUZZ_SEED = 4
BATCH = 50
DEPTH = 64
WRONG = 100_000
REQUESTS, RECONNECTS = 1_000_000, 20
FLAT = 2**20  # The process may grow by so many bytes from a tenth of the requests to the last.


def malformed(count: int = WRONG) -> Iterator[Row]:
    """Wrong requests in batches. A right request ends each batch."""
    wrong = islice(fuzz.requests(FUZZ_SEED), count)
    outcomes: Counter[str] = Counter()
    sent = unmatched = 0
    with place() as here:
        service = here.service()
        client = here.client(ANSWER_TOPIC)
        wait_until_it_answers(client, REQUEST_TOPIC)
        process = service.process()
        while batch := list(islice(wrong, BATCH)):
            fence = f"fence-{sent}"
            client.publish(REQUEST_TOPIC, *batch, encode_request(fence, model.samples()[:1]))
            heard: list[bytes] = []
            while len(heard) <= len(batch):
                try:
                    heard += client.received()
                except (TimeoutError, Closed):
                    break
            kinds = [_kind(message) for message in heard]
            sent += len(batch)
            unmatched += abs(len(batch) + 1 - len(heard)) + abs(kinds.count(fence) - 1)
            outcomes.update(kind for kind in kinds if kind != fence)
            if unmatched:
                break
        unmatched += len(client.received_within(1.0))
        crashes = int(service.process() != process) + outcomes["internal"]
    common = ", ".join(f"{kind} {number:,}" for kind, number in outcomes.most_common(3))
    yield Row(
        what=f"{sent:,} malformed requests",
        ours=f"{crashes} crashes, {unmatched} without exactly one answer ({common}, …)",
        bound="0 and 0",
        met=sent == count and not crashes and not unmatched,
    )


def _kind(message: bytes) -> str:
    """The refusal's code, or the id of the answer."""
    reply = json.loads(message)
    if isinstance(reply, dict) and "error" in reply:
        return str(reply["error"]["code"])
    return str(reply.get("id", "answered")) if isinstance(reply, dict) else "answered"


@dataclass
class Ledger:
    """What happened to every request. It knows each request's sample by its id.

    Answers keep the requests' order, so a request that a later one overtakes is lost. Otherwise the
    next closed connection would excuse the loss.
    """

    expected: list[float]
    waiting: dict[str, int] = field(default_factory=dict)
    closed: dict[str, int] = field(default_factory=dict)
    unsure: dict[str, int] = field(default_factory=dict)  # Since the service's connection closed.
    overtaken: dict[str, int] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)

    def asked(self, number: int) -> bytes:
        sample = number % len(self.expected)
        identity = f"soak-{number}"
        self.waiting[identity] = sample
        return encode_request(identity, model.samples()[sample : sample + 1])

    def heard(self, message: bytes) -> None:
        reply = json.loads(message)
        identity = reply.get("id")
        if identity == "probe":
            self.counts["probes"] += 1
            return
        if identity in self.waiting:
            while (oldest := next(iter(self.waiting))) != identity:
                self.overtaken[oldest] = self.waiting.pop(oldest)
            sample, fate = self.waiting.pop(identity), "answered"
        elif identity in self.closed:
            sample, fate = self.closed.pop(identity), "answered late"
        elif identity in self.unsure:
            sample, fate = self.unsure.pop(identity), "answered"
        else:
            self.counts["mixed up"] += 1
            return
        if "error" in reply:
            self.counts["refused"] += 1
        elif reply["predictions"] == [self.expected[sample]]:
            self.counts[fate] += 1
        else:
            self.counts["mixed up"] += 1

    def connection_closed(self) -> None:
        self.counts["closed"] += len(self.waiting)
        self.closed |= self.waiting
        self.waiting.clear()

    def service_closed(self) -> None:
        self.unsure |= self.waiting
        self.waiting.clear()

    def service_is_back(self) -> None:
        """It has answered a later request.

        So an unsure request has no answer, and may not get one.
        """
        self.counts["unheard"] += len(self.unsure)
        self.unsure.clear()


def soak(count: int = REQUESTS) -> Iterator[Row]:
    """Requests without a pause, over a broker that drops connections: all, the service's, all, …"""
    ledger = Ledger(model.expected(model.samples()))
    drops = [count * (number + 1) // (RECONNECTS + 1) for number in range(RECONNECTS)]
    with place() as here:
        service = here.service()
        client = _connected(here)
        process, early, asked = service.process(), 0, 0
        while asked < count or ledger.waiting:
            until = min(count, asked + DEPTH - len(ledger.waiting))
            requests = [ledger.asked(number) for number in range(asked, until)]
            asked = until
            try:
                client.publish(REQUEST_TOPIC, *requests)
                if drops and asked >= drops[0]:
                    del drops[0]
                    if len(drops) % 2:
                        here.nucleus.drop()
                    else:
                        here.nucleus.drop(SERVICE)
                        _until_the_service_is_back(client, ledger)
                if ledger.waiting:
                    for message in client.received():
                        ledger.heard(message)
            except Closed:
                ledger.connection_closed()
                client = _connected(here)
            except TimeoutError:
                break
            if not early and asked >= count // 10:
                early = service.memory("VmRSS")
        grown = service.memory("VmRSS") - early
        crashed = service.process() != process
    counts, lost = ledger.counts, len(ledger.waiting) + len(ledger.overtaken)
    yield Row(
        what=f"{asked:,} requests, {RECONNECTS - len(drops)} reconnects, every second one of the"
        " service alone",
        ours=f"{lost + crashed} lost, {counts['mixed up']} mixed up"
        f" ({counts['answered']:,} answered, {counts['refused']} refused, {counts['closed']} by a"
        f" connection closed: of those {counts['answered late']} answered all the same;"
        f" {counts['unheard']} not, as the service's closed)",
        bound="0 and 0",
        met=asked == count and not drops and not lost + crashed + counts["mixed up"],
    )
    yield Row(
        what="growth of the service's memory meanwhile",
        ours=f"{kilobytes(grown)} on {megabytes(early)}",
        bound=f"at most {kilobytes(FLAT)}",
        met=grown <= FLAT,
    )


def _until_the_service_is_back(client: Client, ledger: Ledger) -> None:
    """Ask again and again, because nobody tells the client that the service doesn't listen."""
    ledger.service_closed()
    probes, deadline = ledger.counts["probes"], time.monotonic() + PATIENCE
    while ledger.counts["probes"] == probes:
        if time.monotonic() > deadline:
            raise AssertionError(f"the service isn't back within {PATIENCE:.0f} s")
        client.publish(REQUEST_TOPIC, probe())
        for message in client.received_within(0.02):
            ledger.heard(message)
    ledger.service_is_back()


def _connected(here: Place) -> Client:
    client = here.client(ANSWER_TOPIC)
    wait_until_it_answers(client, REQUEST_TOPIC)
    return client
