"""Reads a recipe on the device: the manifest for its platform, its artifacts and its scripts.

The cloud returns recipes in one spelling, but steps and their members stay as their author wrote
them. A flavour's `Dialect` says how that flavour reads them.
"""

from __future__ import annotations

import logging
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from greenhouse.cloud.greengrassv2.recipe import fits
from greenhouse.device.errors import DeploymentFailed, ErrorCode

log = logging.getLogger(__name__)

_ARCHITECTURES = {"x86_64": "amd64", "i686": "x86", "armv7l": "arm", "aarch64": "aarch64"}
_SKIP_IF = re.compile(r"(onpath|exists)\s+(.+)")


def platform_attributes() -> dict[str, str]:
    """The attributes of this machine, which manifests ask for."""
    machine = platform.machine()
    attributes = {"os": "linux", "architecture": _ARCHITECTURES.get(machine, machine)}
    if machine.startswith("arm"):
        attributes["architecture.detail"] = machine
    return attributes


class Step(StrEnum):
    """The scripts of a lifecycle."""

    INSTALL = "install"
    STARTUP = "startup"
    RUN = "run"
    SHUTDOWN = "shutdown"
    RECOVER = "recover"
    UNINSTALL = "uninstall"


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """How a flavour reads a recipe."""

    # For steps without a Timeout. Its keys are the steps that the flavour runs.
    timeouts: Mapping[Step, float | None]
    ignored: frozenset[str] = frozenset()  # Steps that the flavour only mentions in its log.
    any_case: bool = False  # Whether `Run` means `run`.
    skips: bool = False  # Whether Skipif is respected.
    platform_keys: frozenset[str] = frozenset()  # Without these keys a manifest doesn't count.
    builtin: frozenset[str] = frozenset()  # Dependencies that are part of the nucleus itself.
    programs: frozenset[str] = frozenset()  # Those of them that can crash and be missed.

    def key(self, given: str) -> str:
        return given.lower() if self.any_case else given

    def member(self, members: Mapping[str, Any], name: str) -> Any:
        """A member of a step or lifecycle, such as `Script` or `Setenv`. None if it is missing."""
        return next((v for k, v in members.items() if self.key(k) == self.key(name)), None)


@dataclass(frozen=True)
class Script:
    """One step, before or after its variables are replaced."""

    text: str
    timeout: float | None
    environment: Mapping[str, str] = field(default_factory=dict)
    skip_if: tuple[str, str] | None = None  # Either ("onpath", program) or ("exists", path).


@dataclass(frozen=True)
class Artifact:
    """One artifact of the chosen manifest."""

    uri: str
    read: str = "OWNER"
    execute: str = "NONE"
    unzip: bool = False
    digest: str | None = None  # Base64 of the SHA-256, computed by the cloud.

    @property
    def scheme(self) -> str:
        return self.uri.partition(":")[0]


@dataclass(frozen=True)
class Dependency:
    """What this component needs from another component."""

    requirement: str
    hard: bool


@dataclass(frozen=True)
class Recipe:
    """A recipe for this machine."""

    name: str
    version: str
    defaults: Mapping[str, Any]
    dependencies: Mapping[str, Dependency]
    artifacts: tuple[Artifact, ...]
    scripts: Mapping[Step, Script]
    # Programs of the nucleus: HARD dependencies of this component.
    programs: frozenset[str] = frozenset()

    @property
    def builtin(self) -> bool:
        """AWS' own component, which is part of greenhouse's device."""
        return _aws_own(self.name)


def _aws_own(name: str) -> bool:
    return name.startswith("aws.greengrass.")


