"""Greengrass IPC by awsiotsdk, and the only place that knows it.

Nucleus Lite closes the socket instead of answering a message that is too large, and a nucleus that
restarts closes it as well; the subscription goes with it. So a line connects and subscribes again,
a bounded number of times in a row: after a restart of the nucleus a container may hold a socket
that nobody will ever listen on, and only leaving (exit 69) lets the nucleus start it anew.

The SDK calls back on one thread of its own. Messages are handed on right there, and may be answered
right there, since a hop to another thread and back costs a third of a round trip (0.83 ms instead
of the echo's 0.62, 2026-11-23). But while its thread is busy the SDK reads nothing: whoever takes
long goes elsewhere. No asyncio: importing it is a sixth of the service's start.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any

# the package's own __init__ imports MQTT, which nobody here speaks: a tenth of the start
if "awsiot" not in sys.modules and (_spec := importlib.util.find_spec("awsiot")):
    sys.modules["awsiot"] = importlib.util.module_from_spec(_spec)

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
    UpdateStateRequest,
)

from . import log
from .settings import Nucleus, Unreachable

CONNECT_SECONDS = 10.0
REPLY_SECONDS = 10.0  # Lite holds a publisher up for 3 s when a subscriber doesn't read
PAUSES = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2)  # s between attempts in a row; then the line is lost
STEADY_SECONDS = 10.0  # a connection that held that long has earned all its attempts again
CLOSE_SECONDS = 0.4
REPLIED = 64  # published messages whose streams may still be closed by the nucleus itself

# whatever the SDK raises for a call that went wrong; an application's errors are RuntimeErrors
_SDK_ERRORS = (RuntimeError, AwsCrtError, OSError, TimeoutError)

Received = Callable[[bytes], None]
Sent = Callable[[ConnectionError | None], None]  # what became of a message


class _Stopped(Exception):
    """The line's user has asked for its end."""


class _Patience:
    """Waits that news cut short and `stop` ends for good, also from a signal handler."""

    def __init__(self) -> None:
        self._stopping = False
        self._news: SimpleQueue[None] = SimpleQueue()  # unlike an Event, a handler may enter it

    def tell(self) -> None:
        """Something that somebody may wait for has happened."""
        self._news.put(None)

    def stop(self) -> None:
        self._stopping = True
        self.tell()

    def wait(self, seconds: float, until: Callable[[], bool]) -> bool:
        """Whether it has become true in time; raises _Stopped."""
        deadline = time.monotonic() + seconds
        while not self._stopping and not until():
            try:
                self._news.get(timeout=max(0.0, deadline - time.monotonic()))
            except Empty:
                return until()
        if self._stopping:
            raise _Stopped
        return True


class Line:
    """One subscription that outlives connections, and publishing beside it.

    `received` is called on the SDK's thread, and so is what `post` is given.
    """

    def __init__(
        self, nucleus: Nucleus, *, topic: str, received: Received, opened: Callable[[], None]
    ) -> None:
        self._nucleus = nucleus
        self._topic = topic
        self._received = received
        self._opened = opened
        self._patience = _Patience()
        self._lock = threading.RLock()  # of what follows; a post that fails may lead to the next
        self._connection: _Connection | None = None
        self._held: deque[tuple[str, bytes, Sent]] = deque()
        group = EventLoopGroup(num_threads=1)
        self._bootstrap = ClientBootstrap(group, DefaultHostResolver(group))

    def run(self) -> None:
        """Keep the line open until `stop`, and leave it so; raises Unreachable when it is lost."""
        failures = 0
        with suppress(_Stopped):
            while True:
                connection = _Connection(self._nucleus, self._bootstrap, self._patience)
                try:
                    connection.open(self._topic, self._received)
                    opened = time.monotonic()
                    self._use(connection)
                    self._opened()
                    reason = connection.over()
                    if time.monotonic() - opened >= STEADY_SECONDS:
                        failures = 0
                except ConnectionError as exc:
                    reason = str(exc)
                self._use(None)
                connection.close()
                if failures == len(PAUSES):
                    raise Unreachable(
                        f"no Greengrass IPC at {self._nucleus.socket} for {self._topic!r} after"
                        f" {failures + 1} attempts: {reason}"
                    )
                log.event("disconnected", reason=reason, retry_seconds=PAUSES[failures])
                self._patience.wait(PAUSES[failures], lambda: False)
                failures += 1

    def stop(self) -> None:
        """Have `run` return; may be called by a signal handler."""
        self._patience.stop()

    def unsubscribe(self, seconds: float) -> None:
        """After `stop`: hear nothing any more; posting goes on. Raises TimeoutError."""
        if self._connection:
            self._connection.unsubscribe(seconds)

    def post(self, topic: str, payload: bytes, sent: Sent) -> None:
        """Hand a message to the nucleus, or keep it until there is a connection; on any thread.

        `sent` learns that the nucleus has it, or that it went down with the connection. What is
        posted in order is written in order. The caller bounds how much it posts at once.
        """
        with self._lock:
            if self._connection and self._connection.post(topic, payload, sent):
                return
            self._connection = None  # `over` will tell
            self._held.append((topic, payload, sent))

    def close(self) -> None:
        """After `stop`: what has been posted and not confirmed is lost, as `sent` learns."""
        if self._connection:
            self._connection.close()
        with self._lock:
            held, self._held = self._held, deque()
        for *_, sent in held:
            sent(ConnectionError("the line was closed before there was a connection"))

    def update_state(self, state: str, sent: Sent) -> None:
        """Tell the nucleus how this component is: RUNNING or ERRORED. Not kept for later."""
        connection = self._connection
        if connection is None or not connection.update_state(state, sent):
            sent(ConnectionError("there is no connection to the nucleus"))

    def _use(self, connection: _Connection | None) -> None:
        with self._lock:
            self._connection = connection
            held, self._held = self._held, deque()
            for message in held:  # in order, before whatever is posted now
                self.post(*message)


