"""The types of package aws-native, from the SDK: names, shapes, and CloudFormation's names.

The plugin knows them from CloudFormation's schemas, from which the SDK is generated as well.
"""

from __future__ import annotations

import collections.abc
import enum
import inspect
import json
import typing
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pulumi import _types
from pulumi_aws_native.greengrassv2 import component_version, deployment

from greenhouse.providers.protocol import schema
from greenhouse.providers.protocol.wire import UNKNOWN, Asset, Properties, Secret, Unknown


@dataclass(frozen=True, kw_only=True)
class NativeType:
    """One resource type."""

    kind: str
    """Pulumi's type token."""
    cfn: str
    args: type
    read_only: tuple[str, ...]
    identifier: str
    write_only: tuple[str, ...] = ()
    kept_read_only: frozenset[str] = frozenset()
    """The properties that a preview of an update knows, because they name the resource."""
    unordered: frozenset[str] = field(default_factory=frozenset)
    """Lists whose order means nothing, as paths of properties."""


TYPES = {
    one.kind: one
    for one in (
        NativeType(
            kind="aws-native:greengrassv2:ComponentVersion",
            cfn="AWS::GreengrassV2::ComponentVersion",
            args=component_version.ComponentVersionArgs,
            read_only=("arn", "componentName", "componentVersion"),
            identifier="arn",
            write_only=("inlineRecipe", "lambdaFunction"),
            kept_read_only=frozenset({"arn"}),
        ),
        NativeType(
            kind="aws-native:greengrassv2:Deployment",
            cfn="AWS::GreengrassV2::Deployment",
            args=deployment.DeploymentArgs,
            read_only=("deploymentId",),
            identifier="deploymentId",
            kept_read_only=frozenset({"deploymentId"}),
            unordered=frozenset({"iotJobConfiguration/abortConfig/criteriaList"}),
        ),
    )
}


def names(kind: NativeType) -> frozenset[str]:
    """The properties that a program can write."""
    return frozenset(schema.properties(kind.args))


def members(declared: Any) -> dict[str, Any] | None:
    """The properties of an object type with their types. None for every other type."""
    for one in schema.alternatives(declared):
        if _types.is_input_type(one):
            return schema.properties(one)
    return None


def item(declared: Any) -> Any:
    """The type of a list's items or a map's values. None for every other type."""
    for one in schema.alternatives(declared):
        if typing.get_origin(one) is collections.abc.Sequence:
            return typing.get_args(one)[0]
        if typing.get_origin(one) is collections.abc.Mapping:
            return typing.get_args(one)[1]
    return None


# What a program may write:


def failures(args: type, inputs: Properties) -> Iterator[tuple[str, str]]:
    """(property, reason) of what the plugin refuses, in its words."""
    known = schema.properties(args)
    for name in sorted(schema.required(args)):
        if inputs.get(name) is None:
            yield name, f"missing required property {name}"
    for name, value in inputs.items():
        if name in known:
            yield from _mismatches(known[name], value, name)
        else:
            yield name, f"unknown property {name}"


def _mismatches(declared: Any, value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Secret):
        value = value.value
    if isinstance(value, Unknown):
        return
    kind = _kind(declared)
    if not _fits(kind, value):
        yield path, f"{path} must be {kind}"
    elif kind == "an array":
        for index, one in enumerate(value):
            yield from _mismatches(item(declared), one, f"{path}[{index}]")
    elif kind == "an object":
        inside = members(declared)
        for name, one in value.items():
            if inside is None:
                yield from _mismatches(item(declared), one, f"{path}.{name}")
            elif name in inside:
                yield from _mismatches(inside[name], one, f"{path}/{name}")
            else:
                yield f"{path}.{name}", f"unknown property {path}.{name}"


def _kind(declared: Any) -> str:
    """What a value must be. An enum is a string, because the plugin doesn't check its values."""
    for one in schema.alternatives(declared):
        origin = typing.get_origin(one)
        if origin is collections.abc.Sequence:
            return "an array"
        if origin is collections.abc.Mapping or _types.is_input_type(one):
            return "an object"
        if inspect.isclass(one) and issubclass(one, enum.Enum):
            return "a string"
        if one in _KINDS:
            return _KINDS[one]
    return "anything"


_KINDS = {str: "a string", bool: "a boolean", int: "an integer", float: "a number"}


