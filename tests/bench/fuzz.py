"""Makes requests that are wrong in some way: by shape, by value, by size, or by single bytes.

They come from a seed, so that a run can be repeated. A few of them are right by chance. Such a
request also gets exactly one answer, and the test asks for no more.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from tests.bench import model

_VALUES: tuple[Any, ...] = (
    None, True, "", "7", "NaN", [], {}, [7], 1e39, -1e39, 10**400, float("nan"), float("inf"),
    -float("inf"), "\ud800", "\x00", "é" * 300, {"a": {"a": {}}}, -0.0, 1e-320,
)  # fmt: skip
_BYTES = (b"", b"\x00", b"\xff\xfe", b"[", b"{}", b"null", b"[]", b'"', b"\xed\xa0\x80", b"nan")


def requests(seed: int) -> Iterator[bytes]:
    """The requests. The iterator never ends."""
    random = Random(seed)  # noqa: S311  # repeatable, not secret
    kinds: tuple[Callable[[Random], bytes], ...] = (
        _wrong_value, _wrong_envelope, _wrong_body, _wrong_bytes, _nested, _noise, _wrong_base64
    )  # fmt: skip
    while True:
        yield random.choice(kinds)(random)


def _records(random: Random) -> list[dict[str, Any]]:
    return [dict(random.choice(model.samples())) for _ in range(random.randint(1, 3))]


def _envelope(random: Random, body: str) -> dict[str, Any]:
    envelope: dict[str, Any] = {"body": body, "isBase64Encoded": False}
    if random.random() < 0.5:
        envelope["id"] = f"fuzz-{random.getrandbits(32)}"
    return envelope


def _written(value: Any) -> bytes:
    return json.dumps(value).encode()


def _wrong_value(random: Random) -> bytes:
    records = _records(random)
    record = random.choice(records)
    name = random.choice([*record, "colour", "", "\ud800", "é" * 500])
    if random.random() < 0.3:
        record.pop(name, None)
    else:
        record[name] = random.choice(_VALUES)
    return _written(_envelope(random, json.dumps(records)))


def _wrong_envelope(random: Random) -> bytes:
    envelope = _envelope(random, json.dumps(_records(random)))
    envelope[random.choice(["id", "body", "isBase64Encoded", "more"])] = random.choice(_VALUES)
    if random.random() < 0.3:
        envelope.pop(random.choice([*envelope]))
    return _written(random.choice([envelope, [envelope], random.choice(_VALUES)]))


def _wrong_body(random: Random) -> bytes:
    bodies: tuple[Any, ...] = (*_VALUES, _records(random)[0], [_VALUES], [{}] * 2000, [[]] * 3)
    return _written(_envelope(random, json.dumps(random.choice(bodies))))


def _wrong_bytes(random: Random) -> bytes:
    message = bytearray(_written(_envelope(random, json.dumps(_records(random)))))
    for _ in range(random.randint(1, 4)):
        at = random.randrange(len(message))
        match random.randrange(4):
            case 0:
                message[at] = random.randrange(256)
            case 1:
                del message[at : at + random.randint(1, 40)]
            case 2:
                message[at:at] = random.randbytes(random.randint(1, 8))
            case _:
                message[at:at] = message[at : at + 200]
        if not message:
            break
    return bytes(message)


def _nested(random: Random) -> bytes:
    depth = random.choice([100, 1_000, 10_000, 100_000] if random.random() < 0.02 else [100, 1_000])
    opened = random.choice(["[", '{"a":'])
    text = opened * depth
    return text.encode() if random.random() < 0.5 else _written(_envelope(random, text))


def _noise(random: Random) -> bytes:
    if random.random() < 0.5:
        return random.choice(_BYTES)
    luck = random.random()
    longest = 2**23 if luck < 0.0005 else 200_000 if luck < 0.005 else 400
    return random.randbytes(random.randrange(longest))


def _wrong_base64(random: Random) -> bytes:
    text = base64.b64encode(random.randbytes(random.randrange(200))).decode()
    body = random.choice([text, text + "=", text[1:], text + "é", "%" + text])
    return _written({**_envelope(random, body), "isBase64Encoded": True})
