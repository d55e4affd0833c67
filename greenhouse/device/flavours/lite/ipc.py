"""Nucleus Lite's side of the wire, where it differs from the Java nucleus (conformance lite-ipc-*).

    a packet of more than 10,000 bytes       closed, with every subscription on the connection
    a breach of the protocol                 closed without an answer; no PROTOCOL_ERROR
    a bad token or version                   closed without an acknowledgement
    any other error                          an error on the stream, its text in `_message` only
    stream ids                               any, in any order
    publishing to `+`, `#`, `*`              allowed: they are characters there
    a component's own messages               are delivered, even by wildcard subscriptions
    more than 50 connections                 reset

JSON numbers don't change, but they are limited to 64 bits. A value has at most 200 values inside it
and 13 levels. The policies of one service are read into 4,096 bytes. One thing is not modelled:
here a subscriber that doesn't read blocks nobody, while real publishers time out after 3 s.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from greenhouse.device.ipc.authorization import PUBSUB, allows
from greenhouse.device.ipc.connection import VERSION, After, Connection, asked_by
from greenhouse.device.ipc.frames import BadFrame, Flags, Frame, MessageType
from greenhouse.device.ipc.operations import (
    SERVICE,
    Answer,
    Host,
    Operations,
    Refused,
    Unreadable,
)
from greenhouse.device.ipc.topics import Subscription, Topics
from recipes.rules.rights import MAX_POLICY_BYTES, bytes_on_lite

MAX_PACKET = 10_000  # GGL_IPC_MAX_MSG_LEN: headers and payload.
MAX_CONNECTIONS = 50
MAX_TOPIC = 256  # Bytes: GGL_PUBSUB_MAX_TOPIC_LENGTH.
MAX_VALUES, MAX_LEVELS = 200, 13
_INT64 = range(-(2**63), 2**63)

_VARIABLE = re.compile(r"(?<!\$)\{([^}]*)\}")
_INVALID = Refused("ServiceError", "Received invalid parameters.")
_UNAUTHORIZED = Refused("UnauthorizedError", "IPC Operation not authorized.")
_NEEDS_RIGHTS = ("PublishToIoTCore", "SubscribeToIoTCore")
_NO_TOKENS = "Component does not have access to token verification IPC command."


class LiteOperations(Operations):
    """The operations that Lite has. Every other operation is a ServiceError."""

    def __init__(self, host: Host, topics: Topics, *, thing: str) -> None:
        super().__init__(host, topics)
        self._thing = thing

    def answer(
        self, operation: str, payload: bytes, *, component: str, deliver: Callable[[bytes], None]
    ) -> Answer:
        name = operation.removeprefix(SERVICE)
        if name in _NEEDS_RIGHTS:
            raise _UNAUTHORIZED
        if name == "ValidateAuthorizationToken":
            raise Refused("UnauthorizedError", _NO_TOKENS)
        try:
            request = json.loads(payload)
        except ValueError as error:
            raise Unreadable(f"{operation}: {error}") from error
        if name not in self._handlers or not isinstance(request, dict):
            raise Unreadable(f"{operation}: {type(request).__name__}")
        return self._handlers[name](component, request, deliver)

    def _authorize(self, component: str, operation: str, topic: str) -> None:
        configuration = self._host.configuration(component) or {}
        policies = (configuration.get("accessControl") or {}).get(PUBSUB)
        fits = bytes_on_lite(policies) <= MAX_POLICY_BYTES
        control = {PUBSUB: self._with_names(policies)}
        named = SERVICE + operation
        if (
            not topic
            or not fits
            or not allows(control, service=PUBSUB, operation=named, resource=topic)
        ):
            raise _UNAUTHORIZED

    def _with_names(self, value: Any) -> Any:
        """Policies with the thing's name filled in. greenhouse knows no other variable there."""
        if isinstance(value, dict):
            return {key: self._with_names(member) for key, member in value.items()}
        if isinstance(value, list):
            return [self._with_names(member) for member in value]
        if isinstance(value, str):
            return _VARIABLE.sub(
                lambda found: self._thing if found[1] == "iot:thingName" else found[0], value
            )
        return value

    def _subscribe(
        self, component: str, request: dict[str, Any], deliver: Callable[[bytes], None]
    ) -> Answer:
        topic = request.get("topic")
        if not isinstance(topic, str):
            raise _INVALID
        self._authorize(component, "SubscribeToTopic", topic)
        if len(topic.encode()) > MAX_TOPIC:
            raise Refused("ServiceError", "Failed to bind subscription.")
        subscription = Subscription(component, topic, from_others_only=False, deliver=deliver)
        return Answer(
            {}, then=lambda: self._topics.subscribe(subscription), subscription=subscription
        )

    def _publish(
        self, component: str, request: dict[str, Any], _deliver: Callable[[bytes], None]
    ) -> Answer:
        topic, message = request.get("topic"), request.get("publishMessage")
        if not isinstance(topic, str) or not isinstance(message, dict):
            raise _INVALID
        given = [kind for kind in ("jsonMessage", "binaryMessage") if message.get(kind)]
        if len(given) != 1 or not isinstance(body := message[given[0]], dict):
            raise _INVALID
        content = body.get("message")
        if content is None or (given[0] == "binaryMessage" and not isinstance(content, str)):
            raise _INVALID
        self._authorize(component, "PublishToTopic", topic)
        values, levels = _size(content)
        long = len(topic.encode()) > MAX_TOPIC
        if long or values > MAX_VALUES - len(request) or levels > MAX_LEVELS:
            raise Refused("ServiceError", "Failed to publish the message.")
        event = encoded({given[0]: {"message": content, "context": {"topic": topic}}}).encode()
        return Answer({}, then=lambda: self._topics.publish(topic, event, sender=component))

    def _get_configuration(
        self, component: str, request: dict[str, Any], deliver: Callable[[bytes], None]
    ) -> Answer:
        try:
            return super()._get_configuration(component, request, deliver)
        except Refused as refused:
            raise Refused(refused.code, f"{refused}.") from refused

    def _update_configuration(
        self, component: str, request: dict[str, Any], _deliver: Callable[[bytes], None]
    ) -> Answer:
        values, path = request.get("valueToMerge"), request.get("keyPath") or []
        named = isinstance(path, list) and all(isinstance(step, str) for step in path)
        if not isinstance(values, dict) or not named:
            raise _INVALID
        if "accessControl" in (path[:1] or values):
            raise Refused(
                "InvalidArgumentsError",
                "Config update is not allowed for following field [accessControl]",
            )
        self._host.merge_configuration(component, path, values)
        return Answer({})


