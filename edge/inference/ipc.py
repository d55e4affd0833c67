"""Greengrass IPC with AWS's libraries. No other module uses them.

Nucleus Lite closes the socket when a message is too large, and so does a nucleus that restarts. The
subscription then ends. So a line connects and subscribes again, a bounded number of times in a row.
After a restart of the nucleus, a container may have a socket without a listener. Then only its exit
(69) lets the nucleus start it again.

awsiotsdk connects, but the streams are awscrt's. The SDK's classes for operations and shapes would
take a quarter of the service's time under load, and 2.5 MB (decision 15, docs/decisions/).

The library calls back on one thread of its own. Messages are handled on that thread, because a hop
to another and back costs a third of a round trip (0.83 instead of 0.62 ms, 2026-11-23). While the
thread is busy nothing is read, so long work goes to another thread. There is no asyncio here,
because importing it takes a sixth of the service's start.
"""

from __future__ import annotations

import base64
import importlib.util
import json
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import cache, partial
from queue import Empty, SimpleQueue
from typing import Any, Protocol

# The package's __init__ imports MQTT, which is unused here and takes a tenth of the start.
if "awsiot" not in sys.modules and (_spec := importlib.util.find_spec("awsiot")):
    sys.modules["awsiot"] = importlib.util.module_from_spec(_spec)

from awscrt.eventstream import Header
from awscrt.eventstream.rpc import ClientContinuationHandler, MessageFlag, MessageType
from awscrt.exceptions import AwsCrtError
from awscrt.io import (
    ClientBootstrap,
    DefaultHostResolver,
    EventLoopGroup,
    SocketDomain,
    SocketOptions,
)
from awsiot import eventstreamrpc

from . import log
from .protocol import MAX_REQUEST, BadRequest, not_json, parsed
from .settings import Nucleus, Unreachable

CONNECT_SECONDS = 10.0
REPLY_SECONDS = 10.0  # Lite blocks a publisher for 3 s when a subscriber doesn't read.
PAUSES = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2)  # Seconds between attempts in a row. Then the line is lost.
STEADY_SECONDS = 10.0  # After it, or a confirmed message, all attempts are allowed again.
CLOSE_SECONDS = 0.4
MAX_EVENT = 2 * MAX_REQUEST  # A request in base64, with room for the rest.
MAX_JSON_EVENT = MAX_REQUEST + 1024  # A request that is not in base64.

_SERVICE_MODEL = "aws.greengrass#"
_MODEL_HEADER = "service-model-type"
# All errors of failed calls. The libraries' own errors are RuntimeErrors.
_SDK_ERRORS = (RuntimeError, AwsCrtError, OSError, TimeoutError)

Received = Callable[[bytes], None]
Sent = Callable[[ConnectionError | None], None]  # It reports a message's outcome.


class Listener(Protocol):
    """Takes messages from a line's topic, on the SDK's thread."""

    def received(self, payload: bytes, /) -> None: ...
    def too_long(self, size: int, /) -> None:
        """A message has about so many bytes, and isn't read."""

    def unreadable(self, bad: BadRequest, /) -> None:
        """An event has no readable message."""


class _Stopped(Exception):
    """The line's user has asked for its end."""


class _Patience:
    """Waits for conditions. `stop` ends all waits, also from a signal handler."""

    def __init__(self) -> None:
        self._stopping = False
        self._news: SimpleQueue[None] = SimpleQueue()  # An Event isn't safe in a signal handler.

    def tell(self) -> None:
        """A condition may have changed."""
        self._news.put(None)

    def stop(self) -> None:
        self._stopping = True
        self.tell()

    def wait(self, seconds: float, until: Callable[[], bool]) -> bool:
        """Whether it becomes true in time. Raises _Stopped."""
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
    """A subscription that is renewed on each new connection, and publishing."""

    def __init__(self, nucleus: Nucleus, *, topic: str) -> None:
        self._nucleus = nucleus
        self._topic = topic
        self._patience = _Patience()
        self._lock = threading.RLock()  # For the fields below. `_use` posts while it holds this.
        self._connection: _Connection | None = None
        self._held: deque[tuple[str, bytes, Sent]] = deque()
        group = EventLoopGroup(num_threads=1)
        self._bootstrap = ClientBootstrap(group, DefaultHostResolver(group))

    def run(self, listener: Listener, opened: Callable[[], None]) -> None:
        """Listen until `stop`, and leave the line open. Raises Unreachable if it is lost.

        `opened` is called after each subscription.
        """
        heard = partial(_heard, listener)
        failures = 0
        with suppress(_Stopped):
            while True:
                connection = _Connection(self._nucleus, self._bootstrap, self._patience)
                try:
                    connection.open(self._topic, heard)
                    since = time.monotonic()
                    self._use(connection)
                    opened()
                    reason = connection.over()
                    if connection.was_of_use or time.monotonic() - since >= STEADY_SECONDS:
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
        """Make `run` return. A signal handler may call it."""
        self._patience.stop()

    def unsubscribe(self, seconds: float) -> None:
        """After `stop`, end the subscription only; posting goes on. Raises TimeoutError."""
        connection = self._connection  # `run` may remove it at any moment.
        if connection:
            connection.unsubscribe(seconds)

    def post(self, topic: str, payload: bytes, sent: Sent) -> None:
        """Send a message to the nucleus, or keep it until there is a connection. On any thread.

        `sent` is called when the nucleus has confirmed it, or when it was lost with the connection.
        The order of posts is kept. The caller limits how much it posts at once.
        """
        with self._lock:
            if self._connection and self._connection.post(topic, payload, sent):
                return
            self._connection = None  # `over` will report it.
            self._held.append((topic, payload, sent))

    def close(self) -> None:
        """After `stop`: unconfirmed posts are lost, and `sent` is called for each."""
        connection = self._connection
        if connection:
            connection.close()
        with self._lock:
            held, self._held = self._held, deque()
        for *_, sent in held:
            sent(ConnectionError("the line was closed before there was a connection"))

    def update_state(self, state: str, sent: Sent) -> None:
        """Report this component's state to the nucleus: RUNNING or ERRORED. Not kept for later."""
        connection = self._connection
        if connection is None or not connection.update_state(state, sent):
            sent(ConnectionError("there is no connection to the nucleus"))

    def _use(self, connection: _Connection | None) -> None:
        with self._lock:
            self._connection = connection
            held, self._held = self._held, deque()
            for message in held:  # They are in order, before new posts.
                self.post(*message)


