"""Replays the Java nucleus' side of the wire: its frames byte for byte, refusals, and limits.

Records that are replayed here without a wire: java-ipc-main (its policy and configuration),
java-ipc-raw-protocol, java-ipc-authz, java-ipc-resource-question and java-ping-frame-crash. Over a
real socket in test_ipc_broker.py: java-ipc-socket, java-ipc-order, java-ipc-size,
java-ipc-connections, java-ipc-json-limits, java-ipc-client-death and java-ipc-slow-subscriber.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from greenhouse.device.ipc.connection import After, Connection
from greenhouse.device.ipc.frames import BadFrame, Decoder, Flags, Frame, MessageType
from greenhouse.device.ipc.operations import Operations
from greenhouse.device.ipc.topics import Topics
from greenhouse.device.recipe.configuration import merged
from tests.greenhouse.device.recorded import NOT_MODELLED, RECORDS, each, parts, together

OF_A_LINE = ("connect ", "close connection")  # Exchanges that need a wire: see test_ipc_broker.py.
ON_ONE_LINE = [
    name.partition("/")[2]
    for name in parts("java-frames")
    if not name.partition("/")[2].startswith(OF_A_LINE)
]

TOKEN = "A1B2C3D4E5F6G7H8"
ACCEPTED = Frame.make(MessageType.CONNECT_ACK, flags=Flags.CONNECTION_ACCEPTED).encode()


@dataclass
class Host:
    """The device behind the wire: a component's configuration and its own reports."""

    configurations: dict[str, Mapping[str, Any]]
    said: list[tuple[str, str]] = field(default_factory=list)

    def configuration(self, component: str) -> Mapping[str, Any] | None:
        return self.configurations.get(component)

    def merge_configuration(
        self, component: str, path: list[str], values: Mapping[str, Any]
    ) -> None:
        for step in reversed(path):
            values = {step: values}
        self.configurations[component] = merged(self.configurations[component], values)

    def report_state(self, component: str, state: str) -> None:
        self.said.append((component, state))


def defaults(name: str, component: str) -> Mapping[str, Any]:
    """The DefaultConfiguration of a recorded recipe."""
    recipe = next(r for r in RECORDS[name]["recipes"] if r["ComponentName"] == component)
    configuration: Mapping[str, Any] = recipe["ComponentConfiguration"]["DefaultConfiguration"]
    return configuration


class Peer:
    """A component at the other end. It remembers every byte it got."""

    def __init__(
        self, component: str, configuration: Mapping[str, Any], topics: Topics | None = None
    ) -> None:
        self.host = Host({component: configuration})
        self.got = b""
        topics = topics or Topics()
        self.connection = Connection(
            operations=Operations(self.host, topics),
            topics=topics,
            component_of={TOKEN: component}.get,
            send=self._receive,
        )
        self.last_stream = 0

    def _receive(self, data: bytes) -> None:
        self.got += data

    def take(self) -> list[Frame]:
        """The frames since the last call."""
        data, self.got = self.got, b""
        return list(Decoder().feed(data))

    def connect(self) -> Peer:
        self.connection.received(connect(TOKEN))
        assert self.got == ACCEPTED
        self.got = b""
        return self

    def ask(self, operation: str, body: Any, *, stream: int | None = None) -> After:
        """A request on the next stream, or on the named stream. A body may be raw bytes."""
        self.last_stream = stream or self.last_stream + 1
        return self.connection.received(request(operation, body, self.last_stream))


def connect(token: str, version: str = "0.1.0") -> bytes:
    return Frame(
        {":version": version, ":message-type": 4, ":message-flags": 0, ":stream-id": 0},
        json.dumps({"authToken": token}).encode(),
    ).encode()


def request(operation: str, body: Any, stream: int) -> bytes:
    headers: dict[str, int | str] = {
        ":content-type": "application/json",
        "service-model-type": f"aws.greengrass#{operation}Request",
        ":message-type": 0,
        ":message-flags": 0,
        ":stream-id": stream,
        "operation": f"aws.greengrass#{operation}",
    }
    payload = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Frame(headers, payload).encode()


