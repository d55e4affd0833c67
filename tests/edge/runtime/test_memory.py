"""The bound of memory: its parts as measured, and the limit of a container."""

from __future__ import annotations

import base64
import math
import re
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import pytest

from edge.inference import ipc, memory
from edge.inference.protocol import MAX_OPENINGS, MAX_REQUEST, BadRequest, identity
from edge.inference.service import Service
from tests.edge.runtime.test_service import Doubles
from tests.infra.pulumi_yaml import declared


def test_a_container_has_room_for_all_parts_of_the_bound_and_the_key_says_the_least() -> None:
    key = declared()["memory"]
    least = math.ceil(memory.LEAST / memory.MIB)
    assert least <= key["default"]
    assert f"less than {least}" in key["description"]


def peak(work: Callable[[], object]) -> int:
    """The most bytes that Python holds at a time."""
    tracemalloc.start()
    try:
        with suppress(BadRequest):
            work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


DEEP = "[" * 900 + "]" * 900


OPENINGS = ("{}", "[]", DEEP, '{"":{"":{}}}', '{"a":1}')
FILLERS = ('"\u4e2d"', '"ab"', "1.5", "7", '""', '"a%d":1')


@pytest.mark.parametrize(
    ("opened", "filler"),
    [*((DEEP, filler) for filler in FILLERS), *((opened, FILLERS[0]) for opened in OPENINGS)],
    ids=range(11),
)
def test_reading_a_request_takes_no_more_than_its_part(opened: str, filler: str) -> None:
    """As many openings as are accepted, and padding up to the limit."""

    def text(room: int) -> bytes:
        some = ",".join([opened] * ((MAX_OPENINGS - 10) // len(re.findall(r"[\[{]", opened))))
        fillings = (room - len(some)) // (len(filler % 99999 if "%" in filler else filler) + 3)
        rest = ",".join(filler % n if "%" in filler else filler for n in range(fillings))
        rest = f"{{{rest}}}" if "%" in filler else rest
        return f"[{some},{rest}]".encode()

    plain = b'{"id":"a","x":%s}' % text(MAX_REQUEST - 100)
    quoted = b'{"id":"a","isBase64Encoded":true,"body":"%s"}' % base64.b64encode(
        text(MAX_REQUEST * 3 // 4 - 100)
    )
    for request in (plain, quoted):
        assert len(request) <= MAX_REQUEST
        event = b'{"jsonMessage":{"message":%s}}' % request
        service = Service(Doubles(), lambda _payload, _sent: None)
        assert peak(partial(ipc._heard, Deaf(), event)) <= memory.TAKING_FACTOR * MAX_REQUEST
        assert peak(partial(service.received, request)) <= memory.ANSWERING_FACTOR * MAX_REQUEST
    assert identity(plain) == "a", "it was read, not refused"


class Deaf:
    """A line that forgets everything it hears."""

    def received(self, _payload: bytes) -> None: ...
    def too_long(self, _size: int) -> None:
        raise AssertionError("nothing would be parsed")

    def unreadable(self, bad: BadRequest) -> None:
        raise bad


def test_waiting_requests_take_no_more_than_their_part() -> None:
    service = Service(Doubles(), lambda _payload, _sent: None)

    def flood() -> None:
        for number in range(16_000):
            service.received(b'{"id": "%d"}' % number)

    taken = peak(flood)
    assert service.stats.dropped, "both queues are full"
    assert taken <= memory.WAITING