class _Connection:
    """One connection with its subscription."""

    def __init__(self, nucleus: Nucleus, bootstrap: ClientBootstrap, patience: _Patience) -> None:
        self.was_of_use = False  # The nucleus has confirmed something.
        self._patience = patience
        self._reason: str | None = None  # The reason why it ended.
        options = SocketOptions()
        options.domain = SocketDomain.Local
        self._connection = eventstreamrpc.Connection(
            host_name=nucleus.socket,
            port=0,  # A local socket has no port.
            bootstrap=bootstrap,
            socket_options=options,
            connect_message_amender=eventstreamrpc.MessageAmendment.create_static_authtoken_amender(
                nucleus.token
            ),
        )
        self._subscription: _Stream | None = None
        self._owed: dict[_Stream, float] = {}  # Streams that wait for a reply, and since when.

    def open(self, topic: str, heard: Received) -> None:
        """Connect and subscribe. Raises ConnectionError."""
        self._done(
            "connecting", lambda: self._connection.connect(_Lifecycle(self)), CONNECT_SECONDS
        )
        what = f"subscribing to {topic!r}"
        subscribed: Future[None] = Future()
        subscription = _Stream(
            what, partial(settle, subscribed), heard=heard, ended=self._subscription_ended
        )

        def subscribe() -> Future[None]:
            subscription.start(self._connection, "SubscribeToTopic", {"topic": topic})
            return subscribed

        self._subscription = subscription
        self._done(what, subscribe, REPLY_SECONDS)

    def over(self) -> str:
        """Wait for the end and return its reason. A reply that is long overdue is also an end."""
        while not self._patience.wait(REPLY_SECONDS / 2, lambda: self._reason is not None):
            long_ago = time.monotonic() - REPLY_SECONDS
            if any(since < long_ago for since in list(self._owed.values())):
                return f"no reply within {REPLY_SECONDS:.0f} s"
        return self._reason or ""

    def post(self, topic: str, payload: bytes, sent: Sent) -> bool:
        """Write a message. False if the connection has ended and nothing was written."""
        message = {"binaryMessage": {"message": base64.b64encode(payload).decode()}}
        request = {"topic": topic, "publishMessage": message}
        return self._tell(f"publishing on {topic!r}", "PublishToTopic", request, sent)

    def update_state(self, state: str, sent: Sent) -> bool:
        """Write the component's state. False if nothing was written."""
        return self._tell(f"the state {state}", "UpdateState", {"state": state}, sent)

    def unsubscribe(self, seconds: float) -> None:
        subscription, self._subscription = self._subscription, None
        if subscription and (closed := subscription.close()):
            closed.result(seconds)

    def close(self) -> None:
        with suppress(*_SDK_ERRORS):  # `over` or the failed call has reported the reason.
            self._connection.close().result(CLOSE_SECONDS)

    def ended(self, reason: str) -> None:
        """The nucleus ended the connection or its subscription."""
        self._reason = self._reason or reason
        self._patience.tell()

    def _subscription_ended(self, reason: str) -> None:
        if self._subscription is not None:  # Otherwise we ended it.
            self.ended(reason)

    def _tell(self, what: str, operation: str, request: dict[str, Any], sent: Sent) -> bool:
        """Whether it was written. `sent` is called with the nucleus' reply."""

        def replied(error: ConnectionError | None) -> None:
            self._owed.pop(stream, None)
            self.was_of_use |= error is None
            sent(error)

        stream = _Stream(what, replied)
        self._owed[stream] = time.monotonic()
        try:
            stream.start(self._connection, operation, request)
        except _SDK_ERRORS as exc:
            self._owed.pop(stream)
            self.ended(str(_failed(what, exc)))
            return False
        return True

    def _done(self, what: str, start: Callable[[], Future[None]], seconds: float) -> None:
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
            raise error if isinstance(error, ConnectionError) else _failed(what, error)


