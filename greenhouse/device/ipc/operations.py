"""What a component may ask of the nucleus, and the answers in the nucleus' own words.

Texts, error codes and member order are those of conformance frames. Gson reads numbers in free-form
JSON as doubles, so `1` is written as `1.0`. It writes `<`, `>`, `&`, `=` and `'` as escapes.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from greenhouse.device.ipc.authorization import PUBSUB, allows
from greenhouse.device.ipc.topics import Subscription, Topics, has_wildcard
from greenhouse.device.recipe.configuration import find

SERVICE = "aws.greengrass#"

# A nucleus without the components that answer these was observed to refuse them.
_UNSUPPORTED = ("ListComponents", "GetComponentDetails", "GetSecretValue", "GetThingShadow")
_NOT_MODELLED = (
    "CancelLocalDeployment",
    "CreateDebugPassword",
    "CreateLocalDeployment",
    "DeferComponentUpdate",
    "DeleteThingShadow",
    "GetClientDeviceAuthToken",
    "GetLocalDeploymentStatus",
    "ListLocalDeployments",
    "ListNamedShadowsForThing",
    "PauseComponent",
    "PublishToIoTCore",
    "PutComponentMetric",
    "RestartComponent",
    "ResumeComponent",
    "SendConfigurationValidityReport",
    "StopComponent",
    "SubscribeToCertificateUpdates",
    "SubscribeToComponentUpdates",
    "SubscribeToConfigurationUpdate",
    "SubscribeToIoTCore",
    "SubscribeToValidateConfigurationUpdates",
    "UpdateThingShadow",
    "ValidateAuthorizationToken",
    "VerifyClientDeviceIdentity",
    "AuthorizeClientDeviceAction",
)

_ALL, _FROM_OTHERS = "RECEIVE_ALL_MESSAGES", "RECEIVE_MESSAGES_FROM_OTHERS"
_GSON = str.maketrans({char: f"\\u{ord(char):04x}" for char in "<>&='"})


class Refused(Exception):
    """The component asked for what it can't have. `code` is one of the service model's errors."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Unreadable(Exception):
    """The request doesn't fit its operation. The nucleus says only InternalServerError."""


class Host(Protocol):
    """What the operations need from the device."""

    def configuration(self, component: str) -> Mapping[str, Any] | None:
        """The running configuration, or None if there is no such component."""

    def merge_configuration(
        self, component: str, path: list[str], values: Mapping[str, Any]
    ) -> None:
        """Lay values over a component's configuration, below the path."""

    def report_state(self, component: str, state: str) -> None:
        """A component reports that it is RUNNING or ERRORED."""


@dataclass(frozen=True)
class Answer:
    """The response, and what has to happen after it was sent."""

    body: Mapping[str, Any]
    then: Callable[[], None] | None = None
    subscription: Subscription | None = None


