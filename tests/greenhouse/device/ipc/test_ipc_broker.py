"""The unmodified awsiotsdk, and worse clients, against the broker on a real socket."""

from __future__ import annotations

import asyncio
import re
import socket
import stat
import threading
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from awscrt.exceptions import AwsCrtError
from awsiot.greengrasscoreipc import connect as sdk_connect
from awsiot.greengrasscoreipc.clientv2 import GreengrassCoreIPCClientV2
from awsiot.greengrasscoreipc.model import (
    BinaryMessage,
    JsonMessage,
    PublishMessage,
    ServiceError,
    UnauthorizedError,
)

from greenhouse.device.flavours.lite.ipc import connect_lite
from greenhouse.device.ipc import broker
from greenhouse.device.ipc.broker import Broker, Connect, connect_java
from greenhouse.device.ipc.connection import MAX_CONNECT
from greenhouse.device.ipc.frames import MAX_FRAME, Decoder, Frame, MessageType
from tests.greenhouse.device.ipc.test_ipc_conformance import (
    OF_A_LINE,
    Host,
    connect,
    defaults,
    request,
    sent,
)
from tests.greenhouse.device.recorded import each, together

SECONDS = 120.0
MASKED = b"*" * 16  # The token in recorded frames.


class Heard:
    """What a subscription has delivered, in order."""

    def __init__(self, wanted: int) -> None:
        self.events: list[Any] = []
        self._wanted = wanted
        self._enough: Future[None] = Future()

    def __call__(self, event: Any) -> None:
        self.events.append(event)
        if len(self.events) == self._wanted:
            self._enough.set_result(None)

    def wait(self) -> list[Any]:
        self._enough.result(SECONDS)
        return self.events


