"""The service without a wire: a peer with a memory stands where the transport would be."""

from __future__ import annotations

import asyncio
import json
from array import array
from collections.abc import Sequence
from typing import Any

import pytest

from inference import service as limits
from inference.forest import Model
from inference.service import Service

MODEL = Model(
    id="0123456789ab",
    feature_names=("pH",),
    missing_allowed=False,
    base_score=0.0,
    nodes=b"",
    roots=array("i"),
    depths=array("i"),
)


class Peer:
    """Remembers what was sent; takes nothing while it is closed."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.open = asyncio.Event()
        self.open.set()
        self.broken = False

    async def send(self, payload: bytes) -> None:
        await self.open.wait()
        if self.broken:
            raise ConnectionError("the nucleus closed the connection")
        self.sent.append(json.loads(payload))


def doubled(rows: Sequence[Sequence[float]]) -> list[float]:
    return [2 * value for (value,) in rows]


def request(number: int) -> bytes:
    return json.dumps({"id": str(number), "body": json.dumps([{"pH": number}])}).encode()


async def answered(service: Service, *payloads: bytes) -> None:
    for payload in payloads:
        service.received(payload)
    service.stop()
    async with asyncio.timeout(10):
        await service.run()


def test_every_request_gets_its_own_answer_in_order() -> None:
    async def story() -> Peer:
        peer = Peer()
        service = Service(model=MODEL, predict=doubled, send=peer.send)
        await answered(service, request(1), b"nonsense", b'{"body": "[{\\"pH\\": 4}]"}')
        assert (service.counts.answered, service.counts.refused) == (2, 1)
        return peer

    first, refusal, bare = asyncio.run(story()).sent
    assert first == {"id": "1", "predictions": [2], "model": MODEL.id}
    assert refusal["error"]["code"] == "not-json"
    assert bare == [8], "who asks without an id gets the old system's bare list"


def test_a_failure_of_ours_is_still_an_answer_to_its_asker_and_to_the_next() -> None:
    def broken(rows: Sequence[Sequence[float]]) -> list[float]:
        if rows == [[1]]:
            raise OSError("libforest.so is gone")
        return doubled(rows)

    async def story() -> list[Any]:
        peer = Peer()
        await answered(Service(model=MODEL, predict=broken, send=peer.send), request(1), request(2))
        return peer.sent

    failed, fine = asyncio.run(story())
    assert (failed["id"], failed["error"]["code"]) == ("1", "internal")
    assert fine["predictions"] == [4]


def test_a_flood_is_refused_in_its_turn_and_nobody_is_left_without_an_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "BACKLOG", 3)

    async def story() -> tuple[Peer, Service]:
        peer = Peer()
        service = Service(model=MODEL, predict=doubled, send=peer.send)
        await answered(service, *map(request, range(10)))
        return peer, service

    peer, service = asyncio.run(story())
    assert [said["id"] for said in peer.sent] == [str(number) for number in range(10)]
    assert [said.get("error", {}).get("code") for said in peer.sent] == [None] * 3 + ["busy"] * 7
    assert (service.counts.answered, service.counts.shed) == (3, 7)


def test_after_a_flood_there_is_room_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BACKLOG", 1)
    monkeypatch.setattr(limits, "BACKLOG_BYTES", 100)

    async def story() -> list[Any]:
        peer = Peer()
        service = Service(model=MODEL, predict=doubled, send=peer.send)
        running = asyncio.create_task(service.run())
        for number in range(3):
            service.received(request(number))
            while len(peer.sent) <= number:
                await asyncio.sleep(0)
        service.stop()
        await running
        return peer.sent

    assert all("predictions" in said for said in asyncio.run(story()))


def test_memory_is_bounded_where_not_even_refusals_can_leave(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(limits, "BACKLOG", 1)
    monkeypatch.setattr(limits, "REFUSAL_BYTES", 300)

    async def story() -> Service:
        peer = Peer()
        service = Service(model=MODEL, predict=doubled, send=peer.send)
        await answered(service, *map(request, range(100)))
        assert len(peer.sent) == 100 - service.counts.dropped
        return service

    assert asyncio.run(story()).counts.dropped > 90
    assert capsys.readouterr().out.count('"dropping"') == 1, "a flood must not flood the log, too"


def test_stopping_answers_what_was_taken() -> None:
    async def story() -> list[Any]:
        peer = Peer()
        peer.open.clear()
        service = Service(model=MODEL, predict=doubled, send=peer.send)
        running = asyncio.create_task(service.run())
        for number in range(200):
            service.received(request(number))
        service.stop()
        await asyncio.sleep(0)
        assert not running.done()
        peer.open.set()
        await asyncio.wait_for(running, 10)
        return peer.sent

    assert len(asyncio.run(story())) == 200


def test_an_answer_lost_with_its_connection_is_counted_and_the_service_goes_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def story() -> Service:
        peer = Peer()
        peer.broken = True
        service = Service(model=MODEL, predict=doubled, send=peer.send)
        await answered(service, request(1), request(2))
        return service

    assert asyncio.run(story()).counts.lost == 2
    assert capsys.readouterr().out.count('"answer-lost"') == 2