def read(document: Mapping[str, Any], attributes: Mapping[str, str], dialect: Dialect) -> Recipe:
    """The recipe with its first manifest that fits. Raises DeploymentFailed if none fits."""
    name, version = document["ComponentName"], document["ComponentVersion"]
    manifest = next(
        (
            one
            for one in document["Manifests"]
            if fits({"Manifests": [one]}, attributes)
            and (dialect.platform_keys <= set(one.get("Platform", {})) or _aws_own(name))
        ),
        None,
    )
    if manifest is None:
        raise DeploymentFailed(
            f"No manifest of {name} {version} fits this device: it is {dict(attributes)}",
            ErrorCode.COMPONENT_PACKAGE_LOADING_ERROR,
            ErrorCode.RECIPE_MISSING_MANIFEST,
        )
    configuration = document.get("ComponentConfiguration") or {}
    defaults = configuration.get("DefaultConfiguration") or {}
    if not isinstance(defaults, Mapping):
        raise _unreadable(f"{name} {version}", "DefaultConfiguration is no object")
    asked = {
        other: Dependency(
            wanted["VersionRequirement"], wanted.get("DependencyType", "HARD") == "HARD"
        )
        for other, wanted in (document.get("ComponentDependencies") or {}).items()
    }
    lifecycle = manifest.get("Lifecycle") or _selected(document.get("Lifecycle") or {}, manifest)
    return Recipe(
        name=name,
        version=version,
        defaults=defaults,
        dependencies={n: one for n, one in asked.items() if n not in dialect.builtin},
        artifacts=tuple(map(_artifact, manifest.get("Artifacts") or [])),
        scripts=_scripts(lifecycle, f"{name} {version}", dialect),
        programs=frozenset(n for n, one in asked.items() if one.hard and n in dialect.programs),
    )


def _selected(lifecycle: Mapping[str, Any], manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    """The global lifecycle, or its first section among the manifest's selections."""
    for selection in manifest.get("Selections") or ["all"]:
        if isinstance(section := lifecycle.get(selection), Mapping):
            return section
    return lifecycle


def _artifact(given: Mapping[str, Any]) -> Artifact:
    permission = given.get("Permission") or {}
    return Artifact(
        uri=given["Uri"],
        read=permission.get("Read", "OWNER"),
        execute=permission.get("Execute", "NONE"),
        unzip=given.get("Unarchive", "NONE") == "ZIP",
        digest=given.get("Digest"),
    )


def _scripts(lifecycle: Mapping[str, Any], component: str, dialect: Dialect) -> dict[Step, Script]:
    given = {dialect.key(key): value for key, value in lifecycle.items()}
    common = _environment(given.pop(dialect.key("Setenv"), None), component)
    if "bootstrap" in given:
        raise _unreadable(component, "greenhouse does not model the step 'bootstrap'")
    known = {step.value for step in dialect.timeouts}
    for name in sorted(dialect.ignored & set(given)):
        log.info("%s: '%s' is not supported by this nucleus", component, name)
    if strange := sorted(set(given) - known - dialect.ignored):
        raise _unreadable(component, f"lifecycle steps {strange}; there are {sorted(known)}")
    if {"startup", "run"} <= set(given):
        raise _unreadable(component, "both startup and run; a component has one of them")
    return {
        step: _script(given[step], step, common, component, dialect)
        for step in dialect.timeouts
        if step in given
    }


def _script(
    value: Any, step: Step, common: Mapping[str, str], component: str, dialect: Dialect
) -> Script:
    if isinstance(value, str):
        return Script(value, dialect.timeouts[step], common)
    if not isinstance(value, Mapping):
        raise _unreadable(component, f"{step} is neither a script nor an object")
    skip = dialect.member(value, "Skipif") if dialect.skips else None
    condition = _SKIP_IF.fullmatch(str(skip).strip()) if skip else None
    if skip and not condition:
        raise _unreadable(component, f"Skipif {skip!r} of {step}; 'onpath X' or 'exists F'")
    timeout = dialect.member(value, "Timeout")
    return Script(
        text=str(dialect.member(value, "Script") or ""),
        timeout=dialect.timeouts[step] if timeout is None else _seconds(timeout, step, component),
        environment={**common, **_environment(dialect.member(value, "Setenv"), component)},
        skip_if=(condition[1], condition[2]) if condition else None,
    )


def _seconds(timeout: Any, step: Step, component: str) -> float:
    try:
        return float(timeout)
    except (TypeError, ValueError) as error:
        problem = f"Timeout {timeout!r} of {step}; a number of seconds"
        raise _unreadable(component, problem) from error


def _environment(given: Any, component: str) -> dict[str, str]:
    if not isinstance(given, Mapping | None):
        raise _unreadable(component, "Setenv is no object")
    return {name: str(value) for name, value in (given or {}).items()}


def _unreadable(component: str, problem: str) -> DeploymentFailed:
    return DeploymentFailed(
        f"Recipe of {component}: {problem}",
        ErrorCode.COMPONENT_PACKAGE_LOADING_ERROR,
        ErrorCode.RECIPE_PARSE_ERROR,
    )
