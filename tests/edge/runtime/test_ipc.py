"""The one module that knows AWS's libraries, against a broker that replays real nuclei."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from awsiot import greengrasscoreipc
from awsiot.greengrasscoreipc import model
from awsiot.greengrasscoreipc.client import GreengrassCoreIPCClient, SubscribeToTopicStreamHandler

from edge.inference import ipc
from edge.inference.client import confirmed
from edge.inference.ipc import Line
from edge.inference.protocol import MAX_MESSAGE, MAX_REQUEST, BadRequest
from edge.inference.settings import Nucleus, Unreachable
from greenhouse.device.flavours.lite.flavour import Lite
from greenhouse.device.ipc.broker import Connect, connect_java
from greenhouse.device.ipc.connection import Connection
from greenhouse.device.ipc.frames import Decoder, Flags, Frame


class Heard:
    """What arrived, and how often a line was opened."""

    def __init__(self) -> None:
        self.payloads: list[bytes] = []
        self.sizes: list[int] = []  # The sizes of messages that were too long.
        self.opened = 0
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()

    def received(self, payload: bytes) -> None:
        self.payloads.append(payload)
        self._loop.call_soon_threadsafe(self._news.set)  # The SDK calls on a thread of its own.

    def too_long(self, size: int) -> None:
        self.sizes.append(size)
        self._loop.call_soon_threadsafe(self._news.set)

    def unreadable(self, bad: BadRequest) -> None:
        raise bad

    def open(self) -> None:
        self.opened += 1
        self._loop.call_soon_threadsafe(self._news.set)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(120):
            while not condition():
                self._news.clear()
                await self._news.wait()


def on_the_line(
    environment: dict[str, str], story: Callable[[Line, Heard], Awaitable[None]]
) -> None:
    """Run the story beside a line that hears its own messages."""

    async def both() -> None:
        heard = Heard()
        line = Line(Nucleus.from_environment(environment), topic="local/result")
        running = asyncio.create_task(asyncio.to_thread(line.run, heard, heard.open))
        telling = asyncio.ensure_future(story(line, heard))
        try:
            await asyncio.wait((running, telling), return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                # This raises Unreachable, or ends after the story has stopped the line.
                await running
            await telling
        finally:
            telling.cancel()
            line.stop()
            await asyncio.gather(running, telling, return_exceptions=True)
            line.close()

    asyncio.run(both())


async def publish(line: Line, payload: bytes) -> None:
    await confirmed(lambda sent: line.post("local/result", payload, sent))


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many pauses as a nucleus needs that comes back slowly."""
    monkeypatch.setattr(ipc, "PAUSES", (0.05,) * 1000)


@pytest.fixture
def few_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ipc, "PAUSES", (0.0, 0.01, 0.05))


def test_messages_arrive_as_the_bytes_they_were_in_order(nucleus: Any) -> None:
    said = [bytes([number % 256]) * number for number in range(300)]

    async def story(line: Line, heard: Heard) -> None:
        for payload in said:
            await publish(line, payload)
        await heard.until(lambda: len(heard.payloads) == len(said))
        assert heard.payloads == said
        assert line._connection
        assert not line._connection._owed, "a request with its reply counts as late in ten seconds"

    on_the_line(nucleus.environment("com.ml.test"), story)


def test_a_message_that_is_too_long_is_told_by_its_size_and_not_parsed(nucleus: Any) -> None:
    sizes = [MAX_REQUEST, 2 * MAX_REQUEST, 2**23, 1]

    async def story(line: Line, heard: Heard) -> None:
        for size in sizes:
            await publish(line, bytes(size))
        await heard.until(lambda: len(heard.payloads) + len(heard.sizes) == len(sizes))
        assert [len(payload) for payload in heard.payloads] == [MAX_REQUEST, 1]
        assert heard.sizes == [pytest.approx(size, rel=1e-3) for size in sizes[1:3]]

    on_the_line(nucleus.environment("com.ml.test"), story)


