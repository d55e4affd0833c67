"""Parses `pulumi preview --json`. Of Pulumi's state it keeps inputs and outputs only.

Pulumi's engine writes a fixed UUID for an unknown value, and `[secret]` for a secret. With
`--show-secrets` a preview has secrets in clear text, in a wrapper with a signature. They are masked
here, so nothing after this module can print one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

# From sdk/go/common/resource/plugin/rpc.go and sdk/go/common/resource/sig/sig.go.
UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
_SIGNATURE, _SECRET = "4dabf18193072939515e22adb298388d", "1b47061264138c4ac30d75fd1eb44270"
MASKED = "[secret]"
# Pulumi says this after the program's own error, which says why.
EXITED = "an unhandled error occurred: program exited with non-zero exit code"
_OPERATIONS = {"create", "update", "replace", "delete", "same", "import"}


class NoPreview(Exception):
    """The text is no preview. The message says why."""


class Refused(NoPreview):
    """The program or Pulumi's engine refused the preview, with this message."""


@dataclass(frozen=True, kw_only=True)
class Resource:
    """One resource before and after. An empty mapping means that it isn't there."""

    op: str
    type: str
    name: str
    before: Mapping[str, Any]  # The inputs before.
    after: Mapping[str, Any]
    stood: Mapping[str, Any]  # The outputs before.

    @property
    def changes(self) -> bool:
        return self.op != "same"


@dataclass(frozen=True, kw_only=True)
class Preview:
    """A preview of an update or of a destroy."""

    project: str
    stack: str
    resources: tuple[Resource, ...]
    config: Mapping[str, str]
    findings: tuple[str, ...]  # The program's warnings.

    def of_type(self, ending: str) -> Iterator[Resource]:
        return (one for one in self.resources if one.type.endswith(ending))

    def first(self, ending: str) -> Resource | None:
        return next(self.of_type(ending), None)

    @cached_property
    def destroys(self) -> bool:
        stack = self.first("pulumi:pulumi:Stack")
        return stack is not None and stack.op == "delete"


def read(text: str) -> Preview:
    """Parse a text. Raises NoPreview, and Refused if it has errors of the program."""
    try:
        document = json.loads(text)
        steps = document.get("steps", [])
        said = document.get("diagnostics") or []
    except (ValueError, AttributeError) as error:
        raise NoPreview(f"this is not what pulumi preview --json prints: {error}") from error
    errors = [one["message"].strip() for one in said if one.get("severity") == "error"]
    if errors:
        raise Refused("\n".join([one for one in errors if EXITED not in one] or errors))
    resources = [_resource(step) for step in steps if step["op"] in _OPERATIONS]
    if not (stacks := [one for one in steps if _type(one["urn"]) == "pulumi:pulumi:Stack"]):
        raise NoPreview("the preview has no stack in it: pulumi preview --json --stack NAME")
    stack, project = stacks[0]["urn"].removeprefix("urn:pulumi:").split("::")[:2]
    return Preview(
        project=project,
        stack=stack,
        resources=tuple(sorted(resources, key=lambda one: (one.type, one.name))),
        config={
            key: value if isinstance(value, str) else MASKED
            for key, value in (document.get("config") or {}).items()
        },
        findings=tuple(
            sorted({one["message"].strip() for one in said if one.get("severity") == "warning"})
        ),
    )


def _resource(step: Mapping[str, Any]) -> Resource:
    before, after = step.get("oldState") or {}, step.get("newState") or {}
    return Resource(
        op=step["op"],
        type=_type(step["urn"]),
        name=step["urn"].split("::")[-1],
        before=_masked(before.get("inputs") or {}),
        after=_masked(after.get("inputs") or {}),
        stood=_masked(before.get("outputs") or {}),
    )


def _type(urn: str) -> str:
    """The resource's own type, without its parents' types."""
    return urn.split("::")[2].rpartition("$")[2]


def _masked(value: Any) -> Any:
    if isinstance(value, dict):
        if value.get(_SIGNATURE) == _SECRET:
            return MASKED
        return {key: _masked(one) for key, one in value.items() if key != _SIGNATURE}
    return [_masked(one) for one in value] if isinstance(value, list) else value
