"""Every request gets exactly one answer, in the requests' order; the transport is somebody else's.

A prediction takes microseconds and is made on the loop itself: a thread would cost more, and a call
for several requests would save nothing that one could measure beside `send`'s 0.3 ms. So `send` is
what runs concurrently, at most WINDOW at once. While sending is slower than asking, requests wait
in a bounded queue. When that is full, a request is refused as `busy`, and only its refusal waits
for its turn. Those are bounded, too: where 20,000 of them can't leave, requests are dropped and
counted, as holding up the nucleus would hurt every other component.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from . import log
from .engine import Model
from .protocol import BadRequest, Code, decode, encode_answer, encode_refusal, identity

Predict = Callable[[Sequence[Sequence[float]]], list[float]]
Send = Callable[[bytes], Awaitable[None]]  # raises ConnectionError when the answer is lost

WINDOW = 64
BACKLOG = 1024  # requests; at 2,000 a second the last one waits half a second
BACKLOG_BYTES = 4 * 2**20  # of requests: the container has 64 MiB
REFUSAL_BYTES = 4 * 2**20  # of waiting refusals, some 200 bytes each


@dataclass(kw_only=True)
class Counts:
    """What became of the requests so far."""

    answered: int = 0
    refused: int = 0
    shed: int = 0  # refused as busy
    dropped: int = 0  # no answer: the refusals couldn't leave either
    lost: int = 0  # no answer: the connection was lost under it


@dataclass(frozen=True)
class _Waiting:
    """A request, or the refusal that has taken its place."""

    payload: bytes
    refused: bool


class Service:
    """Requests in by `received`, answers out by `send`."""

    def __init__(self, *, model: Model, predict: Predict, send: Send) -> None:
        self.counts = Counts()
        self._model = model
        self._predict = predict
        self._send = send
        self._waiting: asyncio.Queue[_Waiting | None] = asyncio.Queue()
        self._requests = 0
        self._request_bytes = 0
        self._refusal_bytes = 0
        self._window = asyncio.Semaphore(WINDOW)

    def received(self, payload: bytes) -> None:
        """Take a request; called on the loop, never waits, never raises."""
        if self._requests < BACKLOG and self._request_bytes + len(payload) <= BACKLOG_BYTES:
            self._requests += 1
            self._request_bytes += len(payload)
            self._waiting.put_nowait(_Waiting(payload, refused=False))
        else:
            self._shed(payload)

    async def run(self) -> None:
        """Answer until `stop`, then what has been taken before it."""
        async with asyncio.TaskGroup() as sending:
            while (waiting := await self._waiting.get()) is not None:
                answer = self._taken(waiting)
                await self._window.acquire()
                sending.create_task(self._deliver(answer)).add_done_callback(
                    lambda _: self._window.release()
                )

    def stop(self) -> None:
        self._waiting.put_nowait(None)

    def _taken(self, waiting: _Waiting) -> bytes:
        if waiting.refused:
            self._refusal_bytes -= len(waiting.payload)
            return waiting.payload
        self._requests -= 1
        self._request_bytes -= len(waiting.payload)
        return self._answer(waiting.payload)

    def _answer(self, payload: bytes) -> bytes:
        try:
            request = decode(
                payload, self._model.feature_names, missing_allowed=self._model.missing_allowed
            )
            answer = encode_answer(request.id, self._predict(request.rows), self._model.id)
        except BadRequest as bad:
            return self._refuse(bad)
        except Exception:  # ours, not the peer's: it gets its one answer all the same
            log.event("internal-error", traceback=traceback.format_exc())
            ours = BadRequest(Code.INTERNAL, "the service failed on this request; see its log")
            ours.id = identity(payload)
            return self._refuse(ours)
        self.counts.answered += 1
        return answer

    def _refuse(self, bad: BadRequest) -> bytes:
        self.counts.refused += 1
        log.event("refused", code=bad.code, message=bad.message, row=bad.row, field=bad.field)
        return encode_refusal(bad)

    def _shed(self, payload: bytes) -> None:
        busy = BadRequest(Code.BUSY, f"{self._requests} requests are waiting; ask again later")
        busy.id = identity(payload)
        refusal = encode_refusal(busy)
        if self._refusal_bytes + len(refusal) > REFUSAL_BYTES:
            if not self.counts.dropped:
                log.event("dropping", waiting=self._waiting.qsize())
            self.counts.dropped += 1
            return
        self.counts.shed += 1
        self._refusal_bytes += len(refusal)
        self._waiting.put_nowait(_Waiting(refusal, refused=True))

    async def _deliver(self, answer: bytes) -> None:
        try:
            await self._send(answer)
        except ConnectionError as exc:
            self.counts.lost += 1
            log.event("answer-lost", reason=str(exc))
