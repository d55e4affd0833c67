"""Replaces recipe variables in lifecycle scripts, as the Java nucleus does.

`{configuration:/pointer}`, `{artifacts:path}`, `{artifacts:decompressedPath}`, `{work:path}`,
`{kernel:rootPath}`, `{iot:thingName}`, and the first two behind the name of a direct dependency. A
value is inserted raw, an object or list as its JSON with sorted keys. What names nothing doesn't
change: `${NOPE:-x}` and `{foo:bar}` alike (conformance java-interp-bad-3). A pointer without its
slash fails the deployment (java-interp-bad). Unlike elsewhere, keys count in their own spelling
only (KernelConfigResolver reads them with Jackson's `JsonNode.at`).
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from greenhouse.device.recipe.configuration import pointer
from greenhouse.device.recipe.recipes import Script, Step

log = logging.getLogger(__name__)

_OWN = re.compile(r"\{([.\w-]+):([^:}]*)\}")  # From KernelConfigResolver.
_OTHER = re.compile(r"\{([.\w-]+):([.\w-]+):([^:}]*)\}")


@dataclass(frozen=True)
class Names:
    """What a component's variables stand for."""

    configuration: Mapping[str, Any]
    artifacts: Path
    unarchived: Path
    work: Path
    root: Path
    thing: str

    def value(self, namespace: str, key: str) -> str | None:
        """The text for `{namespace:key}`, or None if it names nothing."""
        if namespace == "configuration":
            try:
                return _text(_at(self.configuration, pointer(key)))
            except LookupError:
                return None
        fixed = {
            ("artifacts", "path"): self.artifacts,
            ("artifacts", "decompressedPath"): self.unarchived,
            ("work", "path"): self.work,
            ("kernel", "rootPath"): self.root,
            ("iot", "thingName"): self.thing,
        }
        found = fixed.get((namespace, key))
        return None if found is None else str(found)


def interpolate(text: str, own: Names, dependencies: Mapping[str, Names]) -> str:
    """The text with its variables replaced, the component's own first. Raises BadPointer."""

    def dependency(match: re.Match[str]) -> str | None:
        name, namespace, key = match.groups()
        if name not in dependencies or namespace not in ("configuration", "artifacts"):
            return None
        return dependencies[name].value(namespace, key)

    text = _replaced(text, _OWN, lambda match: own.value(match[1], match[2]))
    return _replaced(text, _OTHER, dependency)


def render(_step: Step, script: Script, own: Names, dependencies: Mapping[str, Names]) -> Script:
    """The script with its variables replaced in all its texts. Raises BadPointer."""
    skip = script.skip_if
    return replace(
        script,
        text=interpolate(script.text, own, dependencies),
        environment={
            name: interpolate(value, own, dependencies)
            for name, value in script.environment.items()
        },
        skip_if=skip and (skip[0], interpolate(skip[1], own, dependencies)),
    )


def _replaced(
    text: str, variable: re.Pattern[str], value_of: Callable[[re.Match[str]], str | None]
) -> str:
    """The text with the variables that it has at first, as KernelConfigResolver.replace does it."""
    for match in variable.finditer(text):
        value = value_of(match)
        if value is None:
            log.error("recipe variable %s names nothing; it stays as it is", match[0])
        else:
            text = text.replace(match[0], value)
    return text


def _at(value: Any, path: Sequence[str]) -> Any:
    """The value at the path, through objects and lists. Raises LookupError."""
    for step in path:
        if isinstance(value, list) and step.isdecimal():
            value = value[int(step)]
        elif isinstance(value, Mapping):
            value = value[step]
        else:
            raise LookupError(step)
    return value


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, sort_keys=True)