def _fits(kind: str, value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return {
        "a string": isinstance(value, str),
        "a boolean": isinstance(value, bool),
        "an integer": number and float(value).is_integer(),
        "a number": number,
        "an array": isinstance(value, list),
        "an object": isinstance(value, dict),
        "anything": True,
    }[kind]


def first_asset(value: Any, path: str = "") -> str | None:
    """The path of an asset. No resource here takes assets."""
    match value:
        case Asset():
            return path
        case Secret():
            return first_asset(value.value, path)
        case dict():
            inside = ((f"{path}.{name}" if path else name, one) for name, one in value.items())
        case list():
            inside = ((f"{path}[{index}]", one) for index, one in enumerate(value))
        case _:
            return None
    return next((found for name, one in inside if (found := first_asset(one, name))), None)


# CloudFormation's spelling:


class NotConvertible(Exception):
    """A value that can't be given to CloudFormation."""


def to_cfn(args: type, inputs: Properties) -> dict[str, Any]:
    """Plain inputs as CloudFormation's properties. Raises NotConvertible for unknown inputs."""
    return {
        _upper(name): _to_cfn(declared, inputs[name])
        for name, declared in schema.properties(args).items()
        if name in inputs
    }


def _to_cfn(declared: Any, value: Any) -> Any:
    if value is UNKNOWN:
        raise NotConvertible(f"Could not convert as type {_go_type(declared)}: <nil>")
    if isinstance(value, list):
        return [_to_cfn(item(declared), one) for one in value]
    if isinstance(value, dict):
        if inside := members(declared):
            return {_upper(name): _to_cfn(inside.get(name), one) for name, one in value.items()}
        return {name: _to_cfn(item(declared), one) for name, one in value.items()}
    return value


def _go_type(declared: Any) -> str:
    kind = _kind(declared)
    return kind.split(" ")[-1]


def to_sdk(args: type, properties: Properties) -> Properties:
    """CloudFormation's properties under the SDK's names, with those that the SDK doesn't know."""
    known = schema.properties(args)
    return {
        (name := _lower(given)): _to_sdk(known.get(name), value)
        for given, value in properties.items()
    }


def _to_sdk(declared: Any, value: Any) -> Any:
    if isinstance(value, list):
        return [_to_sdk(item(declared), one) for one in value]
    if isinstance(value, dict):
        if inside := members(declared):
            return {
                (name := _lower(given)): _to_sdk(inside.get(name), one)
                for given, one in value.items()
            }
        return {name: _to_sdk(item(declared), one) for name, one in value.items()}
    return value


def _upper(name: str) -> str:
    return name[:1].upper() + name[1:]


def _lower(name: str) -> str:
    return name[:1].lower() + name[1:]


# What of the live state are inputs:


def written_state(kind: NativeType, outputs: Properties) -> Properties:
    """The part of a resource's outputs that a program can write and AWS shows."""
    known = schema.properties(kind.args)
    return {
        name: _projected(declared, outputs[name])
        for name, declared in known.items()
        if name in outputs and name not in (*kind.read_only, *kind.write_only)
    }


def _projected(declared: Any, value: Any) -> Any:
    inside = members(declared)
    if inside is not None and isinstance(value, dict):
        return {name: _projected(inside[name], value[name]) for name in inside if name in value}
    if isinstance(value, list) and item(declared) is not None:
        return [_projected(item(declared), one) for one in value]
    return value


def baseline(
    kind: NativeType, old: Properties | None, outputs: Properties, new: Properties
) -> Properties:
    """The inputs that would make the live state, without what neither old nor new inputs name.

    AWS owns the omitted properties. The omission works only below an object type: a map's keys and
    a list's items belong to their author.
    """
    given = old or {}
    result = written_state(kind, outputs)
    for name in kind.write_only:
        if name in given:
            result[name] = given[name]
    return _pruned(dict(schema.properties(kind.args)), result, given, new)


def _pruned(declared: dict[str, Any], actual: Properties, old: Any, new: Any) -> Properties:
    kept: Properties = {}
    for name, value in actual.items():
        owned = _has(old, name) or _has(new, name)
        if not owned:
            continue
        inside = members(declared[name]) if name in declared else None
        below = inside is not None and isinstance(value, dict)
        kept[name] = (
            _pruned(inside, value, _get(old, name), _get(new, name)) if below and inside else value
        )
    return kept


def _has(container: Any, name: str) -> bool:
    container = container.value if isinstance(container, Secret) else container
    return isinstance(container, dict) and name in container


def _get(container: Any, name: str) -> Any:
    container = container.value if isinstance(container, Secret) else container
    return container.get(name) if isinstance(container, dict) else None


def same_inputs(kind: NativeType, live: Properties, new: Properties) -> bool:
    """Whether the new inputs ask for the live state.

    A secret differs from the same plain value. Tags are the exception: they are compared by their
    values, without the tags that AWS adds.
    """
    one, other = {**live}, {**new}
    tags = _tags(one.pop("tags", None), other.get("tags")) == _tags(other.pop("tags", None), None)
    return tags and _alike(one, other, "", kind.unordered)


def _tags(tags: Any, given: Any) -> Any:
    """Plain tags. AWS's tags count only if the program gives them."""
    tags, given = _plain(tags), _plain(given)
    if not isinstance(tags, dict):
        return tags or {}
    return {
        key: value
        for key, value in tags.items()
        if not key.startswith("aws:") or given is None or key in given
    }


def _plain(value: Any) -> Any:
    match value:
        case Secret():
            return _plain(value.value)
        case dict():
            return {key: _plain(one) for key, one in value.items()}
        case _:
            return value


def _alike(one: Any, other: Any, path: str, unordered: frozenset[str]) -> bool:
    match one, other:
        case (Unknown(), _) | (_, Unknown()):
            return False
        case Secret(), Secret():
            return _alike(one.value, other.value, path, unordered)
        case dict(), dict():
            return one.keys() == other.keys() and all(
                _alike(one[name], other[name], f"{path}/{name}" if path else name, unordered)
                for name in one
            )
        case list(), list():
            if path in unordered:
                one, other = sorted(one, key=_order), sorted(other, key=_order)
            return len(one) == len(other) and all(
                _alike(*pair, f"{path}/*", unordered) for pair in zip(one, other, strict=True)
            )
        case _:
            return type(one) is type(other) and bool(one == other)


def _order(value: Any) -> str:
    return json.dumps(_plain(value), sort_keys=True, default=str)


def refreshed(kind: NativeType, old: Properties, live: Properties) -> Properties:
    """The inputs after a refresh: the old inputs unchanged, except where the live state differs."""
    result: Properties = {}
    for name, value in old.items():
        if name not in live:
            continue
        if name == "tags":
            told = _tags(live[name], value)
            if told == _plain(value):
                result[name] = value
            elif told:
                result[name] = told
        else:
            same = _alike(value, live[name], name, kind.unordered)
            result[name] = value if same else live[name]
    return result
