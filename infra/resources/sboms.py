"""A release's bills of materials, one for each image, as resources of its stack."""

from __future__ import annotations

from collections.abc import Mapping

import pulumi

from infra.account.context import Context
from infra.dynamic import Sbom


def sboms(
    images: Mapping[str, pulumi.Output[str]],
    bucket: pulumi.Output[str],
    context: Context,
    *,
    parent: pulumi.Resource,
) -> dict[str, pulumi.Output[str]]:
    """Architecture to s3://…, known once the document is stored."""
    return {
        architecture: pulumi.Output.concat(
            *("s3://", bucket, "/"),
            Sbom(
                f"sbom-{architecture}",
                context.props | {"image": image, "architecture": architecture, "bucket": bucket},
                opts=pulumi.ResourceOptions(parent=parent),
            ).key,
        )
        for architecture, image in images.items()
    }
