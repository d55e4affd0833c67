"""Replays Nucleus Lite's side of the wire: its frames byte for byte, refusals, and limits.

Records that are replayed here without a wire: lite-ipc-main (its policy and configuration),
lite-ipc-operations and the frames, lite-ipc-raw-protocol, lite-ipc-authz, lite-ipc-json-types,
lite-ipc-json-limits and lite-ipc-size. Over a real socket: lite-ipc-socket and
lite-ipc-connections.
"""

from __future__ import annotations

import asyncio
import base64
import json
import stat
from pathlib import Path
from typing import Any

import pytest

from greenhouse.device.flavours.lite.ipc import (
    MAX_CONNECTIONS,
    LiteConnection,
    LiteOperations,
    connect_lite,
)
from greenhouse.device.ipc.broker import Broker
from greenhouse.device.ipc.connection import After
from greenhouse.device.ipc.frames import Decoder, Flags, Frame, MessageType
from greenhouse.device.ipc.topics import Topics
from tests.greenhouse.device.ipc.test_ipc_conformance import (
    ACCEPTED,
    ON_ONE_LINE,
    SENT,
    TOKEN,
    Host,
    cases,
    connect,
    probes,
    request,
    sent,
)
from tests.greenhouse.device.recorded import NOT_MODELLED, RECORDS, each, parts, together


def defaults(name: str, component: str) -> dict[str, Any]:
    recipe = next(r for r in RECORDS[name]["recipes"] if r["ComponentName"] == component)
    found: dict[str, Any] = recipe["ComponentConfiguration"]["DefaultConfiguration"]
    return found


class Peer:
    """A component at the other end of a Lite device's connection.

    It remembers every byte it got.
    """

    def __init__(self, component: str, configuration: dict[str, Any]) -> None:
        topics = Topics()
        self.got = b""
        self.stream = 0
        self.connection = LiteConnection(
            operations=LiteOperations(
                Host({component: configuration}), topics, thing="holdout-lite"
            ),
            topics=topics,
            component_of={TOKEN: component}.get,
            send=self._receive,
        )

    def _receive(self, data: bytes) -> None:
        self.got += data

    def take(self) -> list[Frame]:
        data, self.got = self.got, b""
        return list(Decoder().feed(data))

    def connect(self) -> Peer:
        assert self.connection.received(connect(TOKEN)) is After.OPEN
        assert self.got == ACCEPTED
        self.got = b""
        return self

    def ask(self, operation: str, body: Any) -> After:
        self.stream += 1
        return self.connection.received(request(operation, body, self.stream))

    def outcome(self, operation: str, body: Any) -> str:
        """`ok`, or the error's name."""
        self.take()
        self.ask(operation, body)
        answer = next(one for one in self.take() if one.headers[":stream-id"] == self.stream)
        return str(json.loads(answer.payload).get("_errorCode", "ok"))


def xipc() -> Peer:
    return Peer("xipc", defaults("lite-ipc-main", "xipc")).connect()


def publish(message: Any, topic: str = "local/r") -> dict[str, Any]:
    return {"topic": topic, "publishMessage": {"jsonMessage": {"message": message}}}


# What the SDK made of the frames. "bad token" needs a wire, see test_ipc_broker.py.
ASKED = [
    name.partition("/")[2] for name in parts("lite-ipc-operations") if "/bad token" not in name
]


@pytest.mark.parametrize("exchanges", together("lite-frames", *ON_ONE_LINE))
@pytest.mark.parametrize("operations", together("lite-ipc-operations", *ASKED))
def test_every_frame_of_nucleus_lite_is_answered_byte_for_byte(
    exchanges: dict[str, list[dict[str, str]]], operations: dict[str, dict[str, Any]]
) -> None:
    """Answer and event of one publish race on Lite, so their order isn't compared."""
    peer = xipc()
    told = 0
    for exchange, steps in exchanges.items():
        for step in steps:
            if step["direction"] == "C->S":
                assert peer.connection.received(sent(step)) is After.OPEN
        if exchange in NOT_MODELLED:
            (answer,) = peer.take()
            assert json.loads(answer.payload)["_errorCode"] == "ServiceError"
            continue
        wanted = [bytes.fromhex(s["hex"]) for s in steps if s["direction"] == "S->C"]
        answers = peer.take()
        assert sorted(one.encode() for one in answers) == sorted(wanted), exchange
        if seen := operations.get(exchange.replace("lite-frames", "lite-ipc-operations")):
            told += 1
            errors = [json.loads(one.payload).get("_errorCode", "ok") for one in answers] or ["ok"]
            assert errors == [seen["r"].get("exc", {}).get("type", "ok")], exchange
    assert told == len(operations) - 1, "all but SubscribeToConfigurationUpdate"


