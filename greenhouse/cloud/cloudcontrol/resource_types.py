"""The two resource types of AWS::GreengrassV2 as CloudFormation describes them.

Their properties are greengrassv2's own members with a capital letter, so botocore's model gives
names, types, limits and patterns. This module holds what only CloudFormation's schemas say: the
properties that can't be changed, those that only AWS writes, and those that name the resource.

https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/AWS_GreengrassV2.html
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from botocore.model import ListShape, MapShape, Shape, StructureShape
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from jsonschema.exceptions import ValidationError  # type: ignore[import-untyped]

from greenhouse.cloud.service_shapes import ServiceShapes

# There, a deployment's components need no version. The service itself requires one.
_OPTIONAL = {"ComponentDeploymentSpecification": {"componentVersion"}}
_MAX_TAG_VALUE = 256
_LIMITS = {
    "string": {"min": "minLength", "max": "maxLength", "pattern": "pattern", "enum": "enum"},
    "list": {"min": "minItems", "max": "maxItems"},
    "integer": {"min": "minimum", "max": "maximum"},
    "long": {"min": "minimum", "max": "maximum"},
    "double": {"min": "minimum", "max": "maximum"},
}
_JSON_TYPES = {
    "string": "string",
    "blob": "string",
    "boolean": "boolean",
    "integer": "integer",
    "long": "integer",
    "double": "number",
}


@dataclass(frozen=True)
class ResourceType:
    """One type: its name, the greengrassv2 shape of its properties, and their writers."""

    name: str
    shapes: ServiceShapes
    request: str
    """The shape of the greengrassv2 request that makes a resource."""
    identifier: str
    read_only: frozenset[str]
    write_only: frozenset[str] = frozenset()

    @cached_property
    def _shape(self) -> StructureShape:
        shape = self.shapes.shape(self.request)
        assert isinstance(shape, StructureShape)  # noqa: S101  # narrows for mypy: it is a request
        return shape

    @cached_property
    def properties(self) -> frozenset[str]:
        """The properties that a caller can give."""
        return frozenset(cfn(name) for name in self._shape.members if name != "clientToken")

    @property
    def create_only(self) -> frozenset[str]:
        """Every property but the tags."""
        return self.properties - {"Tags"}

    @cached_property
    def _validator(self) -> Draft202012Validator:
        schema = _schema(self._shape)
        del schema["properties"]["ClientToken"]
        schema["properties"] |= {name: {"type": "string"} for name in self.read_only}
        return Draft202012Validator(schema)

    def problems(self, properties: Mapping[str, Any]) -> list[str]:
        """What CloudFormation's validator says about the properties, in its words."""
        return [_told(found) for found in self._validator.iter_errors(properties)]

    def to_service(self, properties: Mapping[str, Any]) -> dict[str, Any]:
        """CloudFormation's properties as members of the greengrassv2 request."""
        request: dict[str, Any] = _recased(self._shape, properties, to_cfn=False)
        return request

    def from_service(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        """Those members of a greengrassv2 answer that the request names too, as properties."""
        known = {name: answer[name] for name in self._shape.members if name in answer}
        properties: dict[str, Any] = _recased(self._shape, known, to_cfn=True)
        return properties


def cfn(name: str) -> str:
    """`targetArn` as CloudFormation writes it: `TargetArn`."""
    return name[0].upper() + name[1:]


def _schema(shape: Shape) -> dict[str, Any]:
    if isinstance(shape, StructureShape):
        required = set(shape.required_members) - _OPTIONAL.get(shape.name, set())
        return {
            "type": "object",
            "properties": {cfn(name): _schema(one) for name, one in shape.members.items()},
            "required": sorted(map(cfn, required)),
            "additionalProperties": False,
        }
    if isinstance(shape, MapShape):
        value = _schema(shape.value)
        if shape.name == "TagMap":
            value["maxLength"] = _MAX_TAG_VALUE
        return {"type": "object", "additionalProperties": value}
    limits = {
        keyword: shape.metadata[limit]
        for limit, keyword in _LIMITS.get(shape.type_name, {}).items()
        if limit in shape.metadata
    }
    if isinstance(shape, ListShape):
        return {"type": "array", "items": _schema(shape.member), **limits}
    if "pattern" in limits:
        limits["pattern"] = f"^(?:{limits['pattern']})$"
    return {"type": _JSON_TYPES[shape.type_name], **limits}


def _told(found: ValidationError) -> str:
    """The text of everit, the validator that CloudFormation's handlers use."""
    place = "/".join(["#", *map(str, found.absolute_path)])
    value, limit = found.instance, found.validator_value
    match found.validator:
        case "required":
            missing = next(name for name in limit if name not in value)
            return f"{place}: required key [{missing}] not found"
        case "additionalProperties":
            extra = sorted(value.keys() - found.schema["properties"].keys())
            return f"{place}: extraneous key [{extra[0]}] is not permitted"
        case "enum":
            return f"{place}: {value} is not a valid enum value"
        case "type":
            return f"{place}: expected type: {cfn(str(limit))}, found: {_kind(value)}"
        case "minLength" | "maxLength":
            return f"{place}: expected {found.validator}: {limit}, actual: {len(value)}"
        case keyword:
            return f"{place}: failed validation constraint for keyword [{keyword}]"


def _kind(value: Any) -> str:
    names = {str: "String", bool: "Boolean", int: "Integer", float: "BigDecimal", list: "JSONArray"}
    return "Null" if value is None else names.get(type(value), "JSONObject")


def _recased(shape: Shape, value: Any, *, to_cfn: bool) -> Any:
    """Names of members in the other spelling. Keys of maps are data and don't change."""
    if isinstance(shape, StructureShape):
        names = {name: cfn(name) for name in shape.members}
        return {
            (names[name] if to_cfn else name): _recased(member, value[given], to_cfn=to_cfn)
            for name, member in shape.members.items()
            if (given := name if to_cfn else names[name]) in value
        }
    if isinstance(shape, ListShape):
        return [_recased(shape.member, one, to_cfn=to_cfn) for one in value]
    if isinstance(shape, MapShape):
        return {key: _recased(shape.value, one, to_cfn=to_cfn) for key, one in value.items()}
    return value
