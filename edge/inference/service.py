"""Answers each request at most once, in order. The transport is in another module.

A prediction takes a few microseconds. Passing it to another thread takes about a hundred. So the
SDK's thread, which receives a request, also answers it. At most WINDOW answers are being sent at a
time. Further requests wait in a bounded queue. When the queue is full, a request is refused as
`busy`, and only its refusal waits. Refusals are bounded as well. When 10,000 of them can't be sent,
requests are dropped and counted, because a blocked nucleus would hurt every other component.

If the connection breaks, answers that the nucleus hasn't confirmed are lost and counted. They
aren't sent again. The nucleus may have passed them on, and a client without ids would take the
second copy for its next answer.

The SDK reads nothing while its thread is busy. So a request that will take longer than HOLD_SECONDS
is answered on another thread. Its size and the times of recent requests decide. Later requests wait
in the queue, where they are counted, bounded and refused.
"""

from __future__ import annotations

import threading
import traceback
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from time import perf_counter
from typing import Any, NamedTuple

from edge.inference.engines.loader import Evaluator, answers

from . import log
from .protocol import (
    MAX_REQUEST,
    BadRequest,
    Code,
    Wanted,
    decode,
    encode_answer,
    encode_description,
    encode_refusal,
    encode_stats,
    identity,
    records,
    too_large,
)
from .stats import Stats

Sent = Callable[[ConnectionError | None], None]
Send = Callable[[bytes, Sent], None]  # It reports the answer's outcome later.

WINDOW = 64
BACKLOG = 1024  # In requests. At 2,000 a second the last waits half a second.
BACKLOG_BYTES = 4 * 2**20  # Of the requests. The sum of all bounds is in memory.py.
REFUSAL_BYTES = 4 * 2**20  # Waiting refusals have some 400 bytes each.
WAITING_BYTES = 200  # The objects of an entry: tuple, bytes, float, place in the queue.
# The longest that the SDK's thread may be busy. Ten such requests fit into the socket's buffer.
HOLD_SECONDS = 0.005
OVERHEAD_BYTES = 500  # The fixed cost of a request, as bytes of length.


class _Waiting(NamedTuple):
    """A waiting request, or its refusal."""

    payload: bytes
    refused: bool
    arrived: float

    @property
    def size(self) -> int:
        return len(self.payload) + WAITING_BYTES