RAW = {one["case"]: one for one in RECORDS["lite-ipc-raw-protocol"]["results"]}


def recorded(case: str) -> list[str]:
    answers = RAW[case].get("frames") or RAW[case]["r"]
    return [one["hex"] for one in answers if isinstance(one, dict)]


@pytest.mark.parametrize(
    ("case", "messages"),
    cases("lite-ipc-raw-protocol", {**SENT, "empty body": [request("PublishToTopic", b"", 1)]}),
)
def test_a_broken_client_gets_what_nucleus_lite_gives_it(case: str, messages: list[bytes]) -> None:
    peer = xipc()
    for data in messages:
        if peer.connection.received(data) is After.CLOSE:
            break
    answers = [frame.encode().hex() for frame in peer.take()]
    wanted = recorded(case)
    assert answers[: len(wanted)] == wanted
    if not RAW[case].get("incomplete"):
        assert answers == wanted


@pytest.mark.parametrize(
    ("case", "data"),
    cases(
        "lite-ipc-raw-protocol",
        {
            "request before connect": request("PublishToTopic", publish(1), 1),
            "version 0.2.0": connect(TOKEN, "0.2.0"),
            "bad token": connect("nobody's"),
            "empty token": connect(""),
            "wrong crc": connect(TOKEN)[:-1] + b"x",
            "junk bytes": b"junk" * 8,
        },
    ),
)
def test_a_stranger_is_told_nothing(case: str, data: bytes) -> None:
    peer = Peer("xipc", {})
    assert peer.connection.received(data) is After.CLOSE
    assert peer.got == b""
    assert recorded(case) == []


@pytest.mark.parametrize(
    ("case", "data"),
    cases(
        "lite-ipc-raw-protocol",
        {
            "stream id 0": request("PublishToTopic", publish(1), 0),
            "connect twice": connect(TOKEN),
            "ping": Frame.make(MessageType.PING).encode(),
        },
    ),
)
def test_a_breach_of_the_protocol_ends_the_connection(case: str, data: bytes) -> None:
    peer = xipc()
    assert peer.connection.received(data) is After.CLOSE
    assert "EOF" in json.dumps(RAW[case]["r"])


@pytest.mark.parametrize(("record", "component", "operation", "outcomes"), probes("lite-ipc-authz"))
def test_access_control_decides_as_on_nucleus_lite(
    record: str, component: str, operation: str, outcomes: dict[str, str]
) -> None:
    assert len(outcomes) == 16, "the record has its probes"
    for topic, wanted in outcomes.items():
        peer = Peer(component, defaults(record, component)).connect()
        found = peer.outcome(operation, publish({"v": 1}, topic))
        assert found == wanted, f"{component}: {operation} on {topic}"


def test_a_topic_has_at_most_256_bytes() -> None:
    """aws-greengrass-lite, ggpubsubd: GGL_PUBSUB_MAX_TOPIC_LENGTH."""
    policy = {"operations": ["*"], "resources": ["*"]}
    control = {"accessControl": {"aws.greengrass.ipc.pubsub": {"p": policy}}}
    for topic, wanted in (("é" * 128, "ok"), ("é" * 128 + "x", "ServiceError")):
        peer = Peer("a", control).connect()
        assert peer.outcome("SubscribeToTopic", {"topic": topic}) == wanted
        assert peer.outcome("PublishToTopic", publish(1, topic)) == wanted


def test_a_key_path_has_texts_only() -> None:
    body = {"keyPath": [5], "valueToMerge": {"a": 1}}
    assert xipc().outcome("UpdateConfiguration", body) == "ServiceError"


def test_policies_of_more_than_4096_bytes_are_no_policies() -> None:
    """Lite counts its own structures: 56 of these texts have 3,640 bytes, and need 4,360."""
    resources = [f"local/{number:059}" for number in range(56)] + ["local/r"]
    policy = {"operations": ["*"], "resources": resources}
    control = {"accessControl": {"aws.greengrass.ipc.pubsub": {"p": policy}}}
    assert Peer("a", control).connect().outcome("PublishToTopic", publish(1)) == "UnauthorizedError"
    policy["resources"] = resources[-52:]
    assert Peer("a", control).connect().outcome("PublishToTopic", publish(1)) == "ok"