def sent(step: Mapping[str, str]) -> bytes:
    """The recorded bytes. A masked token gets a checksum that fits the mask."""
    data = bytes.fromhex(step["hex"])
    return data[:-4] + zlib.crc32(data[:-4]).to_bytes(4, "big") if b"****" in data else data


@pytest.mark.parametrize("exchanges", together("java-frames", *ON_ONE_LINE))
def test_every_frame_of_the_java_nucleus_is_answered_byte_for_byte(
    exchanges: dict[str, list[dict[str, str]]],
) -> None:
    """One connection, all exchanges in the recorded order."""
    peer = Peer("xipc", defaults("java-ipc-main", "xipc")).connect()
    for exchange, steps in exchanges.items():
        expected = b"".join(bytes.fromhex(s["hex"]) for s in steps if s["direction"] == "S->C")
        for step in steps:
            if step["direction"] == "C->S":
                assert peer.connection.received(sent(step)) is After.OPEN
        if exchange in NOT_MODELLED:
            (answer,) = peer.take()
            assert "is not modelled by greenhouse" in answer.payload.decode()
            continue
        assert peer.got == expected, exchange
        peer.got = b""


RAW = {one["case"]: one for one in RECORDS["java-ipc-raw-protocol"]["results"]}
PUBLISH = {"topic": "local/r", "publishMessage": {"jsonMessage": {"message": {"v": 1}}}}
BOTH = {"jsonMessage": {"message": {"v": 1}}, "binaryMessage": {"message": "eA=="}}
NO_MODEL = Frame(
    {
        ":message-type": 0,
        ":message-flags": 0,
        ":stream-id": 1,
        "operation": "aws.greengrass#PublishToTopic",
    },
    json.dumps(PUBLISH).encode(),
).encode()

# What the lab's raw client sent in each case, after CONNECT.
SENT = {
    "stream ids 1,3,2": [request("PublishToTopic", PUBLISH, number) for number in (1, 3, 2)],
    "stream id 1 reused": [request("PublishToTopic", PUBLISH, 1)] * 2,
    "stream id 0": [request("PublishToTopic", PUBLISH, 0)],
    "stream id 5 first": [request("PublishToTopic", PUBLISH, 5)],
    "connect twice": [connect(TOKEN)],
    "body not json": [request("PublishToTopic", b"{not json", 1)],
    "unknown operation": [request("NoSuchOperation", {}, 1)],
    "no service-model-type": [NO_MODEL],
    "topic missing": [request("PublishToTopic", {"publishMessage": {}}, 1)],
    "both json and binary": [
        request("PublishToTopic", {"topic": "local/r", "publishMessage": BOTH}, 1)
    ],
    "binary not base64": [
        request(
            "PublishToTopic",
            {"topic": "local/r", "publishMessage": {"binaryMessage": {"message": "%%%"}}},
            1,
        )
    ],
    "unknown member": [request("PublishToTopic", {**PUBLISH, "strange": 1}, 1)],
    "close stream then publish": [
        request("SubscribeToTopic", {"topic": "local/r"}, 1),
        Frame.make(
            MessageType.APPLICATION_MESSAGE, flags=Flags.TERMINATE_STREAM, stream=1
        ).encode(),
    ],
}


def cases(record: str, sent: Mapping[str, Any]) -> list[Any]:
    """What is sent in each case, as parameters with the part's name."""
    return [pytest.param(case, data, id=f"{record}/{case}") for case, data in sent.items()]


def recorded(case: str) -> list[str]:
    frames = RAW[case].get("frames") or RAW[case]["r"]
    return [frame["hex"] for frame in frames if isinstance(frame, dict)]


@pytest.mark.parametrize(("case", "messages"), cases("java-ipc-raw-protocol", SENT))
def test_a_broken_client_gets_what_the_java_nucleus_gives_it(
    case: str, messages: list[bytes]
) -> None:
    peer = Peer("xipc", defaults("java-ipc-main", "xipc")).connect()
    for data in messages:
        if peer.connection.received(data) is After.CLOSE:
            break
    answers = [frame.encode().hex() for frame in peer.take()]
    wanted = recorded(case)
    assert answers[: len(wanted)] == wanted
    if not RAW[case].get("incomplete"):
        assert answers == wanted