def test_a_line_that_the_nucleus_closed_hears_again_once_it_is_back(nucleus: Any) -> None:
    async def story(line: Line, heard: Heard) -> None:
        for turn in range(1, 4):
            await heard.until(lambda turn=turn: heard.opened == turn)  # type: ignore[misc]
            await publish(line, b"%d" % turn)
            await heard.until(lambda turn=turn: len(heard.payloads) == turn)  # type: ignore[misc]
            if turn < 3:
                await asyncio.to_thread(nucleus.stop)
                await asyncio.to_thread(nucleus.start)
        assert heard.payloads == [b"1", b"2", b"3"]

    on_the_line(nucleus.environment("com.ml.test"), story)


def test_a_message_while_the_line_is_down_is_sent_once_it_is_up(nucleus: Any) -> None:
    async def story(line: Line, heard: Heard) -> None:
        async with asyncio.TaskGroup() as saying:
            for number in range(3):
                saying.create_task(publish(line, b"%d" % number))
        await heard.until(lambda: len(heard.payloads) == 3)
        assert heard.payloads == [b"0", b"1", b"2"]

    on_the_line(nucleus.environment("com.ml.test"), story)


def test_a_message_without_a_connection_is_reported_lost_when_the_line_is_closed(
    nucleus: Any,
) -> None:
    environment = nucleus.environment("com.ml.test")
    line = Line(Nucleus.from_environment(environment), topic="local/result")
    lost: list[ConnectionError | None] = []
    line.post("local/result", b"unheard", lost.append)
    assert lost == []
    line.close()
    assert [type(error) for error in lost] == [ConnectionError]


def test_after_unsubscribing_nothing_is_heard_but_something_can_be_said(nucleus: Any) -> None:
    async def story(line: Line, heard: Heard) -> None:
        await heard.until(lambda: heard.opened == 1)
        line.stop()
        await asyncio.to_thread(line.unsubscribe, 5)
        await publish(line, b"last words")
        assert heard.payloads == []

    on_the_line(nucleus.environment("com.ml.test"), story)


def test_a_nucleus_that_owes_a_reply_for_long_is_left_for_the_next(
    nucleus: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ipc, "REPLY_SECONDS", 1.0)

    async def story(line: Line, heard: Heard) -> None:
        await heard.until(lambda: heard.opened == 1)
        with nucleus.hanging(), pytest.raises(ConnectionError, match="publishing on"):
            await publish(line, b"unheard")
        monkeypatch.setattr(ipc, "REPLY_SECONDS", 120.0)  # For a slow machine.
        await heard.until(lambda: heard.opened >= 2)
        await publish(line, b"heard")
        await heard.until(lambda: heard.payloads[-1:] == [b"heard"])

    on_the_line(nucleus.environment("com.ml.test"), story)


def test_messages_in_flight_when_the_connection_broke_are_reported_lost_at_once(
    nucleus: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ipc, "REPLY_SECONDS", 1e6)  # So no reply is ever late.

    async def story(line: Line, heard: Heard) -> None:
        await heard.until(lambda: heard.opened == 1)
        with nucleus.hanging(then_drops=True):
            saying = [asyncio.create_task(publish(line, b"%d" % number)) for number in range(5)]
            await asyncio.sleep(0)  # Now they are written.
        async with asyncio.timeout(120):
            lost = await asyncio.gather(*saying, return_exceptions=True)
        assert [type(error) for error in lost] == [ConnectionError] * 5
        await publish(line, b"again")
        await heard.until(lambda: heard.payloads == [b"again"])

    on_the_line(nucleus.environment("com.ml.test"), story)


def test_lites_silent_close_on_a_message_too_large_is_survived(lite: Any) -> None:
    async def story(line: Line, heard: Heard) -> None:
        await publish(line, b"x" * MAX_MESSAGE)
        with pytest.raises(ConnectionError, match="publishing on"):
            await publish(line, b"x" * 7_500)
        await publish(line, b"small")
        await heard.until(lambda: heard.payloads[-1:] == [b"small"])
        assert heard.opened == 2, "the subscription went with the connection"

    on_the_line(lite.environment("com.ml.test"), story)


