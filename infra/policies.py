"""IAM and bucket policy documents, as functions from ARNs to dicts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_VERSION = "2012-10-17"


def read_release(*, objects: Sequence[str], repository: str) -> dict[str, Any]:
    """What a device needs to install a release: its objects and its image, nothing else.

    `ecr:GetAuthorizationToken` knows no resource (ECR's authorization reference), hence its `*`.
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


def tls_only(bucket: str) -> dict[str, Any]:
    """Refuse every request to the bucket that isn't encrypted on its way."""
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


def lifecycle(architectures: Sequence[str], *, keep: int) -> dict[str, Any]:
    """Untagged images go after 14 days; the newest `keep` releases of each architecture stay."""
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
    newest = [
        {
            "rulePriority": priority,
            "description": f"the newest {keep} releases for {architecture}",
            "selection": {
                "tagStatus": "tagged",
                "tagPrefixList": [f"{architecture}-"],
                "countType": "imageCountMoreThan",
                "countNumber": keep,
            },
            "action": {"type": "expire"},
        }
        for priority, architecture in enumerate(sorted(architectures), start=2)
    ]
    return {"rules": [untagged, *newest]}
