"""A value crosses the wire unchanged."""

from __future__ import annotations

import pytest
from google.protobuf.struct_pb2 import Struct  # type: ignore[import-untyped]
from hypothesis import given, settings
from hypothesis import strategies as st

from greenhouse.providers.protocol.wire import (
    UNKNOWN,
    Archive,
    Asset,
    Secret,
    Unknown,
    decode,
    encode,
    has_unknown,
    keep_secret,
    plain,
    same,
)

SIGNATURE = "4dabf18193072939515e22adb298388d"
HASH = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

assets = st.builds(Asset, hash=st.just(HASH), path=st.text(min_size=1)) | st.builds(
    Asset, hash=st.just(HASH), text=st.text()
)
scalars = (
    st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.just(UNKNOWN)
    | assets
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner)
    | st.dictionaries(st.text().filter(lambda key: key != SIGNATURE), inner)
    | inner.map(Secret),
    max_leaves=20,
)


@settings(max_examples=50)
@given(st.dictionaries(st.text(), values))
def test_values_survive_the_wire(properties: dict[str, object]) -> None:
    assert decode(encode({k: v for k, v in properties.items() if k != SIGNATURE})) == {
        k: v for k, v in properties.items() if k != SIGNATURE
    }


def test_signatures_are_those_that_the_engine_writes() -> None:
    wire = Struct()
    wire.update(
        {
            "secret": {SIGNATURE: "1b47061264138c4ac30d75fd1eb44270", "value": "s"},
            "asset": {SIGNATURE: "c44067f5952c0a294b673a41bacd8c17", "path": "a", "hash": HASH},
            "archive": {SIGNATURE: "0def7320c3a5731c473e5ecbe6d01bc7", "path": "b", "hash": HASH},
            "output": {SIGNATURE: "d0e6a833031e9bbcd3f4e8bde6ca49a4", "value": 3},
            "coming": {SIGNATURE: "d0e6a833031e9bbcd3f4e8bde6ca49a4", "dependencies": ["urn"]},
            "unknown": "04da6b54-80e4-46f7-96ec-b56ff0331ba9",
            "unset": None,
        }
    )
    assert decode(wire) == {
        "secret": Secret("s"),
        "asset": Asset(path="a", hash=HASH),
        "archive": Archive(path="b", hash=HASH),
        "output": 3,
        "coming": UNKNOWN,
        "unknown": UNKNOWN,
    }


def test_a_value_of_an_unknown_kind_is_an_error_not_a_dict() -> None:
    wire = Struct()
    wire.update({"new": {SIGNATURE: "cafe", "value": 1}})
    with pytest.raises(ValueError, match="cafe"):
        decode(wire)


def test_whole_numbers_come_back_as_integers() -> None:
    found = decode(encode({"n": 30, "x": 0.5}))
    assert found == {"n": 30, "x": 0.5}
    assert isinstance(found["n"], int), "boto3 refuses 30.0 where it wants a whole number"


def test_secret_in_is_secret_out() -> None:
    given_ = {"registry": {"password": Secret("p"), "user": "u"}, "list": ["a", Secret("b")]}
    opened = plain(given_)
    assert opened == {"registry": {"password": "p", "user": "u"}, "list": ["a", "b"]}
    assert keep_secret({**opened, "arn": "x"}, given_) == {**given_, "arn": "x"}


def test_a_list_that_lost_its_order_is_secret_as_a_whole() -> None:
    assert keep_secret(["b"], ["a", Secret("b")]) == Secret(["b"])


def test_unknowns_are_found_at_any_depth() -> None:
    assert has_unknown({"a": [Secret({"b": UNKNOWN})]})
    assert not has_unknown({"a": [Secret({"b": 1})]})
    assert isinstance(plain(Secret(UNKNOWN)), Unknown)


def test_assets_are_the_same_when_their_bytes_are() -> None:
    old, moved = Asset(path="a", hash=HASH), Asset(path="/elsewhere/a", hash=HASH)
    assert same({"source": old}, {"source": moved}), "Diff gets no path at all"
    assert not same({"source": old}, {"source": Asset(path="a", hash="0" * 64)})


def test_true_is_not_one() -> None:
    assert not same({"a": True}, {"a": 1})
