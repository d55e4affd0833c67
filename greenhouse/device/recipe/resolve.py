"""Chooses the components and versions that a device should run.

The nucleus collects what its targets and the recipes ask for, and lets the cloud choose. For each
component the cloud chooses the greatest version that meets every requirement
(ResolveComponentCandidates). If the cloud has none, the device's own version is used if it fits. So
a device keeps what it runs even after the account has deleted it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from semver import Version

from greenhouse.cloud.greengrassv2.versions import parse_range
from greenhouse.device.errors import DeploymentFailed, ErrorCode
from greenhouse.device.recipe.recipes import Recipe

Requirements = Mapping[str, str]  # Who asks -> which range.

MAX_CHOICES = 1000  # Requirements that exclude each other in turns never come to an end.


@dataclass(frozen=True)
class Sources:
    """Where recipes come from."""

    cloud: Callable[[str, Requirements], Recipe | None]
    local: Callable[[str], Recipe | None]


def resolve(targets: Mapping[str, Mapping[str, str]], sources: Sources) -> dict[str, Recipe]:
    """The recipes for the targets' root components and all their dependencies, by name.

    `targets` has each target's root components with their versions. Raises DeploymentFailed.
    """
    wanted: dict[str, dict[str, str]] = {}
    for target, roots in targets.items():
        for name, version in roots.items():
            wanted.setdefault(name, {})[target] = f"={version}"
    chosen: dict[str, Recipe] = {}
    asked: dict[str, Requirements] = {}
    for _ in range(MAX_CHOICES):
        todo = [name for name in wanted if asked.get(name) != wanted[name]]
        if not todo:
            return chosen
        name = todo[0]
        asked[name] = dict(wanted[name])
        before = chosen.pop(name, None)
        if wanted[name]:
            chosen[name] = _choose(name, asked[name], sources)
        after = chosen[name].dependencies if name in chosen else {}
        for other in before.dependencies if before else ():
            wanted[other].pop(name, None)
        for other, dependency in after.items():
            wanted.setdefault(other, {})[name] = dependency.requirement
    raise _unsatisfiable(", ".join(wanted), {})


def _choose(name: str, requirements: Requirements, sources: Sources) -> Recipe:
    found = sources.cloud(name, requirements) or sources.local(name)
    if found is not None and _satisfies(found.version, requirements):
        return found
    raise _unsatisfiable(name, requirements)


def _unsatisfiable(name: str, requirements: Requirements) -> DeploymentFailed:
    asked = ", ".join(f"{who} requires {what}" for who, what in requirements.items())
    return DeploymentFailed(
        "No local or cloud component version satisfies the requirements. Check whether the version"
        " constraints conflict and that the component exists in your AWS account with a version"
        " that matches the version constraints. If the version constraints conflict, revise"
        f" deployments to resolve the conflict. Component {name} version constraints: {asked}.",
        ErrorCode.NO_AVAILABLE_COMPONENT_VERSION,
        ErrorCode.COMPONENT_VERSION_REQUIREMENTS_NOT_MET,
    )


def _satisfies(version: str, requirements: Requirements) -> bool:
    return all(parse_range(text).admits(Version.parse(version)) for text in requirements.values())


def refuse_cycles(recipes: Mapping[str, Recipe]) -> None:
    """Raise DeploymentFailed for components that depend on each other."""
    try:
        TopologicalSorter({name: one.dependencies for name, one in recipes.items()}).prepare()
    except CycleError as error:
        cycle = " -> ".join(error.args[1])
        raise DeploymentFailed(
            f"Circular dependency: {cycle}", ErrorCode.COMPONENT_CIRCULAR_DEPENDENCY_ERROR
        ) from error