class _Stream(ClientContinuationHandler):  # type: ignore[misc]  # the libraries are untyped
    """One operation: its request, its reply, and a subscription's later messages."""

    def __init__(
        self,
        what: str,
        replied: Sent,
        *,
        heard: Received | None = None,
        ended: Callable[[str], None] | None = None,
    ) -> None:
        self._what = what
        self._replied: Sent | None = replied
        self._heard = heard
        self._ended = ended
        self._continuation: Any = None

    def start(
        self, connection: eventstreamrpc.Connection, operation: str, request: dict[str, Any]
    ) -> None:
        """Write the request. Raises one of _SDK_ERRORS."""
        # The SDK's own operations call this. The version is pinned.
        self._continuation = connection._new_stream(self)
        self._continuation.activate(
            operation=_SERVICE_MODEL + operation,
            headers=_headers(operation),
            payload=json.dumps(request).encode(),
            message_type=MessageType.APPLICATION_MESSAGE,
        )

    def close(self) -> Future[None] | None:
        """End the stream. Returns a future of its end; None if it has already ended."""
        continuation = self._continuation
        if continuation is None:
            return None
        closed: Future[None] = continuation.closed_future
        with suppress(*_SDK_ERRORS):  # It is just ending.
            continuation.send_message(
                message_type=MessageType.APPLICATION_MESSAGE, flags=MessageFlag.TERMINATE_STREAM
            )
        return closed

    def on_continuation_message(
        self,
        headers: Sequence[Header],
        payload: bytes,
        message_type: MessageType,
        flags: int,
        **_: Any,
    ) -> None:
        fine = message_type is MessageType.APPLICATION_MESSAGE
        replied, self._replied = self._replied, None
        if replied:
            replied(None if fine else self._failed(_error(headers, payload)))
            # Java ends the stream with its reply, but Lite leaves it open.
            if self._heard is None and not flags & MessageFlag.TERMINATE_STREAM:
                self.close()
        elif self._heard and fine:
            self._heard(payload)
        elif self._ended:
            self._ended(f"the subscription failed: {_error(headers, payload)}")

    def on_continuation_closed(self, **_: Any) -> None:
        self._continuation = None  # Otherwise both would keep each other alive.
        replied, self._replied = self._replied, None
        if replied:
            replied(self._failed("the stream was closed"))
        if self._ended:
            self._ended("the nucleus ended the subscription")

    def _failed(self, reason: str) -> ConnectionError:
        return ConnectionError(f"{self._what}: {reason}")


@cache
def _headers(operation: str) -> list[Header]:
    return [
        Header.from_string(":content-type", "application/json"),
        Header.from_string(_MODEL_HEADER, f"{_SERVICE_MODEL}{operation}Request"),
    ]


def _heard(listener: Listener, event: bytes) -> None:
    size = len(event)
    if size > MAX_EVENT:
        listener.too_long(size * 3 // 4)  # It is nearly all base64.
    elif size > MAX_JSON_EVENT and b'"jsonMessage"' in event:  # Base64 has no quotes.
        listener.too_long(size)
    else:
        try:
            message = _message(parsed(event, "the message"))
        except BadRequest as bad:  # It may be too deep, or have an integer of thousands of digits.
            listener.unreadable(bad)
        except (ValueError, LookupError, TypeError, AttributeError) as exc:
            # It is no base64, or no event of the service model.
            listener.unreadable(not_json("the message", exc))
        else:
            listener.received(message)


def _message(event: Any) -> bytes:
    """The published bytes. A JSON message is accepted as well.

    JSON isn't made longer, so a message that fits into MAX_REQUEST still does.
    """
    if "binaryMessage" in event:
        return base64.b64decode(event["binaryMessage"].get("message", ""))
    message = event["jsonMessage"]["message"]
    return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()


def _error(headers: Sequence[Header], payload: bytes) -> str:
    """The nucleus' error: a name of the service model with a message, or plain text."""
    names = [header.value for header in headers if header.name == _MODEL_HEADER]
    text = payload.decode(errors="replace")
    with suppress(ValueError, LookupError, TypeError):
        text = json.loads(text)["_message"]
    return " ".join(filter(None, [*(name.removeprefix(_SERVICE_MODEL) for name in names), text]))


def settle(outcome: Future[None], error: ConnectionError | None) -> None:
    """Set a future to a message's outcome."""
    if error:
        outcome.set_exception(error)
    else:
        outcome.set_result(None)


def _failed(what: str, error: BaseException) -> ConnectionError:
    # Some errors have no message, hence the type's name.
    return ConnectionError(f"{what}: {type(error).__name__} {error}".rstrip())


class _Lifecycle(eventstreamrpc.LifecycleHandler):  # type: ignore[misc]  # the SDK is untyped
    """Tells a connection that it has ended."""

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection

    def on_disconnect(self, reason: Exception | None) -> None:
        self._connection.ended(f"the nucleus closed the connection: {reason}")
