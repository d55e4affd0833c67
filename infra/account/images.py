"""Images in ECR as any Docker engine pushes them: a manifest, or an index of one.

Engines with containerd's image store, the default of Docker 29, push an OCI index: the image, and
what BuildKit attests of it. The index has the tag and the digest; what it lists has no tag. The
kinds: github.com/opencontainers/image-spec (image-index.md), distribution's manifest list, and
BuildKit's docs/attestations/attestation-storage.md.
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
    """The manifest or index of that digest as it is stored; None where there is none."""
    answer = ecr.batch_get_image(
        repositoryName=repository,
        imageIds=[{"imageDigest": digest}],
        acceptedMediaTypes=[*MEDIA_TYPES],
    )
    return answer["images"][0]["imageManifest"] if answer["images"] else None


def runnable(manifest: Mapping[str, Any]) -> list[str]:
    """The digests of the images that an index lists, without what is attested of them."""
    return [one["digest"] for one in manifest.get("manifests", ()) if _runs(one)]


def _runs(described: Mapping[str, Any]) -> bool:
    """Whether it is an image: BuildKit gives what it attests the platform unknown/unknown."""
    return bool(described.get("platform", {}).get("os") != "unknown")


def image_manifest(ecr: ECRClient, repository: str, digest: str) -> Mapping[str, Any] | None:
    """The manifest with the layers that a device pulls; None where it is gone, or is many."""
    text = manifest_text(ecr, repository, digest)
    manifest: dict[str, Any] = json.loads(text) if text else {}
    if "manifests" not in manifest:
        return manifest or None
    images = runnable(manifest)
    return image_manifest(ecr, repository, images[0]) if len(images) == 1 else None


def delete_image(ecr: ECRClient, repository: str, digest: str) -> None:
    """Delete an image with all its tags, and what its index lists.

    The index goes first: ECR deletes nothing that an index refers to. What has a tag of its own, or
    is in another index, stays.
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
