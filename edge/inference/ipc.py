"""Greengrass IPC by awsiotsdk, and the only place that knows it.

Nucleus Lite closes the socket instead of answering a message that is too large, and a nucleus that
restarts closes it as well; the subscription goes with it. So a line connects and subscribes again,
a bounded number of times in a row: after a restart of the nucleus a container may hold a socket
that nobody will ever listen on, and only leaving (exit 69) lets the nucleus start it anew.

The SDK calls back on a thread of its own: everything enters by `loop.call_soon_threadsafe`.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from awscrt.exceptions import AwsCrtError
from awscrt.io import (
    ClientBootstrap,
    DefaultHostResolver,
    EventLoopGroup,
    SocketDomain,
    SocketOptions,
)
from awsiot import eventstreamrpc
from awsiot.greengrasscoreipc.client import GreengrassCoreIPCClient, SubscribeToTopicStreamHandler
from awsiot.greengrasscoreipc.model import (
    BinaryMessage,
    PublishMessage,
    PublishToTopicRequest,
    SubscribeToTopicRequest,
)

from . import log
from .settings import Nucleus, Unreachable

CONNECT_SECONDS = 10.0
REPLY_SECONDS = 10.0  # Lite holds a publisher up for 3 s when a subscriber doesn't read
PAUSES = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2)  # s between attempts in a row; then the line is lost
STEADY_SECONDS = 10.0  # a connection that held that long has earned all its attempts again
ANSWERED = 64  # published messages whose streams may still be closed by the nucleus itself

# whatever the SDK raises for a call that went wrong; an application's errors are RuntimeErrors
_SDK_ERRORS = (RuntimeError, AwsCrtError, OSError, TimeoutError)

Received = Callable[[bytes], None]


class Line:
    """One subscription that outlives connections, and publishing beside it."""

    def __init__(
        self, nucleus: Nucleus, *, topic: str, received: Received, opened: Callable[[], None]
    ) -> None:
        self._nucleus = nucleus
        self._topic = topic
        self._received = received
        self._opened = opened
        self._loop = asyncio.get_running_loop()
        self._connection: _Connection | None = None
        self._open = asyncio.Event()
        group = EventLoopGroup(num_threads=1)
        self._bootstrap = ClientBootstrap(group, DefaultHostResolver(group))

    async def run(self) -> None:
        """Keep the line open until cancelled; raises Unreachable when it is lost for good."""
        failures = 0
        while True:
            connection = _Connection(self._nucleus, self._bootstrap)
            try:
                await connection.open(self._topic, self._received)
                opened = self._loop.time()
                self._connection = connection
                self._open.set()
                self._opened()
                reason = await connection.lost
                if self._loop.time() - opened >= STEADY_SECONDS:
                    failures = 0
            except ConnectionError as exc:
                reason = str(exc)
            finally:
                self._open.clear()
                self._connection = None
                await connection.close()
            if failures == len(PAUSES):
                raise Unreachable(
                    f"no Greengrass IPC at {self._nucleus.socket} for {self._topic!r} after"
                    f" {failures + 1} attempts: {reason}"
                )
            log.event("disconnected", reason=reason, retry_seconds=PAUSES[failures])
            await asyncio.sleep(PAUSES[failures])
            failures += 1

    async def publish(self, topic: str, payload: bytes) -> None:
        """Hand a message to the nucleus, once there is a connection; raises ConnectionError.

        Calls that start in order are written in order.
        """
        while self._connection is None:
            await self._open.wait()
        await self._connection.publish(topic, payload)

    async def unsubscribe(self) -> None:
        """Hear nothing any more; publishing goes on."""
        if self._connection:
            await self._connection.unsubscribe()


class _Connection:
    """One connection with its subscription; `lost` tells when and why it ended."""

    def __init__(self, nucleus: Nucleus, bootstrap: ClientBootstrap) -> None:
        self._loop = asyncio.get_running_loop()
        self.lost: asyncio.Future[str] = self._loop.create_future()
        options = SocketOptions()
        options.domain = SocketDomain.Local
        self._connection = eventstreamrpc.Connection(
            host_name=nucleus.socket,
            port=0,  # of no meaning to a local socket
            bootstrap=bootstrap,
            socket_options=options,
            connect_message_amender=eventstreamrpc.MessageAmendment.create_static_authtoken_amender(
                nucleus.token
            ),
        )
        self._client = GreengrassCoreIPCClient(self._connection)
        self._subscription: Any = None
        self._published: deque[Any] = deque()

    async def open(self, topic: str, received: Received) -> None:
        """Connect and subscribe; raises ConnectionError."""
        await self._done(
            "connecting", lambda: self._connection.connect(_Lifecycle(self)), CONNECT_SECONDS
        )
        self._subscription = self._client.new_subscribe_to_topic(_Messages(self, received))
        await self._done(
            f"subscribing to {topic!r}",
            lambda: self._call(self._subscription, SubscribeToTopicRequest(topic=topic)),
            REPLY_SECONDS,
        )

    async def publish(self, topic: str, payload: bytes) -> None:
        request = PublishToTopicRequest(
            topic=topic,
            publish_message=PublishMessage(binary_message=BinaryMessage(message=payload)),
        )

        def start() -> Any:
            operation = self._client.new_publish_to_topic()
            self._published.append(operation)
            return self._call(operation, request)

        await self._done(f"publishing on {topic!r}", start, REPLY_SECONDS)
        # Java ends the stream with its answer, Lite leaves it open for us. Closing one that Java
        # has just closed would be an error, hence the distance.
        if len(self._published) > ANSWERED:
            self._published.popleft().close()

    async def unsubscribe(self) -> None:
        subscription, self._subscription = self._subscription, None
        await asyncio.wrap_future(subscription.close())

    async def close(self) -> None:
        with suppress(*_SDK_ERRORS):  # why it ended has been told by `lost`, or by what failed
            await asyncio.wait_for(asyncio.wrap_future(self._connection.close()), REPLY_SECONDS)

    def ended(self, reason: str) -> None:
        """The nucleus ended the connection, or the subscription that it is there for."""

        def tell() -> None:
            if not self.lost.done():
                self.lost.set_result(reason)

        self.enter(tell)

    def subscription_ended(self) -> None:
        if self._subscription is not None:  # else we did it
            self.ended("the nucleus ended the subscription")

    def enter(self, call: Callable[[], object]) -> None:
        """Have something called on the loop, unless that has gone already."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(call)

    @staticmethod
    def _call(operation: Any, request: Any) -> Any:
        operation.activate(request)
        return operation.get_response()

    @staticmethod
    async def _done(what: str, start: Callable[[], Any], seconds: float) -> None:
        try:
            await asyncio.wait_for(asyncio.wrap_future(start()), seconds)
        except TimeoutError as exc:
            raise ConnectionError(f"{what}: no reply within {seconds:.0f} s") from exc
        except _SDK_ERRORS as exc:
            # Lite's errors come without a message, hence the type's name
            raise ConnectionError(f"{what}: {type(exc).__name__} {exc}".rstrip()) from exc


class _Lifecycle(eventstreamrpc.LifecycleHandler):  # type: ignore[misc]  # the SDK is untyped
    """Tells a connection that it has ended."""

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection

    def on_disconnect(self, reason: Exception | None) -> None:
        self._connection.ended(f"the nucleus closed the connection: {reason}")


class _Messages(SubscribeToTopicStreamHandler):  # type: ignore[misc]  # the SDK is untyped
    """Hands a subscription's messages to the loop."""

    def __init__(self, connection: _Connection, received: Received) -> None:
        self._connection = connection
        self._received = received

    def on_stream_event(self, event: Any) -> None:
        if event.binary_message is not None:
            payload = event.binary_message.message or b""
        else:  # our clients send binary; who sends JSON gets an answer, too
            payload = json.dumps(event.json_message.message).encode()
        self._connection.enter(lambda: self._received(payload))

    def on_stream_error(self, error: Exception) -> bool:
        self._connection.ended(f"the subscription failed: {type(error).__name__} {error}")
        return True

    def on_stream_closed(self) -> None:
        self._connection.subscription_ended()