class Operations:
    """The operations of one device, for all connected components."""

    def __init__(self, host: Host, topics: Topics) -> None:
        self._host, self._topics = host, topics
        self._handlers: Mapping[
            str, Callable[[str, dict[str, Any], Callable[[bytes], None]], Answer]
        ] = {
            "SubscribeToTopic": self._subscribe,
            "PublishToTopic": self._publish,
            "GetConfiguration": self._get_configuration,
            "UpdateConfiguration": self._update_configuration,
            "UpdateState": self._update_state,
        }

    def knows(self, operation: str) -> bool:
        """Whether the service model has the operation."""
        name = operation.removeprefix(SERVICE)
        known = {*self._handlers, *_UNSUPPORTED, *_NOT_MODELLED}
        return operation.startswith(SERVICE) and name in known

    def answer(
        self, operation: str, payload: bytes, *, component: str, deliver: Callable[[bytes], None]
    ) -> Answer:
        """Run the operation for the component. `deliver` takes stream events.

        Raises Refused or Unreadable.
        """
        name = operation.removeprefix(SERVICE)
        if name in _UNSUPPORTED:
            raise Refused("ServiceError", f"Operation {operation} is not supported by Greengrass")
        if name in _NOT_MODELLED:
            raise Refused("ServiceError", f"Operation {operation} is not modelled by greenhouse")
        if not payload:
            raise Refused("ServiceError", f"{operation}: the request is null")
        try:
            request = json.loads(payload)
        except ValueError as error:
            raise Unreadable(f"{operation}: {error}") from error
        if not isinstance(request, dict):
            raise Unreadable(f"{operation}: the request is no JSON object")
        return self._handlers[name](component, request, deliver)

    def _authorize(self, component: str, operation: str, topic: str) -> None:
        if not topic:
            raise Refused("UnauthorizedError", "Resource cannot be empty")
        configuration = self._host.configuration(component) or {}
        named = SERVICE + operation
        if not allows(
            configuration.get("accessControl"), service=PUBSUB, operation=named, resource=topic
        ):
            raise Refused(
                "UnauthorizedError",
                f"Principal {component} is not authorized to perform {PUBSUB}:{named}"
                f" on resource {topic}",
            )

    def _subscribe(
        self, component: str, request: dict[str, Any], deliver: Callable[[bytes], None]
    ) -> Answer:
        topic = _text(request, "topic")
        if topic is None:
            raise Refused("InvalidArgumentsError", "Subscribe topic must not be null")
        self._authorize(component, "SubscribeToTopic", topic)
        mode = _text(request, "receiveMode")
        if mode is None:
            mode = _FROM_OTHERS if has_wildcard(topic) else _ALL
        subscription = Subscription(component, topic, mode == _FROM_OTHERS, deliver)
        return Answer(
            {}, then=lambda: self._topics.subscribe(subscription), subscription=subscription
        )

    def _publish(
        self, component: str, request: dict[str, Any], _deliver: Callable[[bytes], None]
    ) -> Answer:
        topic = _text(request, "topic")
        if topic is None:
            raise Refused("InvalidArgumentsError", "Publish topic must not be null")
        self._authorize(component, "PublishToTopic", topic)
        if any(char in topic for char in "+#*"):
            raise Refused("InvalidArgumentsError", "Publish topic must not contain a wildcard.")
        event = written(_event(request.get("publishMessage") or {}, topic))
        return Answer({}, then=lambda: self._topics.publish(topic, event, sender=component))

    def _get_configuration(
        self, component: str, request: dict[str, Any], _deliver: Callable[[bytes], None]
    ) -> Answer:
        asked, path = _text(request, "componentName") or component, _path(request)
        try:
            value = find(self._host.configuration(asked), path)
        except KeyError as error:
            raise Refused("ResourceNotFoundError", "Key not found") from error
        if value is None and not path:
            raise Refused("ResourceNotFoundError", "Key not found")
        shown = value if isinstance(value, dict) else {path[-1]: value}
        return Answer({"componentName": asked, "value": _sorted(shown)})

    def _update_configuration(
        self, component: str, request: dict[str, Any], _deliver: Callable[[bytes], None]
    ) -> Answer:
        values, path = request.get("valueToMerge"), _path(request)
        if not isinstance(values, dict):
            raise Unreadable("UpdateConfiguration: valueToMerge is no JSON object")
        if "accesscontrol" in {key.casefold() for key in (path[:1] or values)}:
            raise Refused(
                "InvalidArgumentsError",
                "Config update is not allowed for following fields [accessControl]",
            )
        self._host.merge_configuration(component, path, doubles(values))
        return Answer({})

    def _update_state(
        self, component: str, request: dict[str, Any], _deliver: Callable[[bytes], None]
    ) -> Answer:
        state = _text(request, "state")
        if state not in ("RUNNING", "ERRORED"):
            raise Refused(
                "InvalidArgumentsError", f"State {state} is not allowed: RUNNING or ERRORED"
            )
        self._host.report_state(component, state)
        return Answer({})


def _text(request: Mapping[str, Any], name: str) -> str | None:
    value = request.get(name)
    if value is not None and not isinstance(value, str):
        raise Unreadable(f"{name} is no text")
    return value


def _path(request: Mapping[str, Any]) -> list[str]:
    path = request.get("keyPath") or []
    if not isinstance(path, list) or not all(isinstance(step, str) for step in path):
        raise Unreadable("keyPath is no list of texts")
    return path


def _event(message: Any, topic: str) -> dict[str, Any]:
    """The message for a subscriber. Without content it is an empty event, as observed."""
    if not isinstance(message, dict):
        raise Unreadable("publishMessage is no JSON object")
    given = [kind for kind in ("jsonMessage", "binaryMessage") if message.get(kind) is not None]
    if len(given) > 1:
        raise Unreadable("both jsonMessage and binaryMessage")
    for kind in given:
        body = message[kind]
        content = body.get("message") if isinstance(body, dict) else None
        if kind == "jsonMessage" and content is None:
            raise Refused("ServiceError", "jsonMessage is null")  # The text is ours.
        if kind == "jsonMessage" and isinstance(content, dict):
            content = doubles(content)
        elif kind == "binaryMessage" and isinstance(content, str):
            try:
                base64.b64decode(content, validate=True)
            except binascii.Error as error:
                raise Unreadable(f"binaryMessage: {error}") from error
        else:
            raise Unreadable(f"{kind} carries {type(content).__name__}")
        return {kind: {"message": content, "context": {"topic": topic}}}
    return {}


def doubles(value: Any) -> Any:
    """Numbers as Java reads them from free-form JSON: all doubles."""
    if isinstance(value, dict):
        return {key: doubles(member) for key, member in value.items()}
    if isinstance(value, list):
        return [doubles(member) for member in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return value


def written(body: Mapping[str, Any]) -> bytes:
    """JSON as Gson writes it."""
    text = json.dumps(body, separators=(",", ":"), ensure_ascii=False)
    return text.translate(_GSON).encode()
