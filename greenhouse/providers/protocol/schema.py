"""Checks a resource's inputs against the SDK with which the program is written.

The plugin and the Python SDK are generated from one schema. So the SDK's `…Args` classes know names
and types as well as the plugin. This check is stricter in one respect: the plugin would turn `1`
into `"1"`, which is refused here.
"""

from __future__ import annotations

import collections.abc
import enum
import inspect
import types
import typing
from collections.abc import Iterator
from functools import cache
from typing import Any

import pulumi
from pulumi import _types

from greenhouse.providers.protocol.wire import Archive, Asset, Properties, Unknown

_SCALARS: dict[type, tuple[type, ...]] = {
    str: (str,),
    bool: (bool,),
    int: (int,),
    float: (int, float),
    pulumi.Asset: (Asset,),
    pulumi.Archive: (Archive,),
}


@cache
def properties(args: type) -> dict[str, Any]:
    """Input names as on the wire, with their Python types."""
    return dict(_types.input_type_types(args))


@cache
def required(args: type) -> frozenset[str]:
    """The inputs that can't be left out."""
    names = _types.input_type_py_to_pulumi_names(args)
    parameters = list(inspect.signature(args).parameters.values())
    return frozenset(names[p.name] for p in parameters if p.default is p.empty)


def problems(args: type, value: Properties, where: str = "") -> Iterator[tuple[str, str]]:
    """(path, reason) for everything in `value` that the SDK's class would not accept."""
    known = properties(args)
    for name in sorted(required(args) - value.keys()):
        yield where + name, "is required"
    for name, item in value.items():
        if name not in known:
            yield where + name, f"is not a property; there are: {', '.join(sorted(known))}"
        else:
            yield from _mismatches(known[name], item, where + name)


def _mismatches(declared: Any, value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Unknown):
        return
    possible = list(alternatives(declared))
    findings: list[tuple[str, str]] = []
    for alternative in possible:
        found = list(_mismatch(alternative, value, path))
        if not found:
            return
        findings = findings or [finding for finding in found if finding[0] != path]
    names = " or ".join(_name(alternative) for alternative in possible)
    yield from findings or [(path, f"must be {names}")]  # Without the value, which may be secret.


def _mismatch(declared: Any, value: Any, path: str) -> Iterator[tuple[str, str]]:
    origin, arguments = typing.get_origin(declared), typing.get_args(declared)
    if declared is Any:
        return
    if origin is collections.abc.Mapping and isinstance(value, dict):
        for key, item in value.items():
            yield from _mismatches(arguments[1], item, f"{path}.{key}")
    elif origin is collections.abc.Sequence and isinstance(value, list):
        for index, item in enumerate(value):
            yield from _mismatches(arguments[0], item, f"{path}[{index}]")
    elif _types.is_input_type(declared) and isinstance(value, dict):
        yield from problems(declared, value, f"{path}.")
    elif inspect.isclass(declared) and issubclass(declared, enum.Enum):
        if value not in [member.value for member in declared]:
            yield path, "is none of the values"
    elif not (declared in _SCALARS and isinstance(value, _SCALARS[declared])) or (
        isinstance(value, bool) and declared is not bool
    ):
        yield path, "has another type"


def alternatives(declared: Any) -> Iterator[Any]:
    """The members of a union that matter outside a program (no Output, no Awaitable)."""
    origin = typing.get_origin(declared)
    if origin in (typing.Union, types.UnionType):
        for member in typing.get_args(declared):
            yield from alternatives(member)
    elif origin not in (collections.abc.Awaitable, pulumi.Output) and declared is not type(None):
        yield declared


def _name(declared: Any) -> str:
    origin = typing.get_origin(declared)
    if origin is collections.abc.Mapping:
        return "a map"
    if origin is collections.abc.Sequence:
        return "a list"
    if inspect.isclass(declared) and issubclass(declared, enum.Enum):
        return " or ".join(repr(member.value) for member in declared)
    if _types.is_input_type(declared):
        return "an object"
    return {str: "a string", bool: "true or false", int: "a whole number", float: "a number"}.get(
        declared, f"an {declared.__name__.lower()}"
    )
