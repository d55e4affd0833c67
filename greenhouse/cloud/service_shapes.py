"""Turns HTTP into Python values and back, by botocore's own model of a service.

The model defines routes, where a member travels, what is required, limits, patterns and status
codes. This module doesn't know what an operation does.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from botocore.loaders import Loader
from botocore.model import ListShape, MapShape, OperationModel, ServiceModel, Shape, StructureShape

from greenhouse.cloud.errors import ApiError, ValidationException

_LABEL = re.compile(r"\{(\w+)(\+?)\}")


@dataclass(frozen=True)
class _Route:
    method: str
    path: re.Pattern[str]
    operation: str


@dataclass
class _Findings:
    """What is wrong with a value, by the place where it was found."""

    fields: list[dict[str, str]] = field(default_factory=list)

    def add(self, place: str, constraint: str) -> None:
        self.fields.append({"name": place, "message": constraint})

    def raise_any(self) -> None:
        if self.fields:
            found = "; ".join(
                f"Value at '{one['name']}' failed to satisfy constraint: {one['message']}"
                for one in self.fields
            )
            raise ValidationException(
                f"{len(self.fields)} validation error(s) detected: {found}",
                reason="FIELD_VALIDATION_FAILED",
                fields=self.fields,
            )


class ServiceShapes:
    """The operations and shapes of a service."""

    def __init__(self, service: str = "greengrassv2") -> None:
        described = Loader().load_service_model(service, "service-2")
        self._service = ServiceModel(described, service)
        self._routes = [_route(self.operation(name)) for name in self._service.operation_names]

    def has(self, operation: str) -> bool:
        return operation in self._service.operation_names

    def shape(self, name: str) -> Shape:
        return self._service.shape_for(name)

    def operation(self, name: str) -> OperationModel:
        return self._service.operation_model(name)

    def route(self, method: str, path: str) -> tuple[str, dict[str, str]] | None:
        """The operation behind a raw (still encoded) path, with the labels in it."""
        for route in self._routes:
            if route.method == method and (found := route.path.fullmatch(path)):
                return route.operation, {
                    name: unquote(value) for name, value in found.groupdict().items()
                }
        return None

    def read(
        self,
        operation: str,
        *,
        labels: Mapping[str, str],
        query: Mapping[str, list[str]],
        body: bytes,
    ) -> dict[str, Any]:
        """The operation's input by member name. Raises ValidationException."""
        shape = self.operation(operation).input_shape
        if not isinstance(shape, StructureShape):
            return {}
        document = _document(body)
        raw: dict[str, Any] = {}
        for name, member in shape.members.items():
            wire = member.serialization.get("name", name)
            match member.serialization.get("location"):
                case "uri":
                    raw[name] = labels.get(wire)
                case "querystring":
                    raw[name] = _from_query(member, query.get(wire))
                case "header":
                    continue  # Only GetComponentVersionArtifact has one.
                case _:
                    raw[name] = document.get(wire)
        checked: dict[str, Any] = self._checked(shape, raw)
        return checked

    def check(self, shape: str, value: Any) -> Any:
        """A value of a named shape, for example in a device's report.

        Raises ValidationException.
        """
        return self._checked(self._service.shape_for(shape), value)

    @staticmethod
    def _checked(shape: Shape, raw: Any) -> Any:
        findings = _Findings()
        value = _read(shape, raw, "", findings)
        findings.raise_any()
        return value

    def write(self, operation: str, result: Mapping[str, Any]) -> tuple[int, bytes]:
        """Status code and body of an operation's answer."""
        model = self.operation(operation)
        status = int(model.http.get("responseCode", 200))
        if model.output_shape is None:
            return status, b""
        return status, json.dumps(_write(model.output_shape, result)).encode()

    def status_of(self, error: ApiError) -> int:
        shape = self._service.shape_for(type(error).__name__)
        return int(shape.metadata["error"]["httpStatusCode"])


def _route(operation: OperationModel) -> _Route:
    pattern, end = "", 0
    uri = operation.http["requestUri"]
    for label in _LABEL.finditer(uri):
        anything = ".+" if label.group(2) else "[^/]+"
        pattern += re.escape(uri[end : label.start()]) + f"(?P<{label.group(1)}>{anything})"
        end = label.end()
    pattern += re.escape(uri[end:])
    return _Route(operation.http["method"], re.compile(pattern), operation.name)


def _document(body: bytes) -> dict[str, Any]:
    if not body:
        return {}
    try:
        document = json.loads(body)
    except ValueError as error:
        raise ValidationException(
            f"the request's body is not JSON: {error}", reason="CANNOT_PARSE"
        ) from error
    if not isinstance(document, dict):
        raise ValidationException("the request's body is no JSON object", reason="CANNOT_PARSE")
    return document


def _from_query(shape: Shape, values: list[str] | None) -> Any:
    if values is None or isinstance(shape, ListShape):
        return values
    if shape.type_name == "integer" and re.fullmatch(r"-?\d+", values[-1]):
        return int(values[-1])
    return values[-1]


