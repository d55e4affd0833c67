"""Reads what a plan needs from the account: published recipes, sizes, stored files.

It changes nothing, and needs only rights that an `up` needs as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from botocore.exceptions import ClientError

from fleet.observe import Target, observe, observe_target
from fleet.plan.scans import Scan, scans
from fleet.plan.stack_change import StackChange, Version
from infra.account.clients import Clients, at_once, error_code, unless_gone
from infra.account.context import Context
from infra.account.followers import deployed_by
from infra.account.images import image_manifest


@dataclass(frozen=True, kw_only=True)
class AccountFacts:
    """The account's facts for a plan. Sizes are in bytes; missing ones are left out."""

    recipes: Mapping[Version, Mapping[str, Any]] = field(default_factory=dict)
    published: Mapping[Version, datetime] = field(default_factory=dict)
    # Sizes by key, which has the content's hash.
    objects: Mapping[str, int] = field(default_factory=dict)
    images: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # Reference to its blobs.
    # `_elsewhere` describes it.
    elsewhere: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    scans: tuple[Scan, ...] = ()  # The scans of the new images that are built.


def read_facts(
    clients: Clients, stack_change: StackChange, root: Path
) -> tuple[tuple[Target, ...], AccountFacts]:
    """The current targets of a preview, and the account's facts on old and new versions.

    `root` is the program's folder; paths of new files are relative to it. Raises botocore's errors.
    """
    targets = _targets(clients, stack_change)
    recipes, published = _recipes(clients, targets, stack_change)
    references = {
        *(
            uri
            for recipe in (*recipes.values(), *stack_change.recipes.values())
            for uri in docker_images(recipe)
        ),
        *stack_change.outputs.get("image", {}).values(),
    }
    return targets, AccountFacts(
        recipes=recipes,
        published=published,
        objects=_stored_objects(clients, recipes.values()) | _new_objects(stack_change, root),
        images=_images(clients, references, stack_change.project),
        elsewhere=_elsewhere(clients, targets),
        scans=scans(clients, _to_come(stack_change, recipes)),
    )


def artifacts(recipe: Mapping[str, Any], architecture: str) -> Iterator[str]:
    """The URIs that a device of that architecture downloads."""
    yield from _uris(manifest_for(recipe, architecture))


def manifest_for(recipe: Mapping[str, Any], architecture: str) -> Mapping[str, Any]:
    """The first manifest that matches the architecture; empty if none does."""
    manifests: Sequence[Mapping[str, Any]] = recipe.get("Manifests", [])
    for manifest in manifests:
        if manifest.get("Platform", {}).get("architecture", "*") in ("*", architecture):
            return manifest
    return {}


def every_artifact(recipe: Mapping[str, Any]) -> Iterator[str]:
    """The URIs for all architectures."""
    for manifest in recipe.get("Manifests", []):
        yield from _uris(manifest)


def _uris(manifest: Mapping[str, Any]) -> Iterator[str]:
    for artifact in manifest.get("Artifacts", []):
        yield artifact.get("Uri") or artifact["URI"]


def docker_images(recipe: Mapping[str, Any]) -> Iterator[str]:
    """The images of all architectures, without `docker:`."""
    for uri in every_artifact(recipe):
        if uri.startswith("docker:"):
            yield uri.removeprefix("docker:")


def object_key(uri: str) -> str:
    return uri.removeprefix("s3://").partition("/")[2]


def _targets(clients: Clients, stack_change: StackChange) -> tuple[Target, ...]:
    deployment = stack_change.deployment
    if deployment is None:  # It is a preview that leaves unchanged resources out.
        return observe(clients, stack_change.project, stack_change.stack).targets
    arns = {side.get("targetArn", "") for side in (deployment.before, deployment.after)} - {""}
    before = deployment.before.get("targetArn")
    return tuple(
        observe_target(
            clients,
            stack_change.project,
            stack_change.stack,
            arn,
            names=stack_change.names,
            deployed=arn == before,
        )
        for arn in sorted(arns)
    )


def _elsewhere(clients: Clients, targets: Sequence[Target]) -> dict[str, tuple[str, ...]]:
    """The components that other targets deploy to the same devices, by the targets' ARNs."""
    arns = {
        execution.target
        for target in targets
        for device in target.devices
        for execution in device.timeline
        if execution.target != target.arn
    }
    return {arn: deployed_by(clients.greengrass, arn) for arn in sorted(arns)}


def _recipes(
    clients: Clients, targets: Sequence[Target], stack_change: StackChange
) -> tuple[dict[Version, Mapping[str, Any]], dict[Version, datetime]]:
    greengrass = clients.greengrass
    arns: dict[Version, str] = {}
    for target in targets:
        place = Context.of_target(
            target.arn, clients, project=stack_change.project, stack=stack_change.stack
        )
        there = {(one.name, one.version) for device in target.devices for one in device.components}
        for version in sorted(there | {*stack_change.answering.items()}):
            if not version[0].startswith("aws."):
                arns.setdefault(version, place.component_arn(*version))
    recipes: dict[Version, Mapping[str, Any]] = {}
    published: dict[Version, datetime] = {}

    def read(version: Version) -> None:
        with unless_gone():
            found = greengrass.get_component(arn=arns[version], recipeOutputFormat="JSON")
            described = greengrass.describe_component(arn=arns[version])
            recipes[version] = yaml.safe_load(found["recipe"])
            published[version] = described["creationTimestamp"]

    at_once(read, arns)
    return recipes, published


def _stored_objects(clients: Clients, recipes: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    uris = {uri for recipe in recipes for uri in every_artifact(recipe)}
    s3, sizes = clients.s3, {}
    for uri in sorted(uri for uri in uris if uri.startswith("s3://")):
        bucket = uri.removeprefix("s3://").partition("/")[0]
        try:
            with unless_gone():
                head = s3.head_object(Bucket=bucket, Key=object_key(uri))
                sizes[object_key(uri)] = head["ContentLength"]
        except ClientError as error:
            if error_code(error) != "403":  # Another account owns it, so its size stays unknown.
                raise
    return sizes


def _new_objects(stack_change: StackChange, root: Path) -> dict[str, int]:
    sizes = {}
    for key, source in stack_change.objects.items():
        if "text" in source:
            sizes[key] = len(source["text"].encode())
        elif "path" in source and (root / source["path"]).is_file():
            sizes[key] = (root / source["path"]).stat().st_size
    return sizes


def _to_come(
    stack_change: StackChange, recipes: Mapping[Version, Mapping[str, Any]]
) -> frozenset[str]:
    """Images of this project after the update, without those that it replaces."""
    if stack_change.destroys:
        return frozenset()
    versions = stack_change.versions.items()
    known = (stack_change.recipes.get(one) or recipes.get(one) or {} for one in versions)
    return frozenset(
        image
        for recipe in known
        for image in docker_images(recipe)
        if "@" in image and image.partition("/")[2].startswith(f"{stack_change.project}/")
    )


def _images(
    clients: Clients, references: Iterable[str], project: str
) -> dict[str, Mapping[str, int]]:
    found: dict[str, Mapping[str, int]] = {}
    for reference in sorted(references):
        name, _, digest = reference.partition("@")
        repository = name.partition("/")[2]
        if digest and repository.startswith(f"{project}/"):
            with unless_gone():
                if manifest := image_manifest(clients.ecr, repository, digest):
                    found[reference] = _blobs(manifest)
    return found


def _blobs(manifest: Mapping[str, Any]) -> dict[str, int]:
    """All blobs of the image, with their sizes."""
    return {one["digest"]: one["size"] for one in (manifest["config"], *manifest["layers"])}