def test_lite_is_talked_to_for_long_although_it_leaves_streams_open(lite: Any) -> None:
    said = [b"%d" % number for number in range(300)]

    async def story(line: Line, heard: Heard) -> None:
        for payload in said:
            await publish(line, payload)
        await heard.until(lambda: len(heard.payloads) == len(said))
        assert (heard.payloads, heard.opened) == (said, 1)

    on_the_line(lite.environment("com.ml.test"), story)


class Recording:
    """Makes a nucleus that remembers the frames that came, connection by connection."""

    def __init__(self, connect: Connect) -> None:
        self.frames: list[list[Frame]] = []
        self._connect = connect

    def __call__(self, *host_and_topics: Any, **others: Any) -> Connection:
        connection = self._connect(*host_and_topics, **others)
        decoder, frames, handle = Decoder(), list[Frame](), connection.received
        self.frames.append(frames)

        def received(data: bytes) -> Any:
            frames.extend(decoder.feed(data))
            return handle(data)

        connection.received = received  # type: ignore[method-assign]
        return connection


def by_the_sdk(
    environment: dict[str, str], *calls: tuple[Callable[[GreengrassCoreIPCClient], Any], Any]
) -> None:
    """Have AWS's own client make these operations with their requests."""
    client = greengrasscoreipc.connect(
        ipc_socket=environment["AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT"],
        authtoken=environment["SVCUID"],
    )
    for operation, request in calls:
        asking = operation(client)
        asking.activate(request)
        asking.get_response().result(120)
    client.close().result(120)


BOTH = pytest.mark.parametrize("connect", [connect_java, Lite().connection], ids=["java", "lite"])


@BOTH
def test_each_request_is_byte_for_byte_that_of_awss_own_client(
    start_nucleus: Any, connect: Connect
) -> None:
    recording = Recording(connect)
    environment = start_nucleus(recording).environment("com.ml.test")

    async def story(line: Line, heard: Heard) -> None:
        await heard.until(lambda: heard.opened == 1)
        await publish(line, b"\xff said")
        await confirmed(lambda sent: line.update_state("RUNNING", sent))

    on_the_line(environment, story)
    said = model.PublishMessage(binary_message=model.BinaryMessage(message=b"\xff said"))
    by_the_sdk(
        environment,
        (
            lambda client: client.new_subscribe_to_topic(SubscribeToTopicStreamHandler()),
            model.SubscribeToTopicRequest(topic="local/result"),
        ),
        (
            GreengrassCoreIPCClient.new_publish_to_topic,
            model.PublishToTopicRequest(topic="local/result", publish_message=said),
        ),
        (GreengrassCoreIPCClient.new_update_state, model.UpdateStateRequest(state="RUNNING")),
    )
    ours, theirs = (
        [frame.encode() for frame in frames if not frame.number(":message-flags")]
        for frames in recording.frames
    )
    assert len(theirs) == 4, "the connection, and three operations"
    assert ours == theirs


@BOTH
def test_streams_that_the_nucleus_leaves_open_are_ended_by_us(
    start_nucleus: Any, connect: Connect
) -> None:
    recording = Recording(connect)

    async def story(line: Line, heard: Heard) -> None:
        await heard.until(lambda: heard.opened == 1)
        for number in range(2):
            await publish(line, b"%d" % number)
        line.stop()
        await asyncio.to_thread(line.unsubscribe, 10)
        await publish(line, b"so that what was written before has been read")

    on_the_line(start_nucleus(recording).environment("com.ml.test"), story)
    ended = [
        frame.number(":stream-id")
        for frame in recording.frames[0]
        if frame.number(":message-flags") == Flags.TERMINATE_STREAM
    ]
    subscription, publications = 1, [2, 3]
    left_open = publications if connect is not connect_java else []
    assert sorted(stream for stream in ended if stream <= 3) == [subscription, *left_open]


@pytest.mark.parametrize("runtime", ["nucleus", "lite"])
def test_a_peer_that_publishes_json_is_heard_as_well(
    request: pytest.FixtureRequest, runtime: str
) -> None:
    environment = request.getfixturevalue(runtime).environment("com.ml.test")
    said = {"id": "a", "body": "[]", "isBase64Encoded": False}
    message = model.PublishMessage(json_message=model.JsonMessage(message=said))
    publication = model.PublishToTopicRequest(topic="local/result", publish_message=message)

    async def story(_line: Line, heard: Heard) -> None:
        await heard.until(lambda: heard.opened == 1)
        call = (GreengrassCoreIPCClient.new_publish_to_topic, publication)
        await asyncio.to_thread(by_the_sdk, environment, call)
        await heard.until(lambda: len(heard.payloads) == 1)
        assert json.loads(heard.payloads[0]) == said

    on_the_line(environment, story)


