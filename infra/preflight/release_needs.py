"""What the release needs from a device and its role, known before the release is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from infra.account.context import Context
from infra.publish import recipe
from infra.publish.release_records import Record
from infra.resources.components import content
from infra.resources.release import upstream
from infra.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a device must run, and what its role must read."""

    architectures: tuple[str, ...]
    objects: tuple[str, ...]  # Their ARNs.
    repository: str  # Its ARN.
    recipes: tuple[Mapping[str, Any], ...]  # Empty for a published release.
    components: Mapping[str, str]  # Names to versions, for a published release.

    @classmethod
    def of(cls, settings: Settings, context: Context, pinned: Record | None = None) -> Wanted:
        """This stack's next release, or its publisher's. Raises Misconfigured if there is none."""
        if pinned:
            return _published(pinned.outputs)
        if settings.release_from:
            return _published(upstream(settings, context))
        return _own(settings, context)


def _own(settings: Settings, context: Context) -> Wanted:
    """The next release. Each unknown hash is replaced by zeros of the same length."""
    bucket, zeros = context.bucket, "0" * 64
    registry = f"{context.account}.dkr.ecr.{context.region}.amazonaws.com"
    files = {name: f"{bucket}/{zeros}/{name}" for one in recipe.FILES.values() for name in one}
    planned = content(
        settings,
        context.names,
        dict.fromkeys(settings.architectures, f"{registry}/{context.repository}@sha256:{zeros}"),
        {name: f"s3://{path}" for name, path in files.items()},
    )
    version = f"{settings.major}.999999.999999"
    return Wanted(
        architectures=settings.architectures,
        objects=tuple(context.arn("s3", path) for path in files.values()),
        repository=context.arn("ecr", f"repository/{context.repository}"),
        recipes=tuple(write(version, planned) for write in recipe.recipes(context.names).values()),
        components={},
    )


def _published(outputs: Mapping[str, Any]) -> Wanted:
    return Wanted(
        architectures=tuple(sorted(outputs["image"])),
        objects=tuple(outputs["objects"]),
        repository=outputs["repository_arn"],
        recipes=(),
        components=outputs["components"],
    )