def _read(shape: Shape, raw: Any, place: str, findings: _Findings) -> Any:
    """The value if it has the shape. Otherwise None, with a finding."""
    reader = _READERS.get(shape.type_name, _read_string)
    value = reader(shape, raw, place, findings)
    if value is not None:
        _check_limits(shape, value, place, findings)
    return value


def _read_structure(shape: Shape, raw: Any, place: str, findings: _Findings) -> Any:
    assert isinstance(shape, StructureShape)  # noqa: S101  # narrows for mypy; the table says so
    if not isinstance(raw, dict):
        return findings.add(place, "Member must be an object")
    value: dict[str, Any] = {}
    for name, member in shape.members.items():
        inner = f"{place}.{name}" if place else name
        if raw.get(name) is not None:
            value[name] = _read(member, raw[name], inner, findings)
        elif name in shape.required_members:
            findings.add(inner, "Member must not be null")
    return value


def _read_map(shape: Shape, raw: Any, place: str, findings: _Findings) -> Any:
    assert isinstance(shape, MapShape)  # noqa: S101  # narrows for mypy; the table says so
    if not isinstance(raw, dict):
        return findings.add(place, "Member must be an object")
    return {
        _read(shape.key, key, f"{place}.{key}", findings): _read(
            shape.value, value, f"{place}.{key}", findings
        )
        for key, value in raw.items()
    }


def _read_list(shape: Shape, raw: Any, place: str, findings: _Findings) -> Any:
    assert isinstance(shape, ListShape)  # noqa: S101  # narrows for mypy; the table says so
    if not isinstance(raw, list):
        return findings.add(place, "Member must be a list")
    return [
        _read(shape.member, one, f"{place}.{index + 1}.member", findings)
        for index, one in enumerate(raw)
    ]


def _read_blob(_shape: Shape, raw: Any, place: str, findings: _Findings) -> Any:
    try:
        return base64.b64decode(raw, validate=True)
    except (TypeError, binascii.Error):
        return findings.add(place, "Member must be base64")


def _read_boolean(_shape: Shape, raw: Any, place: str, findings: _Findings) -> Any:
    return raw if isinstance(raw, bool) else findings.add(place, "Member must be true or false")


def _read_whole(_shape: Shape, raw: Any, place: str, findings: _Findings) -> Any:
    if isinstance(raw, int) and not isinstance(raw, bool):
        return raw
    return findings.add(place, "Member must be a whole number")


def _read_number(_shape: Shape, raw: Any, place: str, findings: _Findings) -> Any:
    if isinstance(raw, int | float) and not isinstance(raw, bool):
        return raw
    return findings.add(place, "Member must be a number")


def _read_string(_shape: Shape, raw: Any, place: str, findings: _Findings) -> Any:
    return raw if isinstance(raw, str) else findings.add(place, "Member must be a string")


_READERS: dict[str, Callable[[Shape, Any, str, _Findings], Any]] = {
    "structure": _read_structure,
    "map": _read_map,
    "list": _read_list,
    "blob": _read_blob,
    "boolean": _read_boolean,
    "integer": _read_whole,
    "long": _read_whole,
    "double": _read_number,
    "timestamp": _read_number,
}


def _check_limits(shape: Shape, value: Any, place: str, findings: _Findings) -> None:
    """Check every limit. botocore's client checks `min` and types only."""
    limits = shape.metadata
    number = isinstance(value, int | float)
    size = value if number else len(value)
    what = "value" if number else "length"
    if "min" in limits and size < limits["min"]:
        findings.add(place, f"Member must have {what} greater than or equal to {limits['min']}")
    if "max" in limits and size > limits["max"]:
        findings.add(place, f"Member must have {what} less than or equal to {limits['max']}")
    if not isinstance(value, str):
        return
    if "enum" in limits and value not in limits["enum"]:
        findings.add(place, f"Member must satisfy enum value set: [{', '.join(limits['enum'])}]")
    if "pattern" in limits and not re.fullmatch(limits["pattern"], value):
        findings.add(place, f"Member must satisfy regular expression pattern: {limits['pattern']}")


def _write(shape: Shape, value: Any) -> Any:
    """The JSON form.

    If the model lacks a member or requires one that is missing, we made a mistake.
    """
    if isinstance(shape, StructureShape):
        unknown = value.keys() - shape.members.keys()
        absent = [name for name in shape.required_members if value.get(name) is None]
        if unknown or absent:
            raise TypeError(f"{shape.name}: not in the model {unknown}, required {absent}")
        return {
            member.serialization.get("name", name): _write(member, value[name])
            for name, member in shape.members.items()
            if value.get(name) is not None
        }
    if isinstance(shape, ListShape):
        return [_write(shape.member, one) for one in value]
    if isinstance(shape, MapShape):
        return {key: _write(shape.value, one) for key, one in value.items()}
    if shape.type_name == "blob":
        return base64.b64encode(value).decode()
    return value
