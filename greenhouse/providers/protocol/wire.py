"""Converts property values between the engine's protocol and Python types.

On the wire a value is a protobuf Struct, in which a signature key marks secrets, assets and
unknowns. Here these are types, so that no other code has to know the signatures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.json_format import MessageToDict, ParseDict  # type: ignore[import-untyped]
from google.protobuf.struct_pb2 import Struct  # type: ignore[import-untyped]
from pulumi.runtime import rpc

Properties = dict[str, Any]

_SIGNATURE = rpc._special_sig_key


class Unknown:
    """A value that exists only after the update. It appears in previews."""

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN: Final = Unknown()


@dataclass(frozen=True)
class Secret:
    """A value that the engine encrypts in its state."""

    value: Any


@dataclass(frozen=True, kw_only=True)
class Asset:
    """A file or a text. Diff and Read get only its sha256."""

    hash: str = ""
    path: str | None = None
    text: str | None = None
    uri: str | None = None


@dataclass(frozen=True, kw_only=True)
class Archive:
    """A folder, a file or a map of assets."""

    hash: str = ""
    path: str | None = None
    uri: str | None = None
    assets: Properties | None = None


_FILES = {Asset: rpc._special_asset_sig, Archive: rpc._special_archive_sig}


def decode(struct: Struct) -> Properties:
    """The Struct's properties. Nulls in objects mean "not set" and are left out."""
    return _decode_object(MessageToDict(struct))


def encode(properties: Mapping[str, Any]) -> Struct:
    """The Struct of these properties. None means "not set"."""
    return ParseDict(_encode(properties), Struct())


def _decode_object(wire: Mapping[str, Any]) -> Properties:
    return {key: _decode(value) for key, value in wire.items() if value is not None}


def _decode(wire: Any) -> Any:
    match wire:
        case rpc.UNKNOWN:
            return UNKNOWN
        case float() if wire.is_integer():
            return int(wire)  # A Struct has only doubles.
        case list():
            return [_decode(item) for item in wire]
        case dict():
            return _decode_special(wire) if _SIGNATURE in wire else _decode_object(wire)
        case _:
            return wire


def _decode_special(wire: Mapping[str, Any]) -> Any:
    fields = {key: value for key, value in wire.items() if key != _SIGNATURE}
    match wire[_SIGNATURE]:
        case rpc._special_secret_sig:
            return Secret(_decode(fields.get("value")))
        case rpc._special_output_value_sig:
            value = _decode(fields["value"]) if "value" in fields else UNKNOWN
            return Secret(value) if fields.get("secret") else value
        case rpc._special_asset_sig:
            return Asset(**fields)
        case rpc._special_archive_sig:
            assets = fields.pop("assets", None)
            return Archive(**fields, assets=assets and _decode_object(assets))
        case signature:
            raise ValueError(f"a value of an unknown kind, {signature}, with {sorted(fields)}")


def _encode(value: Any) -> Any:
    match value:
        case Unknown():
            return rpc.UNKNOWN
        case Secret():
            return {_SIGNATURE: rpc._special_secret_sig, "value": _encode(value.value)}
        case Asset() | Archive():
            fields = {
                key: _encode(field) for key, field in vars(value).items() if field is not None
            }
            return {_SIGNATURE: _FILES[type(value)], **fields}
        case Mapping():
            return {key: _encode(item) for key, item in value.items() if item is not None}
        case list() | tuple():
            return [_encode(item) for item in value]
        case _:
            return value


def plain(value: Any) -> Any:
    """The value without its secret marks, for calls to the account."""
    match value:
        case Secret():
            return plain(value.value)
        case dict():
            return {key: plain(item) for key, item in value.items()}
        case list():
            return [plain(item) for item in value]
        case _:
            return value


def has_unknown(value: Any) -> bool:
    """Whether any part of it is unknown."""
    match value:
        case Unknown():
            return True
        case Secret():
            return has_unknown(value.value)
        case dict():
            return any(map(has_unknown, value.values()))
        case list():
            return any(map(has_unknown, value))
        case _:
            return False


def keep_secret(value: Any, like: Any) -> Any:
    """`value` (plain) with a secret wherever `like` has one: secret in, secret out."""
    match like, value:
        case Secret(), _:
            return Secret(value)
        case dict(), dict():
            return {key: keep_secret(item, like.get(key)) for key, item in value.items()}
        case list(), list() if len(like) == len(value):
            return [keep_secret(item, was) for item, was in zip(value, like, strict=True)]
        case list(), list() if any(isinstance(was, Secret) for was in like):
            return Secret(value)  # The items can no longer be told apart.
        case _:
            return value


def same(old: Any, new: Any) -> bool:
    """Whether two plain values are equal. Assets are equal if their contents are."""
    match old, new:
        case (Asset(), Asset()) | (Archive(), Archive()):
            return bool(old.hash == new.hash)
        case dict(), dict():
            return old.keys() == new.keys() and all(same(old[key], new[key]) for key in old)
        case list(), list():
            return len(old) == len(new) and all(map(same, old, new))
        case _:
            return bool(old == new) and isinstance(old, bool) is isinstance(new, bool)
