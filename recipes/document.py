"""Reads any recipe leniently: keys in any spelling, and missing parts as empty ones.

The rules in `recipes.rules` are strict, and say what is wrong with the same recipe.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from recipes.shell import Command, DockerRun, commands, docker_runs


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of a lifecycle. `script` is empty if the step has none."""

    where: str
    name: str  # In lower case.
    settings: Mapping[str, Any]
    script: str

    @cached_property
    def commands(self) -> list[Command]:
        return commands(self.script)

    @cached_property
    def docker_runs(self) -> list[DockerRun]:
        return docker_runs(self.script)


@dataclass(frozen=True, kw_only=True)
class Artifact:
    where: str
    settings: Mapping[str, Any]
    uri: str

    @property
    def image(self) -> str:
        """The image's reference. "" for another kind of artifact."""
        return self.uri.removeprefix("docker:") if self.uri.startswith("docker:") else ""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    where: str
    settings: Mapping[str, Any]
    platform: Mapping[str, Any]
    lifecycle: Mapping[str, Any]
    steps: tuple[Step, ...]
    artifacts: tuple[Artifact, ...]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A recipe, read leniently: a part that is missing or of the wrong kind is empty."""

    given: Mapping[str, Any]
    bytes: int

    def text(self, key: str) -> str:
        return str(get(self.given, key) or "")

    @cached_property
    def manifests(self) -> tuple[Manifest, ...]:
        return tuple(
            _manifest(f"Manifests[{number}]", one)
            for number, one in enumerate(as_list(get(self.given, "Manifests")))
        )

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """The steps of every manifest, and of the global lifecycle."""
        everywhere = as_map(get(self.given, "Lifecycle"))
        own = _steps("Lifecycle", everywhere) if get(everywhere, "all") is None else ()
        alike = _steps("Lifecycle.all", as_map(get(everywhere, "all")))
        return (*(step for one in self.manifests for step in one.steps), *own, *alike)

    @cached_property
    def artifacts(self) -> tuple[Artifact, ...]:
        return tuple(artifact for one in self.manifests for artifact in one.artifacts)

    @cached_property
    def dependencies(self) -> Mapping[str, Mapping[str, Any]]:
        known = as_map(get(self.given, "ComponentDependencies"))
        return {name: as_map(value) for name, value in known.items()}

    @cached_property
    def defaults(self) -> Mapping[str, Any]:
        return as_map(
            get(as_map(get(self.given, "ComponentConfiguration")), "DefaultConfiguration")
        )

    @cached_property
    def policies(self) -> Mapping[str, Mapping[str, Any]]:
        """The policies of each service, by their ids."""
        access = as_map(get(self.defaults, "accessControl"))
        return {service: as_map(policies) for service, policies in access.items()}

    @property
    def pubsub_resources(self) -> Iterator[tuple[str, str]]:
        """Every resource of local publish and subscribe, with its place."""
        for name, policy in self.policies.get("aws.greengrass.ipc.pubsub", {}).items():
            for resource in as_list(get(as_map(policy), "resources")):
                yield f"accessControl.{name}.resources", str(resource)

    def texts(self) -> Iterator[tuple[str, str]]:
        """Every string with its place."""
        return texts("", self.given)


def get(mapping: Mapping[str, Any], key: str) -> Any:
    """A value by its key in any spelling."""
    return next((value for name, value in mapping.items() if name.lower() == key.lower()), None)


def as_map(value: Any) -> Mapping[str, Any]:
    return {str(key): one for key, one in value.items()} if isinstance(value, dict) else {}


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def texts(where: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield where, value
    elif isinstance(value, dict):
        for key, one in value.items():
            yield from texts(f"{where}.{key}".removeprefix("."), one)
    elif isinstance(value, list):
        for number, one in enumerate(value):
            yield from texts(f"{where}[{number}]", one)


def _manifest(where: str, given: Any) -> Manifest:
    settings = as_map(given)
    lifecycle = as_map(get(settings, "Lifecycle"))
    return Manifest(
        where=where,
        settings=settings,
        platform=as_map(get(settings, "Platform")),
        lifecycle=lifecycle,
        steps=_steps(f"{where}.Lifecycle", lifecycle),
        artifacts=tuple(
            Artifact(
                where=f"{where}.Artifacts[{number}]",
                settings=as_map(one),
                uri=str(get(as_map(one), "Uri") or ""),
            )
            for number, one in enumerate(as_list(get(settings, "Artifacts")))
        ),
    )


def _steps(where: str, lifecycle: Mapping[str, Any]) -> tuple[Step, ...]:
    return tuple(
        Step(
            where=f"{where}.{name}",
            name=name.lower(),
            settings=as_map(value),
            script=value if isinstance(value, str) else str(get(as_map(value), "Script") or ""),
        )
        for name, value in lifecycle.items()
        if name.lower() != "setenv"
    )
