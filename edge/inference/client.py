"""The asking side: questions with an id of their own, and the answers that carry it back.

A subscriber to the answers' topic hears the answers to all clients; only those with an id of ours
count.
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

Send = Callable[[bytes], Awaitable[None]]  # raises ConnectionError


class Refused(Exception):
    """The service's answer is that it won't, and why."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(f"{refusal.code}: {refusal.message}")
        self.refusal = refusal


class Client:
    """Asks over `send`; listens to whatever comes back."""

    def __init__(self, *, name: str, send: Send) -> None:
        self._loop = asyncio.get_running_loop()
        # a restarted client must not take the answer to its predecessor's question
        self._ids = (f"{name[:64]}-{secrets.token_hex(4)}-{number}" for number in count())
        self._send = send
        self._asked: dict[str, asyncio.Future[Answer | Refusal]] = {}

    async def ask(self, records: Sequence[Record], *, seconds: float) -> Answer:
        """A question, or several where the answer to one would be too long for a message.

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
        """Take a message from the answers' topic; on any thread."""
        reply = decode_reply(payload)
        if reply is not None and reply.id in self._asked:
            with suppress(RuntimeError):  # the loop has ended, and with it whoever asked
                self._loop.call_soon_threadsafe(self._answered, reply)

    def too_long(self, _size: int) -> None:
        """No answer to anybody: the service sends none of that length."""

    def unreadable(self, _bad: BadRequest) -> None:
        """No answer to anybody: the service's are binary messages."""

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
    """The outcome of the work that ends first, beside a line to the service.

    `opened` is what the log says of it once there is a connection. Raises Unreachable.
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
    """Start something, and wait until the nucleus has confirmed it; raises ConnectionError."""
    outcome: Future[None] = Future()
    outcome.set_running_or_notify_cancel()  # whoever waits may leave, the message won't
    start(partial(settle, outcome))
    await asyncio.wrap_future(outcome)
