"""A client: sends requests with ids, and matches answers by id.

A subscriber to the answers' topic hears the answers to all clients. Only those with our ids count.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import count
from typing import Any

from . import log
from .ipc import Line, Sent, settle
from .protocol import (
    Answer,
    BadRequest,
    Code,
    Record,
    Refusal,
    decode_reply,
    encode_request,
)
from .settings import Channel, Nucleus

Send = Callable[[bytes], Awaitable[None]]  # It raises ConnectionError.


class Refused(Exception):
    """The service refused the request; the refusal says why."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(f"{refusal.code}: {refusal.message}")
        self.refusal = refusal


class Client:
    """Sends requests with `send`, and takes every message from the answers' topic."""

    def __init__(self, *, name: str, send: Send) -> None:
        self._loop = asyncio.get_running_loop()
        # A restarted client must not take an answer to its predecessor.
        self._ids = (f"{name[:64]}-{secrets.token_hex(4)}-{number}" for number in count())
        self._send = send
        self._asked: dict[str, asyncio.Future[Answer | Refusal]] = {}

    async def ask(self, records: Sequence[Record], *, seconds: float) -> Answer:
        """The answer to one request, or to several if one answer is too long for a message.

        Raises Refused, TimeoutError or ConnectionError.
        """
        request_id = next(self._ids)
        asked: asyncio.Future[Answer | Refusal] = asyncio.get_running_loop().create_future()
        self._asked[request_id] = asked
        try:
            async with asyncio.timeout(seconds):
                await self._send(encode_request(request_id, records))
                answered = await asked
        finally:
            del self._asked[request_id]
        if isinstance(answered, Answer):
            return answered
        if answered.code != Code.TOO_LARGE or not answered.row:
            raise Refused(answered)
        fitting = answered.row
        first = await self.ask(records[:fitting], seconds=seconds)
        rest = await self.ask(records[fitting:], seconds=seconds)
        if first.model != rest.model:
            raise ConnectionError("the model changed between two questions")
        return replace(rest, predictions=[*first.predictions, *rest.predictions])

    def received(self, payload: bytes) -> None:
        """Take a message from the answers' topic, on any thread."""
        reply = decode_reply(payload)
        if reply is not None and reply.id in self._asked:
            with suppress(RuntimeError):  # The loop and the waiting caller have ended.
                self._loop.call_soon_threadsafe(self._answered, reply)

    def too_long(self, _size: int) -> None:
        """Ignore it: the service sends no message of that length."""

    def unreadable(self, _bad: BadRequest) -> None:
        """Ignore it: the service sends binary messages."""

    def _answered(self, reply: Answer | Refusal) -> None:
        if (asked := self._asked.get(reply.id)) and not asked.done():
            asked.set_result(reply)


async def asking(
    nucleus: Nucleus,
    channel: Channel,
    name: str,
    works: Callable[[Client, Line], Sequence[Coroutine[Any, Any, Any]]],
    **opened: Any,
) -> Any:
    """Connect, run `works`, and return the result of the first that ends.

    The log has `opened` when there is a connection. Raises Unreachable.
    """

    line = Line(nucleus, topic=channel.answers)

    async def send(payload: bytes) -> None:
        await confirmed(partial(line.post, channel.requests, payload))

    client = Client(name=f"{name}-{nucleus.thing}", send=send)
    tasks = [asyncio.create_task(work) for work in works(client, line)]
    listening = asyncio.to_thread(line.run, client, partial(log.event, "asking", **opened))
    tasks.append(asyncio.create_task(listening))
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return next(task for task in tasks if task.done()).result()
    finally:
        line.stop()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        line.close()


async def confirmed(start: Callable[[Sent], None]) -> None:
    """Start something, and wait until the nucleus confirms it. Raises ConnectionError."""
    outcome: Future[None] = Future()
    outcome.set_running_or_notify_cancel()  # The caller may leave, but the message is sent.
    start(partial(settle, outcome))
    await asyncio.wrap_future(outcome)
