"""Rules for what every recipe has to have."""

from __future__ import annotations

import re

from recipes.document import Recipe
from recipes.rules.register import BOTH, COMMON, ERROR, LITE, TRIED, Found, rule

MAX_RECIPE_BYTES = 8_000


@rule("required-keys", ERROR, BOTH, f"{COMMON} recipe_schema.json")
def _required_keys(recipe: Recipe) -> Found:
    """the cloud refuses a recipe without its four required keys."""
    if recipe.text("RecipeFormatVersion") != "2020-01-25":
        yield "RecipeFormatVersion", "write RecipeFormatVersion: '2020-01-25'"
    for key in ("ComponentName", "ComponentVersion"):
        if not recipe.text(key):
            yield key, f"add {key}"
    if not recipe.manifests:
        yield "Manifests", "add a list of at least one manifest"


@rule("component-name", ERROR, BOTH, f"{COMMON} ComponentRecipe.java")
def _component_name(recipe: Recipe) -> Found:
    """a name is at most 128 letters, digits, hyphens, underscores and dots."""
    name = recipe.text("ComponentName")
    if name and not re.fullmatch(r"[\w.-]{1,128}", name, re.ASCII):
        yield "ComponentName", f"rename '{name}', in reverse domain notation"


@rule("version-format", ERROR, BOTH, f"{COMMON} ComponentRecipe.java")
def _version_format(recipe: Recipe) -> Found:
    """a version is MAJOR.MINOR.PATCH, each of at most six digits and without a leading zero."""
    version = recipe.text("ComponentVersion")
    core = re.split(r"[-+]", version, maxsplit=1)[0]
    if version and not re.fullmatch(r"(0|[1-9]\d{0,5})(\.(0|[1-9]\d{0,5})){2}", core):
        yield "ComponentVersion", f"write a version like 1.0.0, not '{version}'"


@rule("version-digits", ERROR, LITE, f"{TRIED} (lite-prerelease-*)")
def _version_digits(recipe: Recipe) -> Found:
    """Lite splits file names at the last hyphen, so a version with a prerelease part fails."""
    version = recipe.text("ComponentVersion")
    if re.search(r"[-+]", version):
        yield "ComponentVersion", f"digits only: {re.split(r'[-+]', version)[0]}"


@rule("recipe-size", ERROR, LITE, "aws-greengrass-lite recipe.c, docker clean-up")
def _recipe_size(recipe: Recipe) -> Found:
    """Lite reads recipes into buffers of 8,196 and 8,192 bytes."""
    if recipe.bytes > MAX_RECIPE_BYTES:
        fix = f"{recipe.bytes} bytes; {MAX_RECIPE_BYTES} fit: fewer architectures in one recipe"
        yield "recipe", f"{fix}, or scripts as artifacts"