class Running:
    """A broker on a loop of its own, as on the device."""

    def __init__(self, root: Path, made: Connect = connect_java) -> None:
        allowed = defaults("java-ipc-main", "xipc")
        self.host = Host({"xipc": allowed, "other": allowed, "nobody": {}})
        self.loop = asyncio.new_event_loop()
        self.broker = Broker(root, self.host, connect=made)
        self._thread = threading.Thread(target=self.loop.run_forever)

    def start(self) -> None:
        self._thread.start()
        self.call(self.broker.start())

    def stop(self) -> None:
        self.call(self.broker.stop())
        self.call(asyncio.sleep(0))  # Afterwards the closed connections have been told.
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    def call(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(SECONDS)

    @contextmanager
    def client(self, component: str = "xipc") -> Iterator[Any]:
        """awsiotsdk, connected as the component."""
        ipc = sdk_connect(ipc_socket=str(self.broker.path), authtoken=self.broker.token(component))
        # One worker: the SDK's own pool has many, which deliver events in any order.
        client = GreengrassCoreIPCClientV2(client=ipc, executor=ThreadPoolExecutor(1))
        try:
            yield client
        finally:
            client.close().result(SECONDS)

    @contextmanager
    def wire(self, component: str = "xipc") -> Iterator[socket.socket]:
        """A bare connection that has been accepted."""
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(SECONDS)
            line.connect(str(self.broker.path))
            line.sendall(connect(self.broker.token(component)))
            assert line.recv(4096)
            yield line


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    made = Running(tmp_path_factory.mktemp("ipc"))
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def lite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    made = Running(tmp_path_factory.mktemp("lite"), connect_lite)
    made.start()
    yield made
    made.stop()


def binary(payload: bytes) -> PublishMessage:
    return PublishMessage(binary_message=BinaryMessage(message=payload))


@pytest.mark.parametrize("seen", each("java-ipc-socket"))
def test_the_socket_is_open_to_everyone_and_the_token_is_what_counts(
    running: Running, seen: dict[str, Any]
) -> None:
    path = running.broker.path
    assert path.name == Path(seen["path"]).name
    assert oct(path.stat().st_mode) == seen["mode"]
    assert stat.S_ISSOCK(path.stat().st_mode)
    token = running.broker.token("xipc")
    assert len(token) == seen["token_len"]
    assert re.fullmatch(r"[A-Z0-9]+", token), seen["token_form"]
    assert running.broker.token("xipc") == token, "a component keeps its token over restarts"


def test_a_peer_that_has_not_said_who_it_is_fills_no_memory(running: Running) -> None:
    beginning = Frame.make(MessageType.CONNECT, payload=bytes(MAX_CONNECT + 1)).encode()
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(SECONDS)
        line.connect(str(running.broker.path))
        line.sendall(beginning[: len(beginning) // 2])
        assert line.recv(4096) == b"", "closed at the head of a frame that no CONNECT needs"
    with running.wire() as line:
        message = {"jsonMessage": {"message": {"padding": "x" * MAX_CONNECT}}}
        line.sendall(request("PublishToTopic", {"topic": "local/a", "publishMessage": message}, 1))
        assert line.recv(4096), "a component's own may be as long as ever"


def test_twelve_large_frames_that_never_end_take_no_memory(running: Running) -> None:
    whole = Frame.make(MessageType.CONNECT, payload=bytes(MAX_FRAME - 1024)).encode()
    half = whole[: len(whole) // 2]
    tracemalloc.start()
    try:
        with ExitStack() as lines:
            for _ in range(12):
                line = lines.enter_context(socket.socket(socket.AF_UNIX))
                line.settimeout(SECONDS)
                line.connect(str(running.broker.path))
                with pytest.raises((BrokenPipeError, ConnectionResetError)):
                    line.sendall(half)
            _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < len(half) // 2, "not one of them was kept"


def test_the_sdk_publishes_and_hears(running: Running) -> None:
    heard = Heard(2)
    with running.client() as client:
        client.subscribe_to_topic(topic="local/a", on_stream_event=heard)
        client.publish_to_topic(topic="local/a", publish_message=binary(b"\x00\xff"))
        message = PublishMessage(json_message=JsonMessage(message={"v": 1}))
        client.publish_to_topic(topic="local/a", publish_message=message)
        first, second = heard.wait()
    assert first.binary_message.message == b"\x00\xff"
    assert first.binary_message.context.topic == "local/a"
    assert second.json_message.message == {"v": 1.0}


def test_the_sdk_sees_the_errors_of_its_model(running: Running) -> None:
    with running.client("nobody") as client:
        with pytest.raises(UnauthorizedError) as denied:
            client.publish_to_topic(topic="local/a", publish_message=binary(b""))
        with pytest.raises(ServiceError):
            client.list_components()
    assert denied.value.message == (
        "Principal nobody is not authorized to perform"
        " aws.greengrass.ipc.pubsub:aws.greengrass#PublishToTopic on resource local/a"
    )


def test_the_sdk_reads_and_writes_configuration(running: Running) -> None:
    with running.client() as client:
        client.update_configuration(key_path=["o"], timestamp=None, value_to_merge={"upd": 1})
        answer = client.get_configuration(key_path=["o"])
    assert answer.value == {"k": "v", "upd": 1.0}


def test_the_sdk_with_a_wrong_token_is_refused(running: Running) -> None:
    with pytest.raises(Exception, match=r"(?i)access|closed|denied"):
        sdk_connect(ipc_socket=str(running.broker.path), authtoken="BAD")


@pytest.mark.parametrize("seen", each("lite-ipc-operations", "bad token"))
def test_the_sdk_with_a_wrong_token_finds_lites_socket_closed(
    lite: Running, seen: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(lite.broker.path)
    monkeypatch.setenv("AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT", path)
    monkeypatch.setenv("SVCUID", "BAD")
    with pytest.raises(AwsCrtError) as refused:
        GreengrassCoreIPCClientV2() if "clientv2" in seen["op"] else sdk_connect()
    assert str(refused.value) == seen["r"]["exc"]["str"]


@pytest.mark.parametrize(
    ("flavour", "exchanges"),
    [
        pytest.param(flavour, *one.values, id=one.id)
        for flavour in ("java", "lite")
        for one in together(f"{flavour}-frames", *OF_A_LINE)
    ],
)
def test_connections_begin_and_end_as_recorded(
    request: pytest.FixtureRequest, flavour: str, exchanges: dict[str, list[dict[str, Any]]]
) -> None:
    """Bytes and ends, each from its side. After a close the other side follows."""
    running: Running = request.getfixturevalue({"java": "running", "lite": "lite"}[flavour])
    token = running.broker.token("xipc")
    ends: set[str] = {"C->S", "S->C"}
    line = socket.socket(socket.AF_UNIX)
    for step in (step for steps in exchanges.values() for step in steps):
        if ends == {"C->S", "S->C"}:
            line.close()
            line, ends = socket.socket(socket.AF_UNIX), set()
            line.settimeout(5)
            line.connect(str(running.broker.path))
        if "closed" in step:
            ends.add(step["direction"])
            if step["direction"] == "S->C":
                assert line.recv(1) == b"", "the broker has closed"
            elif "S->C" not in ends:
                line.shutdown(socket.SHUT_WR)
        elif step["direction"] == "C->S":
            data = sent(step)
            line.sendall(connect(token) if MASKED in data else data)
        else:
            data = bytes.fromhex(step["hex"])
            assert line.recv(len(data), socket.MSG_WAITALL) == data
    assert ends == {"C->S", "S->C"}, "the last line has ended as well"
    line.close()


@pytest.mark.parametrize("seen", each("java-ipc-order"))
def test_messages_arrive_in_order(running: Running, seen: dict[str, Any]) -> None:
    """A thousand without waiting for the answers, then 200, each after the last one's answer."""
    heard = Heard(seen["received"])
    with running.client() as client:
        client.subscribe_to_topic(topic="local/order", on_stream_event=heard)
        pending = []
        for number in range(seen["received"]):
            message = binary(str(number).encode())
            answer = client.publish_to_topic_async(topic="local/order", publish_message=message)
            if seen.get("pipelined"):
                pending.append(answer)
            else:
                answer.result(SECONDS)
        for one in pending:
            one.result(SECONDS)
        numbers = [int(event.binary_message.message) for event in heard.wait()]
    assert numbers == list(range(seen["received"])), seen


@pytest.mark.parametrize("seen", each("java-ipc-size"))
def test_large_messages_pass(running: Running, seen: dict[str, Any]) -> None:
    heard = Heard(seen["received"])
    text = "x" * seen["n"]
    message = binary(text.encode())
    if seen["t"] == "size-json-string":
        message = PublishMessage(json_message=JsonMessage(message={"s": text}))
    with running.client() as client:
        client.subscribe_to_topic(topic="local/size", on_stream_event=heard)
        client.publish_to_topic(topic="local/size", publish_message=message)
        (event,) = heard.wait()
    if seen["t"] == "size-json-string":
        assert event.json_message.message == {"s": text}
    else:
        assert event.binary_message.message == text.encode()


@pytest.mark.parametrize("seen", together("java-ipc-json-limits"))
def test_deep_and_long_json_passes(running: Running, seen: dict[str, dict[str, Any]]) -> None:
    *results, got = seen.values()
    bodies: list[Any] = [[0] * one["n"] for one in results if one["t"] == "json-list"]
    for depth in (one["depth"] for one in results if one["t"] == "json-depth"):
        body: Any = 0
        for _ in range(depth):
            body = {"n": body}
        bodies.append(body)
    assert len(bodies) == got["n"], "the nucleus gave them all"
    heard = Heard(len(bodies))
    with running.client() as client:
        client.subscribe_to_topic(topic="local/json", on_stream_event=heard)
        for body in bodies:
            message = PublishMessage(json_message=JsonMessage(message={"v": body}))
            client.publish_to_topic(topic="local/json", publish_message=message)
        assert [event.json_message.message["v"] for event in heard.wait()] == bodies


@pytest.mark.parametrize("seen", each("java-ipc-connections"))
def test_seventy_connections_are_fine(running: Running, seen: dict[str, Any]) -> None:
    lines = [running.wire() for _ in range(seen["opened"])]
    for line in lines:
        line.__enter__()
    for line in lines:
        line.__exit__(None, None, None)


@pytest.mark.parametrize("seen", together("java-ipc-client-death"))
def test_a_client_that_dies_disturbs_nobody(
    running: Running, seen: dict[str, dict[str, Any]]
) -> None:
    published, last = seen.values()
    got = last["got"]
    assert len(published["r"]) == len(got), "each was answered and heard"
    heard = Heard(len(got))
    with running.wire("other") as line:
        line.sendall(request("SubscribeToTopic", {"topic": "local/die"}, 1))
        assert line.recv(4096)
    with running.client() as client:
        client.subscribe_to_topic(topic="local/die", on_stream_event=heard)
        for number in range(len(got)):
            message = PublishMessage(json_message=JsonMessage(message={"v": number}))
            client.publish_to_topic(topic="local/die", publish_message=message)
        events = [event.json_message.message for event in heard.wait()]
    assert events == [message for _kind, message, _topic in got]


@pytest.mark.parametrize("seen", each("java-ipc-slow-subscriber"))
def test_a_subscriber_that_does_not_read_holds_up_nobody(
    running: Running, seen: dict[str, Any]
) -> None:
    """The lab's slow subscriber got all 600 messages when it read. Nobody waited for it."""
    count = seen["published"]
    payload = b"x" * 4000
    heard = Heard(count)
    with running.wire("other") as slow, running.client() as client:
        slow.sendall(request("SubscribeToTopic", {"topic": "local/slow"}, 1))
        assert slow.recv(4096)
        client.subscribe_to_topic(topic="local/slow", on_stream_event=heard)
        for _ in range(count):
            client.publish_to_topic(topic="local/slow", publish_message=binary(payload))
        assert len(heard.wait()) == seen["fast_received"]

        decoder, late = Decoder(), list[Frame]()
        while len(late) < seen["slow_could_read_later"]:
            late += decoder.feed(slow.recv(1 << 20))
    assert len(late) == count


def test_messages_that_wait_for_a_subscriber_are_bounded(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This was not observed on the nucleus, where only memory is the limit."""
    monkeypatch.setattr(broker, "MAX_WAITING_BYTES", 100_000)
    with running.wire("other") as slow, running.client() as client:
        slow.sendall(request("SubscribeToTopic", {"topic": "local/full"}, 1))
        assert slow.recv(4096)
        for _ in range(20):
            client.publish_to_topic(topic="local/full", publish_message=binary(b"x" * 100_000))
        with suppress(ConnectionResetError):
            while slow.recv(1 << 20):
                pass  # What had been sent before, then the end and no time-out.