@pytest.mark.parametrize("seen", each("java-ipc-raw-protocol", "request before connect"))
def test_nothing_may_be_asked_before_connecting(seen: dict[str, Any]) -> None:
    peer = Peer("xipc", {})
    after = peer.connection.received(request("PublishToTopic", PUBLISH, 1))
    assert peer.got.hex() == recorded(seen["case"])[0]
    assert after is After.CLOSE


@pytest.mark.parametrize(
    ("case", "data"),
    cases(
        "java-ipc-raw-protocol",
        {
            "version 0.2.0": connect(TOKEN, "0.2.0"),
            "bad token": connect("nobody's"),
            "empty token": connect(""),
        },
    ),
)
def test_a_refused_connection_is_told_so_and_closed(case: str, data: bytes) -> None:
    peer = Peer("xipc", {})
    assert peer.connection.received(data) is After.CLOSE
    assert [peer.got.hex()] == recorded(case)


@pytest.mark.parametrize(
    ("case", "data"),
    cases(
        "java-ipc-raw-protocol",
        {"wrong crc": connect(TOKEN)[:-1] + b"x", "junk bytes": b"junk" * 8},
    ),
)
def test_bytes_that_are_no_frame_end_the_connection_without_a_word(case: str, data: bytes) -> None:
    peer = Peer("xipc", {})
    assert peer.connection.received(data) is After.CLOSE
    assert peer.got == b""
    assert recorded(case) == []


def test_a_header_that_says_more_than_it_has_ends_the_connection() -> None:
    """aws-c-event-stream finds a length of headers that isn't theirs."""
    name = b":version"
    header = bytes([len(name)]) + name + b"\x07\x00\x09" + b"0.1.0"  # Five bytes, said to be nine.
    prelude = struct.pack(">II", 16 + len(header), len(header))
    message = prelude + struct.pack(">I", zlib.crc32(prelude)) + header
    data = message + struct.pack(">I", zlib.crc32(message))
    with pytest.raises(BadFrame, match="the headers end in the middle of one"):
        list(Decoder().feed(data))


def test_a_component_name_that_is_no_text_is_an_internal_error() -> None:
    peer = Peer("xipc", defaults("java-ipc-main", "xipc")).connect()
    peer.ask("GetConfiguration", {"componentName": ["xipc"]})
    (answer,) = peer.take()
    assert answer.payload == b"InternalServerError"


def test_an_empty_body_is_a_service_error() -> None:
    peer = Peer("xipc", defaults("java-ipc-main", "xipc")).connect()
    peer.ask("PublishToTopic", b"")
    (answer,) = peer.take()
    assert answer.headers["service-model-type"] == "aws.greengrass#ServiceError"
    kind = b"service-model-type\x07\x00\x1baws.greengrass#ServiceError".hex()
    assert kind in RAW["empty body"]["text"], "so it was on the nucleus"


@pytest.mark.parametrize("seen", each("java-ping-frame-crash"))
def test_a_ping_ends_the_connection_where_it_would_end_the_real_nucleus(seen: str) -> None:
    """There the JVM aborts. Here only the sender loses its connection."""
    assert "aborts" in seen
    peer = Peer("xipc", {}).connect()
    assert peer.connection.received(Frame.make(MessageType.PING).encode()) is After.CLOSE
    assert peer.got == b""


AUTHORIZATION = {"authz-sub": "SubscribeToTopic", "authz-pub": "PublishToTopic"}


def probes(record: str) -> list[Any]:
    """Record, component and operation, and the outcome by topic: one parameter for each."""
    found = []
    for name, seen in parts(record).items():
        component, _, kind = name.removeprefix(f"{record}/").partition("/")
        if kind in AUTHORIZATION:
            (probe,) = seen
            values = (record, component, AUTHORIZATION[kind], probe["r"])
            found.append(pytest.param(*values, id=name))
    return found