class LiteConnection(Connection):
    """Answers errors without a reason, and closes."""

    max_packet = MAX_PACKET
    last = Flags.NONE

    def _handle(self, frame: Frame) -> After:
        kind, stream = frame.number(":message-type"), frame.number(":stream-id")
        flags = Flags(frame.number(":message-flags"))
        if self._component is None:
            return self._connect(frame)
        if kind != MessageType.APPLICATION_MESSAGE or stream == 0:
            raise BadFrame(f"message type {kind} on stream {stream}")
        if flags & Flags.TERMINATE_STREAM:
            self._end(stream)
        else:
            self._request(frame, stream, self._component)
        return After.OPEN

    def _connect(self, frame: Frame) -> After:
        known = self._component_of(asked_by(frame) or "")
        wrong = frame.number(":message-type") != MessageType.CONNECT
        if wrong or known is None or frame.text(":version") != VERSION:
            raise BadFrame("no connect message, another version, or nobody's token")
        self._component = known
        self._send(Frame.make(MessageType.CONNECT_ACK, flags=Flags.CONNECTION_ACCEPTED).encode())
        return After.OPEN

    def _frame(
        self,
        kind: MessageType,
        *,
        flags: Flags,
        stream: int,
        content: Mapping[str, str],
        payload: bytes,
    ) -> Frame:
        plain = Frame.make(kind, flags=flags, stream=stream)
        return Frame({**plain.headers, **content}, payload)

    def _refuse(self, stream: int, refused: Refused) -> None:
        self._refuse_with(stream, refused.code, {"_message": str(refused)})

    def _fail(self, stream: int) -> None:
        self._refuse(stream, Refused("ServiceError", ""))

    def _unsupported(self, stream: int, _operation: str) -> None:
        self._fail(stream)


def connect_lite(
    host: Host,
    topics: Topics,
    *,
    thing: str,
    component_of: Callable[[str], str | None],
    send: Callable[[bytes], None],
) -> Connection:
    """Lite's end of a connection."""
    operations = LiteOperations(host, topics, thing=thing)
    return LiteConnection(
        operations=operations, topics=topics, component_of=component_of, send=send
    )


def _size(value: Any) -> tuple[int, int]:
    """The number of values in a JSON value, and its depth."""
    members = [*value.values()] if isinstance(value, dict) else value
    if isinstance(value, int) and not isinstance(value, bool) and value not in _INT64:
        return MAX_VALUES + 1, 0
    if not isinstance(members, list):
        return 1, 0
    sizes = [_size(member) for member in members]
    return 1 + sum(count for count, _ in sizes), 1 + max((depth for _, depth in sizes), default=0)


def encoded(value: Any) -> str:
    """JSON as Lite writes it, with every digit of a float."""
    if isinstance(value, float):
        return f"{value:#.17g}"
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(k)}:{encoded(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(encoded, value)) + "]"
    return json.dumps(value, ensure_ascii=False)
