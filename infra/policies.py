"""IAM and bucket policy documents, as functions from ARNs to dicts."""

from __future__ import annotations

from typing import Any

_VERSION = "2012-10-17"


def read_releases(*, bucket: str, repository: str) -> dict[str, Any]:
    """What a device needs to install any release that its publisher keeps (their ARNs), no more.

    Any, as a device that goes back has to fetch what it has tidied away. So the policy is the same
    for each release, and none waits until IAM has spread a change; nor do many releases exceed the
    10,240 characters that a role's inline policies share (IAM's quotas).
    `ecr:GetAuthorizationToken` knows no resource (ECR's authorization reference), hence its `*`.
    """
    return {
        "Version": _VERSION,
        "Statement": [
            {
                "Sid": "Artifacts",
                "Effect": "Allow",
                "Action": "s3:GetObject",
                "Resource": f"{bucket}/*",
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


def lifecycle() -> dict[str, Any]:
    """Untagged images go after 14 days.

    No rule counts the tagged ones: ECR would remove an image that a device runs as readily as any
    other. They go with their release (infra/oldreleases.py).
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
