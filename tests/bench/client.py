"""The measuring side of IPC: a blocking socket, with little between it and a clock.

It reads and writes frames itself, so that its own cost in each round trip is small.
"""

from __future__ import annotations

import base64
import json
import socket
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from greenhouse.device.ipc.frames import Decoder, Flags, Frame, MessageType

SECONDS = 120.0  # After so long without a byte something is lost.


class Closed(Exception):
    """The broker closed the connection."""


class Client:
    """A connection that subscribes to some topics."""

    def __init__(self, path: Path, token: str, *topics: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(SECONDS)
        self._socket.connect(str(path))
        self._decoder = Decoder()
        self._streams = count(1)
        connect = Frame.make(
            MessageType.CONNECT,
            content={":version": "0.1.0"},
            payload=json.dumps({"authToken": token}).encode(),
        )
        self._socket.sendall(connect.encode())
        self._expect(MessageType.CONNECT_ACK)
        for topic in topics:
            self._socket.sendall(self._request("SubscribeToTopic", {"topic": topic}))
            self._expect(MessageType.APPLICATION_MESSAGE)

    def close(self) -> None:
        self._socket.close()

    def publish(self, topic: str, *payloads: bytes) -> None:
        """Write the messages at once. Raises Closed."""
        requests = b"".join(
            self._request(
                "PublishToTopic",
                {
                    "topic": topic,
                    "publishMessage": {
                        "binaryMessage": {"message": base64.b64encode(payload).decode()}
                    },
                },
            )
            for payload in payloads
        )
        self._socket.settimeout(SECONDS)
        try:
            self._socket.sendall(requests)
        except (BrokenPipeError, ConnectionResetError) as exc:
            raise Closed from exc

    def received(self, seconds: float = SECONDS) -> list[bytes]:
        """The next messages, at least one. Raises Closed, or TimeoutError if none comes."""
        deadline = time.monotonic() + seconds
        messages: list[bytes] = []
        while not messages:
            self._socket.settimeout(max(1e-4, deadline - time.monotonic()))
            messages = [found for frame in self._frames() if (found := _message(frame)) is not None]
        return messages

    def received_within(self, seconds: float) -> list[bytes]:
        """The next messages within so short a time. There may be none."""
        try:
            return self.received(seconds)
        except TimeoutError:
            return []

    def _frames(self) -> Iterator[Frame]:
        try:
            data = self._socket.recv(1 << 18)
        except ConnectionResetError as exc:
            raise Closed from exc
        if not data:
            raise Closed
        yield from self._decoder.feed(data)

    def _expect(self, kind: MessageType) -> None:
        (frame,) = self._frames()
        if frame.number(":message-type") != kind:
            raise AssertionError(f"{kind.name} expected, {frame} found")

    def _request(self, operation: str, body: dict[str, object]) -> bytes:
        frame = Frame.make(
            MessageType.APPLICATION_MESSAGE,
            stream=next(self._streams),
            content={"operation": f"aws.greengrass#{operation}"},
            payload=json.dumps(body).encode(),
        )
        return frame.encode()


def _message(frame: Frame) -> bytes | None:
    """The published message. None for the response to a publication of our own."""
    if frame.number(":message-type") != MessageType.APPLICATION_MESSAGE:
        raise AssertionError(f"the broker refused: {frame}")
    if frame.number(":message-flags") & Flags.TERMINATE_STREAM:
        return None
    event = json.loads(frame.payload)
    return base64.b64decode(event["binaryMessage"]["message"])
