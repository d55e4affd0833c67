"""Event-stream frames: bytes in, frames out, without a socket."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum, IntFlag

MAX_FRAME = 24 * 1024 * 1024  # AWS_EVENT_STREAM_MAX_MESSAGE_SIZE, within a few bytes.

_PRELUDE = struct.Struct(">III")
_CRC = struct.Struct(">I")
_INT32, _STRING = 4, 7


class MessageType(IntEnum):
    """`:message-type`."""

    APPLICATION_MESSAGE = 0
    APPLICATION_ERROR = 1
    PING = 2
    CONNECT = 4
    CONNECT_ACK = 5
    PROTOCOL_ERROR = 6


class Flags(IntFlag):
    """`:message-flags`."""

    NONE = 0
    CONNECTION_ACCEPTED = 1
    TERMINATE_STREAM = 2


class BadFrame(ValueError):
    """The peer sent bytes that are no frame. The connection can't be used any more."""


@dataclass(frozen=True)
class Frame:
    """One message. Headers keep their order, as in the real nucleus' bytes."""

    headers: Mapping[str, int | str]
    payload: bytes = b""

    @classmethod
    def make(
        cls,
        kind: MessageType,
        *,
        flags: Flags = Flags.NONE,
        stream: int = 0,
        content: Mapping[str, str] | None = None,
        payload: bytes = b"",
    ) -> Frame:
        """A frame with its headers in the Java nucleus' order."""
        numbers = {":message-type": int(kind), ":message-flags": int(flags), ":stream-id": stream}
        return cls({**(content or {}), **numbers}, payload)

    def number(self, name: str) -> int:
        """An int32 header. Raises BadFrame if it is missing or of another type."""
        value = self.headers.get(name)
        if not isinstance(value, int):
            raise BadFrame(f"header {name} is {value!r}, not an int32")
        return value

    def text(self, name: str) -> str | None:
        value = self.headers.get(name)
        return value if isinstance(value, str) else None

    def encode(self) -> bytes:
        headers = b"".join(map(_header, self.headers.items()))
        total = _PRELUDE.size + len(headers) + len(self.payload) + _CRC.size
        prelude = struct.pack(">II", total, len(headers))
        message = prelude + _CRC.pack(zlib.crc32(prelude)) + headers + self.payload
        return message + _CRC.pack(zlib.crc32(message))


def _header(item: tuple[str, int | str]) -> bytes:
    name, value = item
    label = name.encode()
    start = bytes([len(label)]) + label
    if isinstance(value, int):
        return start + struct.pack(">Bi", _INT32, value)
    text = value.encode()
    return start + struct.pack(">BH", _STRING, len(text)) + text


class Decoder:
    """Puts a stream of bytes together into frames."""

    def __init__(self, limit: int = MAX_FRAME) -> None:
        self._buffer = bytearray()
        self.limit = limit  # The limit of the following frames, in bytes of headers and payload.

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that are complete now.

        Raises BadFrame at the first bytes that are no frame.
        """
        self._buffer += data
        while len(self._buffer) >= _PRELUDE.size:
            total, length, crc = _PRELUDE.unpack_from(self._buffer)
            if zlib.crc32(self._buffer[:8]) != crc:
                raise BadFrame("the prelude's checksum is wrong")
            frame = _PRELUDE.size + _CRC.size
            if not frame + length <= total <= frame + self.limit:
                raise BadFrame(f"a frame of {total} bytes with {length} of headers")
            if len(self._buffer) < total:
                return
            message = bytes(self._buffer[:total])
            del self._buffer[:total]
            if zlib.crc32(message[: -_CRC.size]) != _CRC.unpack_from(message, total - 4)[0]:
                raise BadFrame("the frame's checksum is wrong")
            end = _PRELUDE.size + length
            yield Frame(dict(_headers(message[_PRELUDE.size : end])), message[end : -_CRC.size])


def _headers(data: bytes) -> Iterator[tuple[str, int | str]]:
    at = 0
    try:
        while at < len(data):
            size = data[at]
            name = data[at + 1 : at + 1 + size].decode()
            at += 1 + size
            kind = data[at]
            if kind == _INT32:
                yield name, struct.unpack_from(">i", data, at + 1)[0]
                at += 5
            elif kind == _STRING:
                (size,) = struct.unpack_from(">H", data, at + 1)
                yield name, struct.unpack_from(f"{size}s", data, at + 3)[0].decode()
                at += 3 + size
            else:
                raise BadFrame(f"header {name} has type {kind}; IPC uses {_INT32} and {_STRING}")
    except (IndexError, struct.error, UnicodeDecodeError) as error:
        raise BadFrame(f"the headers end in the middle of one: {error}") from error
