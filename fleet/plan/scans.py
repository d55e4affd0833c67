"""Reads ECR's scan findings of images, from basic and enhanced scanning.

https://docs.aws.amazon.com/AmazonECR/latest/userguide/image-scanning.html
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from infra.account.clients import Clients, error_code
from infra.names import SEVERITIES

# The first is of a basic scan, the second of a continuous enhanced scan.
_DONE = ("COMPLETE", "ACTIVE")
_COMING = ("IN_PROGRESS", "PENDING")
_NONE = ("ScanNotFoundException", "ImageNotFoundException", "RepositoryNotFoundException")


@dataclass(frozen=True, kw_only=True)
class Scan:
    """The scan of one image."""

    image: str  # As repository@digest.
    found: tuple[tuple[str, str], ...] = ()  # ECR's severity, and the CVE's id.
    missing: str = ""  # The reason why there is no result. Empty if there is one.
    coming: bool = False  # There may be a result later.

    def at_least(self, severity: str) -> tuple[tuple[str, str], ...]:
        """The findings of this severity (settings' word) or above, the worst first."""
        counted = SEVERITIES[: SEVERITIES.index(severity) + 1]
        worst = {name.upper(): place for place, name in enumerate(counted)}
        found = [one for one in self.found if one[0] in worst]
        return tuple(sorted(found, key=lambda one: (worst[one[0]], one[1])))


def scans(clients: Clients, images: Iterable[str]) -> tuple[Scan, ...]:
    """The scans of these images (repository@digest) in this account. Raises botocore's errors."""
    return tuple(_scan(clients, image) for image in sorted(images))


def _scan(clients: Clients, image: str) -> Scan:
    name, _, digest = image.partition("@")
    pages = clients.ecr.get_paginator("describe_image_scan_findings").paginate(
        repositoryName=name.partition("/")[2], imageId={"imageDigest": digest}
    )
    found: list[tuple[str, str]] = []
    try:
        for page in pages:
            status: Mapping[str, Any] = page.get("imageScanStatus", {})
            if status.get("status") not in _DONE:
                said = f"{status.get('status', 'UNKNOWN')} {status.get('description', '')}"
                return Scan(
                    image=image,
                    missing=f"ECR says {said.strip()}",
                    coming=status.get("status") in _COMING,
                )
            found += _named(page.get("imageScanFindings", {}))
    except ClientError as error:
        if error_code(error) not in _NONE:
            raise
        return Scan(image=image, missing="ECR has no scan of it", coming=True)
    return Scan(image=image, found=tuple(dict.fromkeys(found)))


def _named(findings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for one in findings.get("findings", ()):
        yield one["severity"], one["name"]
    for one in findings.get("enhancedFindings", ()):
        about = one.get("packageVulnerabilityDetails", {})
        yield one["severity"], about.get("vulnerabilityId") or one["title"]