@pytest.mark.parametrize(
    ("record", "component", "operation", "outcomes"),
    [*probes("java-ipc-authz"), *probes("java-ipc-resource-question")],
)
def test_access_control_decides_as_on_the_java_nucleus(
    record: str, component: str, operation: str, outcomes: dict[str, str]
) -> None:
    assert len(outcomes) == 16, "the record has its probes"
    for topic, outcome in outcomes.items():
        peer = Peer(component, defaults(record, component)).connect()
        message = {"jsonMessage": {"message": {"v": 1}}}
        peer.ask(operation, {"topic": topic, "publishMessage": message})
        (answer, *_events) = peer.take()
        error = json.loads(answer.payload).get("_errorCode", "ok")
        assert error == outcome, f"{component}: {operation} on {topic}"


@pytest.mark.parametrize("message", [{}, {"message": None}])
def test_a_json_message_of_null_is_a_service_error(message: dict[str, Any]) -> None:
    """As observed on the Java nucleus on 2026-11-30. The connection goes on."""
    peer = Peer("xipc", defaults("java-ipc-main", "xipc")).connect()
    for _ in (1, 2):
        peer.ask("PublishToTopic", {"topic": "local/n", "publishMessage": {"jsonMessage": message}})
        (answer, *_events) = peer.take()
        assert json.loads(answer.payload)["_errorCode"] == "ServiceError"


def test_numbers_in_json_messages_become_doubles() -> None:
    """Java reads free-form JSON like this. Binary messages avoid it."""
    peer = Peer("xipc", defaults("java-ipc-main", "xipc")).connect()
    peer.ask("SubscribeToTopic", {"topic": "local/n"})
    peer.take()
    sent = {"one": 1, "big": 12345678901234567890, "list": [True, None, 2]}
    body = {"topic": "local/n", "publishMessage": {"jsonMessage": {"message": sent}}}
    peer.ask("PublishToTopic", body)
    event = next(frame for frame in peer.take() if b"jsonMessage" in frame.payload)
    got = json.loads(event.payload)["jsonMessage"]["message"]
    assert got == {"one": 1.0, "big": 1.2345678901234567e19, "list": [True, None, 2.0]}
    assert isinstance(got["one"], float)


def test_a_json_message_that_is_no_object_ends_the_stream() -> None:
    peer = Peer("xipc", defaults("java-ipc-main", "xipc")).connect()
    message = {"jsonMessage": {"message": [1, 2]}}
    peer.ask("PublishToTopic", {"topic": "local/n", "publishMessage": message})
    (answer,) = peer.take()
    assert answer.payload == b"InternalServerError"
    assert answer.headers[":message-flags"] == Flags.TERMINATE_STREAM


def test_a_wildcard_subscription_does_not_hear_its_own_component() -> None:
    topics = Topics()
    allowed = defaults("java-ipc-main", "xipc")
    one, other = (Peer(name, allowed, topics).connect() for name in ("one", "other"))
    one.ask("SubscribeToTopic", {"topic": "local/+"})
    one.ask("SubscribeToTopic", {"topic": "local/a"})
    one.ask("SubscribeToTopic", {"topic": "local/#", "receiveMode": "RECEIVE_ALL_MESSAGES"})
    one.take()
    binary = {"binaryMessage": {"message": "eA=="}}

    one.ask("PublishToTopic", {"topic": "local/a", "publishMessage": binary})
    heard = [frame.headers[":stream-id"] for frame in one.take() if b"binary" in frame.payload]
    assert heard == [2, 3], "not on stream 1, whose wildcard means other components' messages"

    other.ask("PublishToTopic", {"topic": "local/a", "publishMessage": binary})
    heard = [frame.headers[":stream-id"] for frame in one.take() if b"binary" in frame.payload]
    assert heard == [1, 2, 3]


def test_the_state_that_a_component_reports_reaches_the_device() -> None:
    peer = Peer("xipc", {}).connect()
    peer.ask("UpdateState", {"state": "ERRORED"})
    assert peer.host.said == [("xipc", "ERRORED")]
