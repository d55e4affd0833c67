"""Greengrass IPC by AWS's libraries, and the only place that knows them.

Nucleus Lite closes the socket instead of answering a message that is too large, and a nucleus that
restarts closes it as well; the subscription goes with it. So a line connects and subscribes again,
a bounded number of times in a row: after a restart of the nucleus a container may hold a socket
that nobody will ever listen on, and only leaving (exit 69) lets the nucleus start it anew.

Connecting is awsiotsdk's, streams are awscrt's: the SDK's classes for operations and shapes are a
quarter of what the service costs under load, and 2.5 MB of it (docs/decisions/0015).

The library calls back on one thread of its own. Messages are handled on that thread, because a hop
to another one and back costs a third of a round trip (0.83 ms instead of the echo's 0.62,
2026-11-23). While the thread is busy nothing is read, so long work goes to another thread. There is
no asyncio here, because importing it is a sixth of the service's start.
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

# the package's own __init__ imports MQTT, which nobody here speaks: a tenth of the start
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
REPLY_SECONDS = 10.0  # Lite holds a publisher up for 3 s when a subscriber doesn't read
PAUSES = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2)  # s between attempts in a row; then the line is lost
STEADY_SECONDS = 10.0  # a connection that held that long, or was of use, earns all attempts again
CLOSE_SECONDS = 0.4
MAX_EVENT = 2 * MAX_REQUEST  # a request in base64, and room for what is around it
MAX_JSON_EVENT = MAX_REQUEST + 1024  # one that stands in the event as it is

_SERVICE_MODEL = "aws.greengrass#"
_MODEL_HEADER = "service-model-type"
# whatever the libraries raise for a call that went wrong; their own errors are RuntimeErrors
_SDK_ERRORS = (RuntimeError, AwsCrtError, OSError, TimeoutError)

Received = Callable[[bytes], None]
Sent = Callable[[ConnectionError | None], None]  # what became of a message


class Listener(Protocol):
    """Who hears what is said on a line's topic, on the SDK's thread."""

    def received(self, payload: bytes, /) -> None: ...
    def too_long(self, size: int, /) -> None:
        """A message has about so many bytes, and nobody has read it."""

    def unreadable(self, bad: BadRequest, /) -> None:
        """An event came that no message could be got out of."""


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
    """One subscription that outlives connections, and publishing beside it."""

    def __init__(self, nucleus: Nucleus, *, topic: str) -> None:
        self._nucleus = nucleus
        self._topic = topic
        self._patience = _Patience()
        self._lock = threading.RLock()  # of what follows; a post that fails may lead to the next
        self._connection: _Connection | None = None
        self._held: deque[tuple[str, bytes, Sent]] = deque()
        group = EventLoopGroup(num_threads=1)
        self._bootstrap = ClientBootstrap(group, DefaultHostResolver(group))

    def run(self, listener: Listener, opened: Callable[[], None]) -> None:
        """Listen until `stop`, and leave the line open then; raises Unreachable when it is lost.

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
        """Have `run` return; may be called by a signal handler."""
        self._patience.stop()

    def unsubscribe(self, seconds: float) -> None:
        """After `stop`: hear nothing any more; posting goes on. Raises TimeoutError."""
        connection = self._connection  # which `run` may take away at any moment
        if connection:
            connection.unsubscribe(seconds)

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
        connection = self._connection
        if connection:
            connection.close()
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
        self.was_of_use = False  # the nucleus has confirmed something that was told
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
        self._subscription: _Stream | None = None
        self._owed: dict[_Stream, float] = {}  # what waits for its reply, and since when

    def open(self, topic: str, heard: Received) -> None:
        """Connect and subscribe; raises ConnectionError."""
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
        """Wait for the end, and say what it was; a nucleus that owes a reply for long is one."""
        while not self._patience.wait(REPLY_SECONDS / 2, lambda: self._reason is not None):
            long_ago = time.monotonic() - REPLY_SECONDS
            if any(since < long_ago for since in list(self._owed.values())):
                return f"no reply to a publication within {REPLY_SECONDS:.0f} s"
        return self._reason or ""

    def post(self, topic: str, payload: bytes, sent: Sent) -> bool:
        """Write a message; False when nothing was written, as the connection is over."""
        message = {"binaryMessage": {"message": base64.b64encode(payload).decode()}}
        request = {"topic": topic, "publishMessage": message}
        return self._tell(f"publishing on {topic!r}", "PublishToTopic", request, sent)

    def update_state(self, state: str, sent: Sent) -> bool:
        """Write the component's state; False when nothing was written."""
        return self._tell(f"the state {state}", "UpdateState", {"state": state}, sent)

    def unsubscribe(self, seconds: float) -> None:
        subscription, self._subscription = self._subscription, None
        if subscription and (closed := subscription.close()):
            closed.result(seconds)

    def close(self) -> None:
        with suppress(*_SDK_ERRORS):  # why it ended has been told by `over`, or by what failed
            self._connection.close().result(CLOSE_SECONDS)

    def ended(self, reason: str) -> None:
        """The nucleus ended the connection, or the subscription that it is there for."""
        self._reason = self._reason or reason
        self._patience.tell()

    def _subscription_ended(self, reason: str) -> None:
        if self._subscription is not None:  # else we did it
            self.ended(reason)

    def _tell(self, what: str, operation: str, request: dict[str, Any], sent: Sent) -> bool:
        """Whether it was written; `sent` learns of the nucleus' reply."""

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
    """One operation: its request, its reply, and of a subscription what comes after that."""

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
        """Write the request; raises one of _SDK_ERRORS."""
        # what the SDK's own operations call; the version is pinned
        self._continuation = connection._new_stream(self)
        self._continuation.activate(
            operation=_SERVICE_MODEL + operation,
            headers=_headers(operation),
            payload=json.dumps(request).encode(),
            message_type=MessageType.APPLICATION_MESSAGE,
        )

    def close(self) -> Future[None] | None:
        """End the stream: done once it has ended, None where it has ended already."""
        continuation = self._continuation
        if continuation is None:
            return None
        closed: Future[None] = continuation.closed_future
        with suppress(*_SDK_ERRORS):  # it ends at this moment
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
            # Java ends the stream with its answer, Lite leaves it open for us
            if self._heard is None and not flags & MessageFlag.TERMINATE_STREAM:
                self.close()
        elif self._heard and fine:
            self._heard(payload)
        elif self._ended:
            self._ended(f"the subscription failed: {_error(headers, payload)}")

    def on_continuation_closed(self, **_: Any) -> None:
        self._continuation = None  # which would keep us, and we it
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
        listener.too_long(size * 3 // 4)  # nearly all of it is base64
    elif size > MAX_JSON_EVENT and b'"jsonMessage"' in event:  # base64 has no quotes
        listener.too_long(size)
    else:
        try:
            message = _message(parsed(event, "the message"))
        except BadRequest as bad:  # too deep, an integer of thousands of digits, and the like
            listener.unreadable(bad)
        except (ValueError, LookupError, TypeError, AttributeError) as exc:
            # no base64, or no event of the service model
            listener.unreadable(not_json("the message", exc))
        else:
            listener.received(message)


def _message(event: Any) -> bytes:
    """What was published, as the bytes it was; who published JSON is understood, too.

    JSON is made no longer than it was: what fits into MAX_REQUEST goes on fitting.
    """
    if "binaryMessage" in event:
        return base64.b64decode(event["binaryMessage"].get("message", ""))
    message = event["jsonMessage"]["message"]
    return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()


def _error(headers: Sequence[Header], payload: bytes) -> str:
    """The nucleus' words: a name of the service model with a message, or plain text."""
    names = [header.value for header in headers if header.name == _MODEL_HEADER]
    text = payload.decode(errors="replace")
    with suppress(ValueError, LookupError, TypeError):
        text = json.loads(text)["_message"]
    return " ".join(filter(None, [*(name.removeprefix(_SERVICE_MODEL) for name in names), text]))


def settle(outcome: Future[None], error: ConnectionError | None) -> None:
    """Make a future of what became of a message."""
    if error:
        outcome.set_exception(error)
    else:
        outcome.set_result(None)


def _failed(what: str, error: BaseException) -> ConnectionError:
    # some come without a message, hence the type's name
    return ConnectionError(f"{what}: {type(error).__name__} {error}".rstrip())


class _Lifecycle(eventstreamrpc.LifecycleHandler):  # type: ignore[misc]  # the SDK is untyped
    """Tells a connection that it has ended."""

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection

    def on_disconnect(self, reason: Exception | None) -> None:
        self._connection.ended(f"the nucleus closed the connection: {reason}")