@pytest.mark.parametrize("runtime", ["nucleus", "lite"])
def test_a_component_says_how_it_is(request: pytest.FixtureRequest, runtime: str) -> None:
    device = request.getfixturevalue(runtime)

    async def story(line: Line, heard: Heard) -> None:
        await heard.until(lambda: heard.opened == 1)
        for state in ("ERRORED", "RUNNING"):
            await confirmed(lambda sent, state=state: line.update_state(state, sent))  # type: ignore[misc]
        assert device.host.states == ["ERRORED", "RUNNING"]
        with pytest.raises(ConnectionError, match="the state WELL"):
            await confirmed(lambda sent: line.update_state("WELL", sent))

    on_the_line(device.environment("com.ml.test"), story)


def test_a_state_isnt_kept_for_later_when_there_is_no_connection(nucleus: Any) -> None:
    async def story(line: Line, _heard: Heard) -> None:
        with pytest.raises(ConnectionError, match="no connection"):
            await confirmed(lambda sent: line.update_state("ERRORED", sent))

    environment = nucleus.environment("com.ml.test")
    nucleus.stop()
    on_the_line(environment, story)


async def never(_line: Line, _heard: Heard) -> None:
    await asyncio.Event().wait()


@pytest.mark.usefixtures("few_attempts")
def test_a_socket_that_nobody_listens_on_is_given_up(nucleus: Any) -> None:
    environment = nucleus.environment("com.ml.test")
    nucleus.stop()
    with pytest.raises(Unreachable, match="after 4 attempts: connecting"):
        on_the_line(environment, never)


@pytest.mark.usefixtures("few_attempts")
def test_a_token_that_the_nucleus_doesnt_know_is_given_up(nucleus: Any) -> None:
    environment = nucleus.environment("com.ml.test") | {"SVCUID": "SOMEBODYELSES"}
    with pytest.raises(Unreachable, match="connecting"):
        on_the_line(environment, never)


@pytest.mark.usefixtures("few_attempts")
def test_a_topic_that_the_recipe_doesnt_allow_is_named(nucleus: Any) -> None:
    nucleus.host.access = {}
    with pytest.raises(Unreachable, match="subscribing to 'local/result': UnauthorizedError"):
        on_the_line(nucleus.environment("com.ml.test"), never)


@pytest.mark.usefixtures("few_attempts")
def test_a_nucleus_that_drops_us_at_once_every_time_is_given_up(nucleus: Any) -> None:
    async def story(_line: Line, heard: Heard) -> None:
        for turn in range(1, 100):
            await heard.until(lambda turn=turn: heard.opened == turn)  # type: ignore[misc]
            await asyncio.to_thread(nucleus.stop)
            await asyncio.to_thread(nucleus.start)

    with pytest.raises(Unreachable):
        on_the_line(nucleus.environment("com.ml.test"), story)


def test_a_nucleus_that_drops_us_often_is_not_given_up_while_it_carries_what_we_say(
    nucleus: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ipc, "PAUSES", (0.2, 1.0, 10.0))

    async def story(line: Line, heard: Heard) -> None:
        for turn in range(1, 7):
            await heard.until(lambda turn=turn: heard.opened >= turn)  # type: ignore[misc]
            await publish(line, b"of use")
            await asyncio.to_thread(nucleus.stop)
            await asyncio.to_thread(nucleus.start)
        line.stop()

    on_the_line(nucleus.environment("com.ml.test"), story)


def test_an_environment_without_greengrass_is_refused_by_the_names_it_lacks() -> None:
    with pytest.raises(Unreachable, match="SVCUID and AWS_IOT_THING_NAME not set"):
        Nucleus.from_environment({"AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT": "/s"})
