"""One component's connection: the rules of the protocol, bytes in and bytes out.

    nothing but CONNECT, and only once       else PROTOCOL_ERROR, closed
    version 0.1.0 and a component's token    else CONNECT_ACK without acceptance, closed
    a new stream is the last one's id + 1    else PROTOCOL_ERROR, closed
    a stream that has ended stays ended      else InternalServerError on it
    a PING                                   closed: it aborts the real nucleus' JVM

All of this was observed: conformance java-ipc-raw-protocol, java-ping-frame-crash and the frames.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from enum import Enum, auto

from greenhouse.device.ipc.frames import (
    MAX_FRAME,
    BadFrame,
    Decoder,
    Flags,
    Frame,
    MessageType,
)
from greenhouse.device.ipc.operations import Operations, Refused, Unreadable, written
from greenhouse.device.ipc.topics import Subscription, Topics

log = logging.getLogger(__name__)

VERSION = "0.1.0"
# A CONNECT has some 200 bytes. Before it, a connection may hold no more than this.
MAX_CONNECT = 64 * 1024

_CONNECT_FIRST = (
    "A CONNECT message must be received, and the CONNECT_ACK must be sent in response, before any "
    "other message-types can be sent on this connection. In addition, only one CONNECT message is "
    "allowed on a connection."
)
_BAD_TYPE = "an invalid value for message-type field was received."
_BAD_STREAM = (
    "stream-id values must be monotonically incrementing. A new stream-id arrived that was "
    "incremented by more than 1."
)


class After(Enum):
    """What happens to the connection next."""

    OPEN = auto()
    CLOSE = auto()


class Connection:
    """The nucleus' end of one connection."""

    max_packet = MAX_FRAME
    last = Flags.TERMINATE_STREAM  # The flag of an answer that nothing follows.

    def __init__(
        self,
        *,
        operations: Operations,
        topics: Topics,
        component_of: Callable[[str], str | None],
        send: Callable[[bytes], None],
    ) -> None:
        self._operations, self._topics = operations, topics
        self._component_of, self._send = component_of, send
        self._decoder = Decoder(min(self.max_packet, MAX_CONNECT))
        self._component: str | None = None
        self._last_stream = 0
        self._streams: dict[int, Subscription] = {}

    @property
    def component(self) -> str:
        """The component at the other end, for a log line."""
        return self._component or "(not connected)"

    def received(self, data: bytes) -> After:
        """Answer what has arrived."""
        try:
            for frame in self._decoder.feed(data):
                if self._handle(frame) is After.CLOSE:
                    return After.CLOSE
        except BadFrame as error:
            log.warning("IPC of %s: %s; closed", self.component, error)
            return After.CLOSE
        return After.OPEN

    def closed(self) -> None:
        """The peer has gone. Its subscriptions end."""
        for stream in list(self._streams):
            self._end(stream)

    def _handle(self, frame: Frame) -> After:
        kind, stream = frame.number(":message-type"), frame.number(":stream-id")
        flags = Flags(frame.number(":message-flags"))
        if kind == MessageType.CONNECT and self._component is None:
            return self._connect(frame)
        if self._component is None or kind == MessageType.CONNECT:
            return self._break(_CONNECT_FIRST)
        if kind == MessageType.PING:
            log.warning("IPC of %s: a PING, which aborts the real nucleus; closed", self.component)
            return After.CLOSE
        if kind != MessageType.APPLICATION_MESSAGE or stream <= 0:
            return self._break(_BAD_TYPE)
        if flags & Flags.TERMINATE_STREAM:
            self._end(stream)
        elif stream > self._last_stream + 1:
            return self._break(_BAD_STREAM)
        elif stream == self._last_stream + 1:
            self._last_stream = stream
            self._request(frame, stream, self._component)
        elif stream not in self._streams:
            self._fail(stream)
        return After.OPEN

    def _connect(self, frame: Frame) -> After:
        token = asked_by(frame)
        known = None if token is None else self._component_of(token)
        accepted = known is not None and frame.text(":version") == VERSION
        flags = Flags.CONNECTION_ACCEPTED if accepted else Flags.NONE
        self._send(Frame.make(MessageType.CONNECT_ACK, flags=flags).encode())
        if not accepted:
            return After.CLOSE
        self._component = known
        self._decoder.limit = self.max_packet
        return After.OPEN

    def _request(self, frame: Frame, stream: int, component: str) -> None:
        operation = frame.text("operation") or ""
        if not self._operations.knows(operation):
            self._unsupported(stream, operation)
            return

        def deliver(event: bytes) -> None:
            self._application(stream, "SubscriptionResponseMessage", event)

        try:
            answer = self._operations.answer(
                operation, frame.payload, component=component, deliver=deliver
            )
        except Refused as refused:
            self._refuse(stream, refused)
            return
        except Unreadable as error:
            log.warning("IPC of %s: %s", component, error)
            self._fail(stream)
            return
        name = operation.partition("#")[2] + "Response"
        if answer.subscription:
            self._streams[stream] = answer.subscription
        flags = Flags.NONE if answer.subscription else self.last
        self._application(stream, name, written(answer.body), flags)
        if answer.then:
            answer.then()

    def _end(self, stream: int) -> None:
        subscription = self._streams.pop(stream, None)
        if subscription:
            self._topics.unsubscribe(subscription)

    def _application(
        self, stream: int, model: str, payload: bytes, flags: Flags = Flags.NONE
    ) -> None:
        frame = self._frame(
            MessageType.APPLICATION_MESSAGE,
            flags=flags,
            stream=stream,
            content=_content(model),
            payload=payload,
        )
        self._send(frame.encode())

    def _frame(
        self,
        kind: MessageType,
        *,
        flags: Flags,
        stream: int,
        content: Mapping[str, str],
        payload: bytes,
    ) -> Frame:
        """A frame with its headers in this nucleus' order."""
        return Frame.make(kind, flags=flags, stream=stream, content=content, payload=payload)

    def _unsupported(self, stream: int, operation: str) -> None:
        message = f'{{ "error": "Unsupported Operation", "message": "{operation}'
        body = f'{message} is an unsupported operation." }}'.encode()
        self._error(stream, {":content-type": "application/json"}, body)

    def _refuse(self, stream: int, refused: Refused) -> None:
        service, text = "aws.greengrass#GreengrassCoreIPC", str(refused)
        body = {"message": text, "_service": service, "_message": text}
        self._refuse_with(stream, refused.code, body)

    def _refuse_with(self, stream: int, code: str, body: Mapping[str, str]) -> None:
        self._error(stream, _content(code), written({**body, "_errorCode": code}))

    def _fail(self, stream: int) -> None:
        self._error(stream, {":content-type": "text/plain"}, b"InternalServerError")

    def _error(self, stream: int, content: dict[str, str], payload: bytes) -> None:
        frame = self._frame(
            MessageType.APPLICATION_ERROR,
            flags=Flags.TERMINATE_STREAM,
            stream=stream,
            content=content,
            payload=payload,
        )
        self._send(frame.encode())

    def _break(self, message: str) -> After:
        frame = Frame.make(
            MessageType.PROTOCOL_ERROR,
            content={":content-type": "application/json"},
            payload=f'{{ "message": "{message}" }}'.encode(),
        )
        self._send(frame.encode())
        return After.CLOSE


def asked_by(frame: Frame) -> str | None:
    """The token in a CONNECT message."""
    try:
        asked = json.loads(frame.payload)
    except ValueError:
        return None
    token = asked.get("authToken") if isinstance(asked, dict) else None
    return token if isinstance(token, str) else None


def _content(model: str) -> dict[str, str]:
    return {
        ":content-type": "application/json",
        "service-model-type": f"aws.greengrass#{model}",
    }