class Service:
    """Takes requests by `received` and sends answers by `send`, on any thread."""

    def __init__(self, evaluator: Evaluator, send: Send) -> None:
        self.stats = Stats()
        self._evaluator = evaluator
        self._model = evaluator.model
        self._send = send
        self._pace = 0.0  # In seconds per byte, recently.
        self._finished: Future[None] = Future()
        self._lock = threading.Lock()  # For the fields below.
        self._waiting: deque[_Waiting] = deque()
        self._requests = 0
        self._request_bytes = 0
        self._refusal_bytes = 0
        self._sending = 0
        self._working = False  # A thread is in `_go_on`, or is being started for it.
        self._stopping = False
        self._left = False
        self._dropping = False  # A drop was logged since the queue was last empty.

    def received(self, payload: bytes) -> None:
        """Take a request. Never waits and never raises."""
        size = len(payload)
        if size > MAX_REQUEST:
            self.too_long(size)
            return
        request = _Waiting(payload, False, perf_counter())
        with self._lock:
            waiting = self._requests
            room = waiting < BACKLOG and self._request_bytes + request.size <= BACKLOG_BYTES
            if room:
                self._requests += 1
                self._request_bytes += request.size
                self._waiting.append(request)
        if not room:
            busy = BadRequest(Code.BUSY, f"{waiting} requests are waiting; ask again later")
            self._refuse_in_turn(identity(payload), busy)
        self._work()

    def too_long(self, size: int) -> None:
        """Take a request that is too long to be read, as `received` does."""
        self._refuse_unread(too_large(size))

    def unreadable(self, bad: BadRequest) -> None:
        """Take a request whose event was unreadable, as `received` does."""
        self._refuse_unread(bad)

    def _refuse_unread(self, bad: BadRequest) -> None:
        _log(bad)
        self._refuse_in_turn(None, bad)
        self._work()

    def finish(self) -> Future[None]:
        """A future that is done when all taken requests are answered.

        Don't call `received` after this.
        """
        with self._lock:
            self._stopping = True
        self._work()
        return self._finished

    def leave(self) -> None:
        """Stop answering. The stats show the unanswered requests as `waiting`."""
        with self._lock:
            self._left = True

    def _work(self) -> None:
        """Answer waiting requests up to the window, unless another thread is doing so."""
        with self._lock:
            if self._working:
                return
            self._working = True
        self._go_on()

    def _go_on(self) -> None:
        """Answer, on the one thread that works now."""
        while (waiting := self._next()) is not None:
            if self._pace * (OVERHEAD_BYTES + len(waiting.payload)) > HOLD_SECONDS:
                threading.Thread(target=self._long, args=(waiting,), daemon=True).start()
                return
            self._answer_one(waiting)

    def _long(self, waiting: _Waiting) -> None:
        """Continue a long request's work on another thread."""
        self._answer_one(waiting)
        self._go_on()

    def _next(self) -> _Waiting | None:
        with self._lock:
            if not self._waiting or self._sending >= WINDOW or self._left:
                self._working = False
                self._dropping &= bool(self._waiting)
                if self._stopping and not self._waiting and not self._sending:
                    self._stopping = False
                    self._finished.set_result(None)
                return None
            self._sending += 1
            waiting = self._waiting.popleft()
            if waiting.refused:
                self._refusal_bytes -= waiting.size
            else:
                self._requests -= 1
                self._request_bytes -= waiting.size
            return waiting

    def _answer_one(self, waiting: _Waiting) -> None:
        answer = waiting.payload
        if not waiting.refused:
            began = perf_counter()
            answer = self._answer(waiting.payload)
            pace = (perf_counter() - began) / (OVERHEAD_BYTES + len(waiting.payload))
            self._pace += (pace - self._pace) / 8
        self._send(answer, partial(self._sent, waiting.arrived))

    def _sent(self, arrived: float, error: ConnectionError | None) -> None:
        if error:
            log.event("answer-lost", reason=str(error))
        with self._lock:
            self._sending -= 1
            if error:
                self.stats.lost += 1
            else:
                self.stats.confirmed(perf_counter() - arrived)
        self._work()

    def _answer(self, payload: bytes) -> bytes:
        model = self._model
        asker = None
        try:
            request = decode(payload)
            asker = request.id
            if request.wanted is Wanted.STATS:
                return encode_stats(asker, self.summary())
            if request.wanted is Wanted.DESCRIPTION:
                return encode_description(request, model)
            found = answers(self._evaluator, records(request))
            answer = encode_answer(asker, found, model.id)
        except BadRequest as bad:
            return self._refuse(asker, bad)
        except Exception:  # It is our error, not the peer's, which still gets its one answer.
            log.event("internal-error", traceback=traceback.format_exc())
            ours = BadRequest(Code.INTERNAL, "the service failed on this request; see its log")
            return self._refuse(asker, ours)
        self.stats.answered += 1
        return answer

    def summary(self) -> dict[str, Any]:
        """The stats, the model, and the number of waiting requests."""
        with self._lock:
            waiting = self._requests
        return {"model": self._model.id, **self.stats.summary(), "waiting": waiting}

    def _refuse(self, asker: str | None, bad: BadRequest) -> bytes:
        with self._lock:
            self.stats.refused[bad.code] += 1
        _log(bad)
        return encode_refusal(asker, bad)

    def _refuse_in_turn(self, asker: str | None, bad: BadRequest) -> None:
        refusal = _Waiting(encode_refusal(asker, bad), True, perf_counter())
        with self._lock:
            if self._refusal_bytes + refusal.size <= REFUSAL_BYTES:
                self.stats.refused[bad.code] += 1
                self._refusal_bytes += refusal.size
                self._waiting.append(refusal)
                return
            self.stats.dropped += 1
            told, self._dropping = self._dropping, True
            waiting = len(self._waiting)
        if not told:
            log.event("dropping", waiting=waiting)


def _log(bad: BadRequest) -> None:
    log.event("refused", code=bad.code, message=bad.message, row=bad.row, field=bad.field)
