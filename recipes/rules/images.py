"""Rules for artifacts and images."""

from __future__ import annotations

import re

from recipes.document import Recipe, as_map, get
from recipes.rules.register import (
    BOTH,
    ERROR,
    GUIDE,
    INFO,
    JAVA,
    NUCLEUS,
    TRIED,
    WARNING,
    Found,
    rule,
)


@rule("artifact-uri", ERROR, BOTH, f"{NUCLEUS} ArtifactDownloaderFactory.java")
def _artifact_uri(recipe: Recipe) -> Found:
    """an artifact is an s3:, greengrass: or docker: URI, and variables in it are not replaced."""
    for artifact in recipe.artifacts:
        if not artifact.uri.startswith(("s3://", "greengrass:", "docker:")) or "{" in artifact.uri:
            yield artifact.where, f"'{artifact.uri}' can't be downloaded: write s3://BUCKET/KEY"


@rule("artifact-digest", INFO, BOTH, f"{GUIDE}, component recipe reference")
def _artifact_digest(recipe: Recipe) -> Found:
    """the cloud computes the digest itself, and replaces this value."""
    for artifact in recipe.artifacts:
        if get(artifact.settings, "Digest") is not None:
            yield f"{artifact.where}.Digest", "remove it"


@rule("artifact-owner", ERROR, BOTH, f"{TRIED}; {GUIDE}, component recipe reference")
def _artifact_owner(recipe: Recipe) -> Found:
    """only its owner can read an artifact by default, and the container runs as another user."""
    for manifest in recipe.manifests:
        stranger = any(
            user not in ("0", "root", "0:0", "root:root")
            for step in manifest.steps
            for run in step.docker_runs
            if any("{artifacts:" in mount for mount in run.values("--volume", "--mount"))
            for user in run.values("--user")
        )
        for artifact in manifest.artifacts if stranger else ():
            reads = get(as_map(get(artifact.settings, "Permission")), "Read")
            if not artifact.image and str(reads).upper() != "ALL":
                yield artifact.where, "add Permission: {Read: ALL}"


@rule("image-tag-and-digest", ERROR, JAVA, f"{NUCLEUS} DockerImageArtifactParser.java")
def _image_tag_and_digest(recipe: Recipe) -> Found:
    """Java refuses a reference with both a tag and a digest."""
    for artifact in recipe.artifacts:
        name, digest = _split(artifact.image)
        if digest and _tag(name):
            yield artifact.where, f"write docker:{name.rpartition(':')[0]}@{digest}"


@rule("image-latest", WARNING, BOTH, f"{NUCLEUS} docker plugin; {GUIDE}")
def _image_latest(recipe: Recipe) -> Found:
    """`latest` may be another image tomorrow, under the same component version."""
    for artifact in recipe.artifacts:
        name, digest = _split(artifact.image)
        if name and not digest and _tag(name) in ("", "latest"):
            yield artifact.where, f"name its digest: {artifact.uri.split(':latest')[0]}@sha256:…"


@rule("image-tag", INFO, BOTH, f"{NUCLEUS} 2.10, docker plugin")
def _image_tag(recipe: Recipe) -> Found:
    """a device that has an image of this tag doesn't pull again, so it misses a moved tag."""
    for artifact in recipe.artifacts:
        name, digest = _split(artifact.image)
        if not digest and _tag(name) not in ("", "latest"):
            yield artifact.where, "name its digest, unless the repository's tags are immutable"


@rule("image-not-declared", WARNING, BOTH, f"{GUIDE}, run a Docker container")
def _image_not_declared(recipe: Recipe) -> Found:
    """no artifact names this image, so docker fetches it at the start, without credentials."""
    for manifest in recipe.manifests:
        declared = {artifact.image for artifact in manifest.artifacts if artifact.image}
        for step in manifest.steps:
            for run in step.docker_runs:
                if run.image and not re.search(r"[${]", run.image) and run.image not in declared:
                    yield (
                        step.where,
                        f"add exactly Uri: docker:{run.image} to its artifacts",
                    )


def _split(image: str) -> tuple[str, str]:
    name, _, digest = image.partition("@")
    return name, digest


def _tag(name: str) -> str:
    """The tag of a name, without a registry's port."""
    return name.rpartition("/")[2].partition(":")[2]
