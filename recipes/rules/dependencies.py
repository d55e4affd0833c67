"""Rules for what a component depends on."""

from __future__ import annotations

import re

from recipes.document import Recipe, get
from recipes.rules.register import (
    ERROR,
    GUIDE,
    INFO,
    JAVA,
    LITE,
    NUCLEUS,
    TRIED,
    WARNING,
    Found,
    rule,
)

_PRIVATE_ECR = re.compile(r"docker:\d{12}\.dkr\.ecr\.")
_PROVIDED = "aws.greengrass."
_DOCKER_MANAGER = "aws.greengrass.DockerApplicationManager"
_TOKEN_EXCHANGE = "aws.greengrass.TokenExchangeService"  # noqa: S105  # a component's name


@rule("docker-dependency", ERROR, JAVA, f"{NUCLEUS}, checks before download")
def _docker_dependency(recipe: Recipe) -> Found:
    """Java refuses docker artifacts in a deployment without the Docker application manager."""
    if any(artifact.image for artifact in recipe.artifacts):
        yield from _missing(recipe, _DOCKER_MANAGER)


@rule("ecr-dependency", ERROR, JAVA, f"{NUCLEUS}, checks before download")
def _ecr_dependency(recipe: Recipe) -> Found:
    """Java refuses a private ECR's images in a deployment without the token exchange service."""
    if any(_PRIVATE_ECR.match(artifact.uri) for artifact in recipe.artifacts):
        yield from _missing(recipe, _TOKEN_EXCHANGE)


@rule("credentials-dependency", WARNING, JAVA, f"{GUIDE}, token exchange service")
def _credentials_dependency(recipe: Recipe) -> Found:
    """Java sets the credentials' address only if the token exchange service is a dependency."""
    if any("AWS_CONTAINER_CREDENTIALS_FULL_URI" in step.script for step in recipe.steps):
        yield from _missing(recipe, _TOKEN_EXCHANGE)


def _missing(recipe: Recipe, component: str) -> Found:
    if component not in recipe.dependencies:
        wanted = '{VersionRequirement: "^2.0.0", DependencyType: SOFT}'
        yield "ComponentDependencies", f"add {component}: {wanted}"


@rule("hard-dependency", WARNING, LITE, f"{TRIED} (lite-ml-dam-run-ends, lite-ml-soft)")
def _hard_dependency(recipe: Recipe) -> Found:
    """on Lite a hard dependent stops for good when its dependency ends or crashes."""
    for name, dependency in recipe.dependencies.items():
        kind = str(get(dependency, "DependencyType") or "HARD").upper()
        if kind == "HARD":
            yield (
                f"ComponentDependencies.{name}",
                "write DependencyType: SOFT",
            )


@rule("dependency-range", INFO, LITE, "aws-greengrass-lite ggl-semver")
def _dependency_range(recipe: Recipe) -> Found:
    """Lite reads no ~, ^ or || (the cloud translates them, a local deployment doesn't)."""
    for name, dependency in recipe.dependencies.items():
        wanted = str(get(dependency, "VersionRequirement") or "")
        if re.search(r"[~^]|\|\|", wanted) and not name.startswith(_PROVIDED):
            yield f"ComponentDependencies.{name}", f"write {wanted} as >=A <B"
