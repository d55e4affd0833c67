"""IAM, S3 and ECR policy documents, as functions to dicts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_VERSION = "2012-10-17"


def read_release(*, objects: Sequence[str], repository: str) -> dict[str, Any]:
    """Allow what a device needs to install a release: its objects and its images, nothing else.

    `ecr:GetAuthorizationToken` takes no resource, hence its `*` (ECR's authorization reference).
    """
    return {
        "Version": _VERSION,
        "Statement": [
            {
                "Sid": "Artifacts",
                "Effect": "Allow",
                "Action": "s3:GetObject",
                "Resource": sorted(objects),
            },
            {
                "Sid": "Image",
                "Effect": "Allow",
                "Action": ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"],
                "Resource": repository,
            },
            {
                "Sid": "RegistryToken",
                "Effect": "Allow",
                "Action": "ecr:GetAuthorizationToken",
                "Resource": "*",
            },
        ],
    }


def with_objects(readable: Mapping[str, Any], objects: Iterable[str]) -> dict[str, Any]:
    """A document of `read_release` with more objects (ARNs) that may be read."""
    return {
        **readable,
        "Statement": [
            {**statement, "Resource": sorted({*statement["Resource"], *objects})}
            if statement["Sid"] == "Artifacts"
            else statement
            for statement in readable["Statement"]
        ],
    }


def tls_only(bucket: str) -> dict[str, Any]:
    """Refuse every request to the bucket that doesn't use TLS."""
    return {
        "Version": _VERSION,
        "Statement": [
            {
                "Sid": "TlsOnly",
                "Effect": "Deny",
                "Principal": "*",
                "Action": "s3:*",
                "Resource": [bucket, f"{bucket}/*"],
                "Condition": {"Bool": {"aws:SecureTransport": "false"}},
            }
        ],
    }


def ecr_lifecycle_policy() -> dict[str, Any]:
    """Expire untagged images after 14 days, except those that an index lists.

    Docker 29 puts the tag on the index. ECR expires nothing that an index refers to before the
    index is deleted: "Lifecycle policy evaluation rules" in
    docs.aws.amazon.com/AmazonECR/latest/userguide/LifecyclePolicies.html.

    No rule expires tagged images, because ECR doesn't know which images devices run. They are
    removed with their release (fleet/prune.py).
    """
    untagged = {
        "rulePriority": 1,
        "description": "untagged: what an interrupted push left",
        "selection": {
            "tagStatus": "untagged",
            "countType": "sinceImagePushed",
            "countUnit": "days",
            "countNumber": 14,
        },
        "action": {"type": "expire"},
    }
    return {"rules": [untagged]}
