"""Every request gets exactly one answer, whatever it is; the transport is somebody else's.

A prediction takes microseconds and is made on the loop itself: a thread would cost more. What
takes time is `send`, so that is what runs concurrently, at most WINDOW at once and started in the
order of the requests. While sending is slower than asking, requests wait in a bounded queue. When
that is full, a request is refused as `busy` at once; when even those refusals can't leave, it is
dropped and counted, as holding up the nucleus would hurt every other component.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from . import log
from .forest import Model
from .protocol import BadRequest, Code, decode, encode_answer, encode_refusal, identity

Predict = Callable[[Sequence[Sequence[float]]], list[float]]
Send = Callable[[bytes], Awaitable[None]]  # raises ConnectionError when the answer is lost

WINDOW = 64
BACKLOG = 1024  # requests; at 2,000 a second the last one waits half a second
BACKLOG_BYTES = 4 * 2**20  # of requests: the container has 64 MiB


@dataclass(kw_only=True)
class Counts:
    """What became of the requests so far."""

    answered: int = 0
    refused: int = 0
    shed: int = 0  # refused as busy
    dropped: int = 0  # no answer: even the refusals couldn't leave
    lost: int = 0  # no answer: the connection was lost under it


class Service:
    """Requests in by `received`, answers out by `send`."""

    def __init__(self, *, model: Model, predict: Predict, send: Send) -> None:
        self.counts = Counts()
        self._model = model
        self._predict = predict
        self._send = send
        self._waiting: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._waiting_bytes = 0
        self._window = asyncio.Semaphore(WINDOW)
        self._refusing: set[asyncio.Task[None]] = set()

    def received(self, payload: bytes) -> None:
        """Take a request; called on the loop, never waits, never raises."""
        room = self._waiting_bytes + len(payload) <= BACKLOG_BYTES
        if room and self._waiting.qsize() < BACKLOG:
            self._waiting_bytes += len(payload)
            self._waiting.put_nowait(payload)
        else:
            self._shed(payload)

    async def run(self) -> None:
        """Answer until `stop`, then what has been taken before it."""
        async with asyncio.TaskGroup() as sending:
            while (payload := await self._waiting.get()) is not None:
                self._waiting_bytes -= len(payload)
                answer = self._answer(payload)
                await self._window.acquire()
                sending.create_task(self._deliver(answer)).add_done_callback(
                    lambda _: self._window.release()
                )
        if self._refusing:
            await asyncio.wait(self._refusing)

    def stop(self) -> None:
        self._waiting.put_nowait(None)

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
        if len(self._refusing) == WINDOW:
            self.counts.dropped += 1
            return
        self.counts.shed += 1
        busy = BadRequest(Code.BUSY, f"{self._waiting.qsize()} requests wait already: ask later")
        busy.id = identity(payload)
        task = asyncio.get_running_loop().create_task(self._deliver(encode_refusal(busy)))
        self._refusing.add(task)
        task.add_done_callback(self._refusing.discard)

    async def _deliver(self, answer: bytes) -> None:
        try:
            await self._send(answer)
        except ConnectionError as exc:
            self.counts.lost += 1
            log.event("answer-lost", reason=str(exc))
