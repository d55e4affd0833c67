"""Rules for keys and steps as the runtimes spell them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from recipes.document import Recipe, as_map, get
from recipes.rules.register import BOTH, COMMON, ERROR, LITE, LITE_CHANGES, WARNING, Found, rule

_STEPS = ("bootstrap", "install", "startup", "run", "shutdown", "recover", "uninstall")
_SPELT = {  # Keys as Lite reads them, by their place.
    "recipe": (
        *("RecipeFormatVersion", "ComponentName", "ComponentVersion", "ComponentDescription"),
        *("ComponentPublisher", "ComponentType", "ComponentSource", "ComponentConfiguration"),
        *("ComponentDependencies", "Manifests", "Lifecycle"),
    ),
    "configuration": ("DefaultConfiguration",),
    "manifest": ("Name", "Platform", "Lifecycle", "Selections", "Artifacts"),
    "step": ("Script", "RequiresPrivilege", "Skipif", "Timeout", "Setenv"),
    "artifact": ("Uri", "Unarchive", "Permission", "Digest", "Algorithm"),
    "permission": ("Read", "Execute"),
    "dependency": ("VersionRequirement", "DependencyType"),
}
_WORDS_OF_STEPS = frozenset(_STEPS) | {"setenv"}


@rule("step-case", ERROR, LITE, LITE_CHANGES)
def _step_case(recipe: Recipe) -> Found:
    """Lite knows only lower-case step names, and skips all others."""
    for step in recipe.steps:
        written = step.where.rpartition(".")[2]
        if step.name in _STEPS and written != step.name:
            yield step.where, f"write {step.name}"


@rule("key-case", ERROR, LITE, LITE_CHANGES)
def _key_case(recipe: Recipe) -> Found:
    """Lite reads keys in one spelling only: `URI` is not `Uri`."""
    for where, keys, kind in _spelt_places(recipe):
        for key in keys:
            right = next((one for one in _SPELT[kind] if one.lower() == key.lower()), key)
            if right != key:
                yield f"{where}.{key}".removeprefix("."), f"write {right}"


@rule("unknown-key", WARNING, BOTH, f"{COMMON} recipe_schema.json")
def _unknown_key(recipe: Recipe) -> Found:
    """no runtime reads this key, and at the top of a recipe the schema forbids it."""
    for where, keys, kind in _spelt_places(recipe):
        for key in keys:
            if key.lower() not in {one.lower() for one in _SPELT[kind]}:
                yield f"{where}.{key}".removeprefix("."), _nearest(key, _SPELT[kind])
    for step in recipe.steps:
        if step.name not in _WORDS_OF_STEPS:
            yield step.where, _nearest(step.name, _STEPS)


def _nearest(key: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(key, list(known), n=1, cutoff=0.6)
    return f"remove it, or write {near[0]}" if near else "remove it"


def _spelt_places(recipe: Recipe) -> Iterator[tuple[str, Mapping[str, Any], str]]:
    yield "", recipe.given, "recipe"
    configuration = as_map(get(recipe.given, "ComponentConfiguration"))
    yield "ComponentConfiguration", configuration, "configuration"
    for name, dependency in recipe.dependencies.items():
        yield f"ComponentDependencies.{name}", dependency, "dependency"
    for manifest in recipe.manifests:
        yield manifest.where, manifest.settings, "manifest"
        environment = {key: None for key in manifest.lifecycle if key.lower() == "setenv"}
        yield f"{manifest.where}.Lifecycle", environment, "step"
    for step in recipe.steps:
        yield step.where, step.settings, "step"
    for artifact in recipe.artifacts:
        yield artifact.where, artifact.settings, "artifact"
        permission = as_map(get(artifact.settings, "Permission"))
        yield f"{artifact.where}.Permission", permission, "permission"