@pytest.mark.parametrize("one", each("lite-ipc-json-types", "json "))
def test_json_goes_as_it_comes_or_not_at_all(one: dict[str, Any]) -> None:
    peer = xipc()
    peer.ask("SubscribeToTopic", {"topic": "local/r"})
    wanted = one["r"].get("exc", {}).get("type", "ok")
    peer.take()
    peer.ask("PublishToTopic", publish(one["sent"]))
    answers = {frame.headers[":stream-id"]: json.loads(frame.payload) for frame in peer.take()}
    assert answers[2].get("_errorCode", "ok") == wanted
    if wanted == "ok":
        assert answers[1]["jsonMessage"]["message"] == one["sent"], "no numbers become doubles"


@pytest.mark.parametrize("seen", each("lite-ipc-json-types", "json-received"))
def test_accepted_requests_are_received_in_order(seen: dict[str, Any]) -> None:
    peer = xipc()
    topic = "local/j"
    peer.ask("SubscribeToTopic", {"topic": topic})
    for one in parts("lite-ipc-json-types").values():
        if one["t"] == "json":
            peer.ask("PublishToTopic", publish(one["sent"], topic))
    for payload in (b"", b"\x00\xff"):
        message = {"binaryMessage": {"message": base64.b64encode(payload).decode()}}
        peer.ask("PublishToTopic", {"topic": topic, "publishMessage": message})
    got = []
    for frame in peer.take():
        event = json.loads(frame.payload)
        if frame.headers[":stream-id"] != 1 or not event:
            continue  # The answers.
        ((kind, body),) = event.items()
        content = body["message"]
        if kind == "binaryMessage":
            content = str(base64.b64decode(content))  # As Python prints bytes.
        got.append([kind.removesuffix("Message"), content, body["context"]["topic"]])
    assert got == seen["got"]


@pytest.mark.parametrize("one", each("lite-ipc-json-limits", "json-list "))
def test_long_lists_are_refused(one: dict[str, Any]) -> None:
    wanted = one["r"].get("exc", {}).get("type", "ok")
    assert xipc().outcome("PublishToTopic", publish([1] * one["n"])) == wanted


@pytest.mark.parametrize("one", each("lite-ipc-json-limits", "json-depth "))
def test_deep_objects_are_refused(one: dict[str, Any]) -> None:
    nested: Any = {}
    for _ in range(one["depth"] - 1):
        nested = {"n": nested}
    refused = "exc" in one["r"]
    assert (xipc().outcome("PublishToTopic", publish(nested)) != "ok") == refused


@pytest.mark.parametrize("one", each("lite-ipc-size"))
def test_more_than_10000_bytes_close_the_connection_with_all_subscriptions(
    one: dict[str, Any],
) -> None:
    peer = xipc()
    peer.ask("SubscribeToTopic", {"topic": "local/size"})
    if one["t"] == "size-binary":
        message: dict[str, Any] = {
            "binaryMessage": {"message": base64.b64encode(bytes(one["n"])).decode()}
        }
    else:
        message = {"jsonMessage": {"message": {"s": "x" * one["n"]}}}
    after = peer.ask("PublishToTopic", {"topic": "local/size", "publishMessage": message})
    assert after is (After.OPEN if "ok" in one["r"] else After.CLOSE)


def test_a_component_hears_itself_and_may_publish_to_wildcards() -> None:
    peer = xipc()
    peer.ask("SubscribeToTopic", {"topic": "local/+"})
    peer.take()
    assert peer.outcome("PublishToTopic", publish(1, "local/+")) == "ok"
    peer.ask("PublishToTopic", publish({"v": 1}, "local/a"))
    heard = [frame for frame in peer.take() if frame.headers[":stream-id"] == 1]
    assert b'"topic":"local/a"' in heard[-1].payload
    assert heard[-1].headers[":message-flags"] == Flags.NONE


@pytest.mark.parametrize("many", each("lite-ipc-connections"))
@pytest.mark.parametrize("seen", each("lite-ipc-socket"))
def test_the_socket_has_its_own_name_and_takes_fifty_connections(
    tmp_path: Path, many: dict[str, Any], seen: dict[str, Any]
) -> None:
    async def story() -> None:
        broker = Broker(
            tmp_path, Host({}), name="gg-ipc.socket", connect=connect_lite, most=MAX_CONNECTIONS
        )
        await broker.start()
        mode = stat.S_IMODE(broker.path.stat().st_mode)
        assert (broker.path.name, mode) == (Path(seen["path"]).name, int(seen["mode"], 8) & 0o777)
        lines = [
            await asyncio.open_unix_connection(str(broker.path)) for _ in range(many["opened"])
        ]
        reader, writer = await asyncio.open_unix_connection(str(broker.path))
        assert await reader.read(1) == b"", "one too many"
        assert not any(other.at_eof() for other, _ in lines)
        for line in (writer, *(one for _, one in lines)):
            line.close()
            await line.wait_closed()
        await broker.stop()

    asyncio.run(story())
