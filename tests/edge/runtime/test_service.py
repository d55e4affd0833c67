"""The service without a wire: a peer with a memory takes the place of the transport."""

from __future__ import annotations

import json
import math
import threading
from collections import deque
from types import SimpleNamespace
from typing import Any

import pytest

from edge.inference import ipc, serve
from edge.inference import service as limits
from edge.inference.model import Model
from edge.inference.protocol import MAX_REQUEST, MAX_ROWS
from edge.inference.service import HOLD_SECONDS, Sent, Service

MODEL = Model(
    id="0123456789ab",
    feature_names=("pH",),
    feature_types=("float",),
    missing_allowed=False,
    outputs=1,
    trees=0,
)


class Doubles:
    """A model whose answers are known without XGBoost: each row's first value, doubled."""

    model = MODEL

    def predict(self, rows: list[list[float]]) -> list[float]:
        return [2 * value for (value,) in rows]

    def answered(self, _records: str, _most: int) -> None:
        return None


class Peer:
    """A nucleus that remembers what was sent, and confirms it at once, later, or never."""

    def __init__(self, *, confirms: bool = True) -> None:
        self.sent: list[Any] = []
        self._confirms = confirms
        self._unconfirmed: deque[Sent] = deque()

    def send(self, payload: bytes, sent: Sent) -> None:
        self.sent.append(json.loads(payload))
        if self._confirms:
            sent(None)
        else:
            self._unconfirmed.append(sent)

    def confirm(self, error: ConnectionError | None = None) -> None:
        """Confirm what has been sent, and everything that the service sends because of it."""
        while self._unconfirmed:
            self._unconfirmed.popleft()(error)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the thread that brings the messages, whatever the speed of this machine."""
    monkeypatch.setattr(limits, "HOLD_SECONDS", math.inf)


def request(number: float) -> bytes:
    return json.dumps({"id": str(number), "body": json.dumps([{"pH": number}])}).encode()


def test_every_request_gets_its_own_answer_in_order() -> None:
    peer = Peer()
    service = Service(Doubles(), peer.send)
    for payload in (request(1), b"nonsense", b'{"body": "[{\\"pH\\": 4}]"}'):
        service.received(payload)
    first, refusal, bare = peer.sent
    assert first == {"id": "1", "predictions": [2], "model": MODEL.id}
    assert refusal["error"]["code"] == "not-json"
    assert bare == [8], "a request without an id gets the old system's bare list"
    assert (service.stats.answered, service.stats.refused) == (2, {"not-json": 1})


def test_an_answer_that_no_message_carries_is_refused_with_the_rows_that_fit() -> None:
    peer = Peer()
    service = Service(Doubles(), peer.send)

    def ask(rows: int) -> Any:
        body = json.dumps([{"pH": 1 / 3}] * rows)
        service.received(json.dumps({"id": "many", "body": body}).encode())
        return peer.sent[-1]

    refusal = ask(MAX_ROWS)
    assert (refusal["id"], refusal["error"]["code"]) == ("many", "too-large")
    fitting = refusal["error"]["row"]
    assert len(ask(fitting)["predictions"]) == fitting
    assert ask(fitting + 1)["error"]["code"] == "too-large"
    assert (service.stats.answered, service.stats.refused) == (1, {"too-large": 2})


def test_a_failure_of_ours_is_still_an_answer_to_its_asker_and_to_the_next() -> None:
    class Broken(Doubles):
        def predict(self, rows: list[list[float]]) -> list[float]:
            if rows == [[1]]:
                raise OSError("libforest.so is gone")
            return super().predict(rows)

    peer = Peer()
    service = Service(Broken(), peer.send)
    service.received(request(1))
    service.received(request(2))
    failed, fine = peer.sent
    assert (failed["id"], failed["error"]["code"]) == ("1", "internal")
    assert fine["predictions"] == [4]


def test_no_more_than_a_window_of_answers_is_unconfirmed() -> None:
    peer = Peer(confirms=False)
    service = Service(Doubles(), peer.send)
    for number in range(3 * limits.WINDOW):
        service.received(request(number))
    assert len(peer.sent) == limits.WINDOW, "the rest would wait in the SDK, where nobody counts it"
    peer.confirm()
    assert [said["id"] for said in peer.sent] == [str(n) for n in range(3 * limits.WINDOW)]


def test_a_flood_is_refused_in_its_turn_and_nobody_is_left_without_an_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "WINDOW", 1)
    monkeypatch.setattr(limits, "BACKLOG", 3)
    peer = Peer(confirms=False)
    service = Service(Doubles(), peer.send)
    for number in range(11):
        service.received(request(number))
    peer.confirm()
    assert [said["id"] for said in peer.sent] == [str(number) for number in range(11)]
    assert [said.get("error", {}).get("code") for said in peer.sent] == [None] * 4 + ["busy"] * 7
    assert (service.stats.answered, service.stats.refused) == (4, {"busy": 7})


def test_after_a_flood_there_is_room_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "WINDOW", 1)
    monkeypatch.setattr(limits, "BACKLOG", 1)
    monkeypatch.setattr(limits, "BACKLOG_BYTES", 100 + limits.WAITING_BYTES)
    peer = Peer(confirms=False)
    service = Service(Doubles(), peer.send)
    for _ in range(3):
        for number in range(3):
            service.received(request(number))
        peer.confirm()
    assert ["error" in said for said in peer.sent] == [False, False, True] * 3


def test_memory_is_bounded_where_not_even_refusals_can_leave(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(limits, "WINDOW", 1)
    monkeypatch.setattr(limits, "BACKLOG", 1)
    monkeypatch.setattr(limits, "REFUSAL_BYTES", 700)
    peer = Peer(confirms=False)
    service = Service(Doubles(), peer.send)
    for number in range(100):
        service.received(request(number))
    peer.confirm()
    assert len(peer.sent) == 100 - service.stats.dropped
    assert service.stats.dropped > 90
    assert capsys.readouterr().out.count('"dropping"') == 1, (
        "a flood must not flood the log as well"
    )
    for number in range(100):
        service.received(request(number))
    assert capsys.readouterr().out.count('"dropping"') == 1, "the next flood is reported as well"


@pytest.mark.parametrize("size", [MAX_REQUEST + 1, 2 * limits.BACKLOG_BYTES])
def test_a_request_of_any_excess_is_refused_in_its_turn_as_what_it_is(
    size: int, capsys: pytest.CaptureFixture[str]
) -> None:
    peer = Peer()
    service = Service(Doubles(), peer.send)
    service.received(request(1))
    service.received(bytes(size))
    service.too_long(size)  # As from a line that didn't read so much.
    service.received(request(2))
    assert [said.get("id") for said in peer.sent] == ["1", None, None, "2"]
    for refusal in peer.sent[1:3]:
        assert refusal["error"]["code"] == "too-large", "to ask again later would be in vain"
        assert f"{size} bytes, more than {MAX_REQUEST}" in refusal["error"]["message"]
    assert service.stats.refused == {"too-large": 2}
    assert capsys.readouterr().out.count('"refused"') == 2


DEPTH = 2_000


def code_of_deep_json() -> str:
    """Python 3.11, which the image has, reads no JSON of this depth, and newer versions differ."""
    try:
        json.loads("[" * DEPTH + "]" * DEPTH)
    except RecursionError:
        return "not-json"
    return "not-a-request"


@pytest.mark.parametrize(
    ("event", "code"),
    [
        (b'{"jsonMessage": {"message": %s}}' % (b"[" * 5_000 + b"]" * 5_000), "too-large"),
        (
            b'{"jsonMessage": {"message": %s}}' % (b"[" * DEPTH + b"]" * DEPTH),
            code_of_deep_json(),
        ),
        (b'{"jsonMessage": {"message": {"body": %s}}}' % (b"7" * 5_000), "not-json"),
        (b'{"jsonMessage": {}}', "not-json"),
        (b'{"binaryMessage": {"message": "no base64"}}', "not-json"),
        (b'{"binaryMessage": null}', "not-json"),
        (b"[]", "not-json"),
        (b"\xff", "not-json"),
    ],
    ids=lambda part: str(part[:40]),
)
def test_an_event_that_nobody_can_read_is_refused_counted_and_logged(
    event: bytes, code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    peer = Peer()
    service = Service(Doubles(), peer.send)
    for heard in (event, b'{"jsonMessage": {"message": {"id": "a", "body": "[]"}}}'):
        ipc._heard(service, heard)
    refusal, answer = peer.sent
    assert refusal["error"]["code"] == code
    assert answer == {"id": "a", "predictions": [], "model": MODEL.id}
    assert service.stats.refused == {code: 1}
    (logged,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (logged["event"], logged["code"]) == ("refused", code)


@pytest.mark.parametrize(
    "message",
    [
        {"id": "a", "body": "[]", "x": [7] * 120_000},
        {"id": "a", "body": "[]", "x": "\u00e4" * 120_000},
    ],
    ids=["many", "not ASCII"],
)
def test_a_request_in_json_is_read_up_to_the_bound_and_not_beyond_it(message: Any) -> None:
    peer = Peer()
    service = Service(Doubles(), peer.send)
    for said in (message, [message, message]):
        text = json.dumps({"jsonMessage": {"message": said}}, ensure_ascii=False)
        ipc._heard(service, text.replace(" ", "").encode())
    answer, refusal = peer.sent
    assert answer["id"] == "a"
    assert refusal["error"]["code"] == "too-large"


def test_a_request_as_long_as_the_bound_is_read() -> None:
    peer = Peer()
    Service(Doubles(), peer.send).received(request(1).ljust(MAX_REQUEST))
    assert peer.sent[0]["predictions"] == [2]


def test_the_end_waits_until_what_was_taken_is_answered_and_confirmed() -> None:
    peer = Peer(confirms=False)
    service = Service(Doubles(), peer.send)
    for number in range(200):
        service.received(request(number))
    finished = service.finish()
    assert not finished.done()
    peer.confirm()
    assert finished.done()
    assert len(peer.sent) == 200


def test_the_end_of_an_idle_service_is_at_once() -> None:
    assert Service(Doubles(), Peer().send).finish().done()


def test_an_answer_lost_with_its_connection_is_counted_and_the_service_goes_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    peer = Peer(confirms=False)
    service = Service(Doubles(), peer.send)
    service.received(request(1))
    service.received(request(2))
    peer.confirm(ConnectionError("the nucleus closed the connection"))
    service.received(request(3))
    peer.confirm()
    assert service.stats.lost == 2
    assert [said["id"] for said in peer.sent] == ["1", "2", "3"], "maybe heard, so not said again"
    assert capsys.readouterr().out.count('"answer-lost"') == 2


def test_after_leaving_nothing_more_is_answered_and_what_waits_is_counted() -> None:
    peer = Peer(confirms=False)
    service = Service(Doubles(), peer.send)
    for number in range(limits.WINDOW + 10):
        service.received(request(number))
    service.leave()
    peer.confirm(ConnectionError("the line was closed"))
    assert (len(peer.sent), service.stats.lost) == (limits.WINDOW, limits.WINDOW)
    assert service.summary()["waiting"] == 10


class Slow(Doubles):
    """A model that predicts for a given time, and knows its threads."""

    def __init__(self) -> None:
        self.began = threading.Semaphore(0)
        self.go_on = threading.Event()
        self.threads: list[threading.Thread] = []

    def predict(self, rows: list[list[float]]) -> list[float]:
        self.threads.append(threading.current_thread())
        self.began.release()
        assert self.go_on.wait(120)
        return super().predict(rows)


def test_a_slow_request_delays_neither_the_thread_that_brings_requests_nor_their_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "BACKLOG", 2)
    monkeypatch.setattr(limits, "HOLD_SECONDS", HOLD_SECONDS)
    peer, slow = Peer(), Slow()
    service = Service(slow, peer.send)
    service._pace = 1.0  # As after requests that took a second for each byte.
    service.received(request(0))
    assert slow.began.acquire(timeout=120)
    for number in range(1, 5):  # It returns although request 0 is still being answered.
        service.received(request(number))
    finished = service.finish()
    slow.go_on.set()
    finished.result(120)
    assert [said["id"] for said in peer.sent] == ["0", "1", "2", "3", "4"]
    codes = [said.get("error", {}).get("code") for said in peer.sent]
    assert codes == [None, None, None, "busy", "busy"], "behind a slow answer the queue is bounded"
    assert threading.current_thread() not in slow.threads


def test_requests_return_to_the_thread_that_brings_them_once_they_are_quick_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "HOLD_SECONDS", HOLD_SECONDS)
    monkeypatch.setattr(limits, "perf_counter", lambda: 1.0)  # Everything takes no time.
    model, answered = Slow(), threading.Semaphore(0)
    model.go_on.set()

    def send(_payload: bytes, sent: Sent) -> None:
        sent(None)
        answered.release()

    service = Service(model, send)
    service._pace = 1e-3
    for number in range(60):  # Each is quick, and the estimate learns it.
        service.received(request(number))
        assert answered.acquire(timeout=120)
    for thread in {*model.threads} - {threading.current_thread()}:
        thread.join(120)  # Until then, a thread may take the next request as well.
    service.received(request(60))
    assert model.threads[0] is not threading.current_thread()
    assert model.threads[-1] is threading.current_thread()


def test_a_request_for_the_description_is_answered_in_its_turn() -> None:
    peer = Peer()
    service = Service(Doubles(), peer.send)
    service.received(b'{"describe": true, "id": "a"}')
    (told,) = peer.sent
    assert (told["id"], told["description"]["model"]) == ("a", MODEL.id)
    assert told["description"]["features"] == [{"name": "pH", "type": "number"}]
    assert service.stats.requests == 0, "as little as asking for the stats"


def test_a_request_for_the_stats_is_answered_in_its_turn() -> None:
    peer = Peer()
    service = Service(Doubles(), peer.send)
    for payload in (request(1), b"nonsense", b"[]", b"{}", b'{"stats": true, "id": "a"}'):
        service.received(payload)
    told = peer.sent[-1]
    assert told["id"] == "a"
    stats = told["stats"]
    assert (stats["model"], stats["requests"], stats["answered"]) == (MODEL.id, 4, 1)
    assert stats["refused"] == {"not-json": 1, "not-a-request": 2}
    assert (stats["dropped"], stats["lost"], stats["waiting"]) == (0, 0, 0)
    assert 0 < stats["p50_ms"] <= stats["p99_ms"]
    service.received(b'{"stats": true}')
    assert peer.sent[-1]["stats"]["requests"] == 4, "asking for the stats is not one of them"


def test_the_log_sums_up_once_a_period_and_not_where_nobody_asked_meanwhile(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    service = Service(Doubles(), Peer().send)
    periods = iter([0, 1, 0, 0, 2, 0])  # Requests in each period.

    def sleep(seconds: float) -> None:
        assert seconds == serve.SUMMARY_SECONDS
        for number in range(next(periods)):
            service.received(request(number))

    monkeypatch.setattr(serve, "time", SimpleNamespace(sleep=sleep))
    with pytest.raises(StopIteration):
        serve._summaries(service)
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(said["event"], said["answered"]) for said in told] == [("summary", 1), ("summary", 3)]
