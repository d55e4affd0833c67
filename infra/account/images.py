"""Reads and deletes images in ECR, in every form that a Docker engine pushes.

Older engines push a manifest. Engines with containerd's image store, the default of Docker 29, push
an OCI index: the image and BuildKit's attestations of it. Tag and digest belong to the index; the
manifests that it lists have no tag. Sources: github.com/opencontainers/image-spec (image-index.md),
distribution's manifest list, and BuildKit's docs/attestations/attestation-storage.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mypy_boto3_ecr import ECRClient

MEDIA_TYPES = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)


def manifest_text(ecr: ECRClient, repository: str, digest: str) -> str | None:
    """The stored manifest or index with this digest; None if there is none."""
    answer = ecr.batch_get_image(
        repositoryName=repository,
        imageIds=[{"imageDigest": digest}],
        acceptedMediaTypes=[*MEDIA_TYPES],
    )
    return answer["images"][0]["imageManifest"] if answer["images"] else None


def runnable(manifest: Mapping[str, Any]) -> list[str]:
    """The digests of the images that an index lists, without the attestations."""
    return [one["digest"] for one in manifest.get("manifests", ()) if _runs(one)]


def _runs(described: Mapping[str, Any]) -> bool:
    """Whether the entry is an image. BuildKit gives an attestation the platform unknown/unknown."""
    return bool(described.get("platform", {}).get("os") != "unknown")


def image_manifest(ecr: ECRClient, repository: str, digest: str) -> Mapping[str, Any] | None:
    """The manifest with the layers that a device pulls; None if there is none, or several."""
    text = manifest_text(ecr, repository, digest)
    manifest: dict[str, Any] = json.loads(text) if text else {}
    if "manifests" not in manifest:
        return manifest or None
    images = runnable(manifest)
    return image_manifest(ecr, repository, images[0]) if len(images) == 1 else None


def delete_image(ecr: ECRClient, repository: str, digest: str) -> None:
    """Delete an image with all its tags and everything that its index lists.

    The index goes first, because ECR deletes nothing that an index refers to. A manifest with a tag
    of its own, or in another index, stays.
    """
    text = manifest_text(ecr, repository, digest)
    listed = [one["digest"] for one in json.loads(text).get("manifests", ())] if text else []
    ecr.batch_delete_image(repositoryName=repository, imageIds=[{"imageDigest": digest}])
    if listed:
        pages = ecr.get_paginator("list_images").paginate(
            repositoryName=repository, filter={"tagStatus": "TAGGED"}
        )
        tagged = {one["imageDigest"] for page in pages for one in page["imageIds"]}
        for one in sorted(set(listed) - tagged):
            ecr.batch_delete_image(repositoryName=repository, imageIds=[{"imageDigest": one}])