class _Connection:
    """One connection with its subscription."""

    def __init__(self, nucleus: Nucleus, bootstrap: ClientBootstrap, patience: _Patience) -> None:
        self._patience = patience
        self._reason: str | None = None  # why it is over
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
        self._posted: deque[tuple[float, Any]] = deque()  # operations, and since when

    def open(self, topic: str, received: Received) -> None:
        """Connect and subscribe; raises ConnectionError."""
        self._done(
            "connecting", lambda: self._connection.connect(_Lifecycle(self)), CONNECT_SECONDS
        )
        self._subscription = self._client.new_subscribe_to_topic(_Messages(self, received))
        request = SubscribeToTopicRequest(topic=topic)
        self._done(
            f"subscribing to {topic!r}", lambda: _start(self._subscription, request), REPLY_SECONDS
        )

    def over(self) -> str:
        """Wait for the end, and say what it was; a nucleus that owes a reply for long is one."""
        while not self._patience.wait(REPLY_SECONDS / 2, lambda: self._reason is not None):
            long_ago = time.monotonic() - REPLY_SECONDS
            if any(
                since < long_ago and not operation.get_response().done()
                for since, operation in list(self._posted)
            ):
                return f"no reply to a publication within {REPLY_SECONDS:.0f} s"
        return self._reason or ""

    def post(self, topic: str, payload: bytes, sent: Sent) -> bool:
        """Write a message; False when nothing was written, as the connection is over."""
        request = PublishToTopicRequest(
            topic=topic,
            publish_message=PublishMessage(binary_message=BinaryMessage(message=payload)),
        )
        operation = self._told(
            f"publishing on {topic!r}", self._client.new_publish_to_topic, request, sent
        )
        if operation is None:
            return False
        self._posted.append((time.monotonic(), operation))
        # Java ends the stream with its answer, Lite leaves it open for us. Closing one that Java
        # has just closed would be an error, hence the distance.
        while len(self._posted) > REPLIED and self._posted[0][1].get_response().done():
            self._posted.popleft()[1].close()
        return True

    def update_state(self, state: str, sent: Sent) -> bool:
        """Write the component's state; False when nothing was written."""
        request = UpdateStateRequest(state=state)
        operation = self._told(f"the state {state}", self._client.new_update_state, request, sent)
        return operation is not None

    def unsubscribe(self, seconds: float) -> None:
        subscription, self._subscription = self._subscription, None
        subscription.close().result(seconds)

    def close(self) -> None:
        with suppress(*_SDK_ERRORS):  # why it ended has been told by `over`, or by what failed
            self._connection.close().result(CLOSE_SECONDS)
        self._posted.clear()  # a third of a megabyte, which a cycle would keep until it is found

    def ended(self, reason: str) -> None:
        """The nucleus ended the connection, or the subscription that it is there for."""
        self._reason = self._reason or reason
        self._patience.tell()

    def subscription_ended(self) -> None:
        if self._subscription is not None:  # else we did it
            self.ended("the nucleus ended the subscription")

    def _told(self, what: str, new: Callable[[], Any], request: Any, sent: Sent) -> Any | None:
        """The operation that tells something, or None; `sent` learns of the nucleus' reply."""

        def replied(reply: Future[Any]) -> None:
            error = reply.exception()
            sent(_failed(what, error) if error else None)

        try:
            operation = new()
            reply = _start(operation, request)
        except _SDK_ERRORS as exc:
            self.ended(str(_failed(what, exc)))
            return None
        reply.add_done_callback(replied)
        return operation

    def _done(self, what: str, start: Callable[[], Any], seconds: float) -> None:
        try:
            outcome = start()
            outcome.add_done_callback(lambda _: self._patience.tell())
            in_time = self._patience.wait(seconds, outcome.done)
            error = outcome.exception() if in_time else None
        except _SDK_ERRORS as exc:
            in_time, error = True, exc
        if not in_time:
            raise ConnectionError(f"{what}: no reply within {seconds:.0f} s")
        if error:
            raise _failed(what, error) from error


def _start(operation: Any, request: Any) -> Any:
    """The future of its reply."""
    operation.activate(request)
    return operation.get_response()


def _failed(what: str, error: BaseException) -> ConnectionError:
    # Lite's errors come without a message, hence the type's name
    return ConnectionError(f"{what}: {type(error).__name__} {error}".rstrip())


class _Lifecycle(eventstreamrpc.LifecycleHandler):  # type: ignore[misc]  # the SDK is untyped
    """Tells a connection that it has ended."""

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection

    def on_disconnect(self, reason: Exception | None) -> None:
        self._connection.ended(f"the nucleus closed the connection: {reason}")


class _Messages(SubscribeToTopicStreamHandler):  # type: ignore[misc]  # the SDK is untyped
    """Hands on a subscription's messages."""

    def __init__(self, connection: _Connection, received: Received) -> None:
        self._connection = connection
        self._received = received

    def on_stream_event(self, event: Any) -> None:
        if event.binary_message is not None:
            payload = event.binary_message.message or b""
        else:  # our clients send binary; who sends JSON gets an answer, too
            payload = json.dumps(event.json_message.message).encode()
        self._received(payload)

    def on_stream_error(self, error: Exception) -> bool:
        self._connection.ended(f"the subscription failed: {type(error).__name__} {error}")
        return True

    def on_stream_closed(self) -> None:
        self._connection.subscription_ended()
