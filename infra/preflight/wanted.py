"""What the release asks of a device and its role, known before the release is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pulumi

from infra.context import Context
from infra.publish import recipe
from infra.publish.components import content
from infra.publish.records import Record
from infra.settings import Misconfigured, Settings


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a device has to fit, and its role to read."""

    architectures: tuple[str, ...]
    objects: tuple[str, ...]  # ARNs
    repository: str  # ARN
    recipes: tuple[Mapping[str, Any], ...]  # none where another stack has published them

    @classmethod
    def of(cls, settings: Settings, context: Context, pinned: Record | None = None) -> Wanted:
        """This stack's release to come, or that of the stack it follows; Misconfigured without."""
        if pinned:
            return _published(pinned.outputs)
        return _upstream(settings, context) if settings.release_from else _own(settings, context)


def _own(settings: Settings, context: Context) -> Wanted:
    """The release to come: with a hash of zeros for each that isn't known yet, as long as it."""
    bucket, zeros = context.bucket, "0" * 64
    registry = f"{context.account}.dkr.ecr.{context.region}.amazonaws.com"
    files = {name: f"{bucket}/{zeros}/{name}" for one in recipe.FILES.values() for name in one}
    planned = content(
        settings,
        dict.fromkeys(settings.architectures, f"{registry}/{context.repository}@sha256:{zeros}"),
        {name: f"s3://{path}" for name, path in files.items()},
    )
    version = f"{settings.major}.999999.999999"
    return Wanted(
        architectures=settings.architectures,
        objects=tuple(context.arn("s3", path) for path in files.values()),
        repository=context.arn("ecr", f"repository/{context.repository}"),
        recipes=tuple(write(version, planned) for write in recipe.RECIPES.values()),
    )


def _upstream(settings: Settings, context: Context) -> Wanted:
    """What the followed stack has published; asked for at once, as a StackReference isn't."""
    stack = f"{pulumi.get_organization()}/{context.project}/{settings.release_from}"
    try:
        read = pulumi.runtime.invoke("pulumi:pulumi:readStackOutputs", {"name": stack}).value
    except Exception as error:  # the SDK raises nothing narrower for a stack that isn't there
        raise _unpublished(settings.release_from, str(error)) from error
    outputs = read["outputs"]
    if "release" not in outputs:
        raise _unpublished(settings.release_from, "it has no such outputs")
    return _published(outputs)


def _unpublished(stack: str, why: str) -> Misconfigured:
    return Misconfigured(
        f"stack '{stack}' has published no release to follow ({why}):"
        f" pulumi up --stack {stack}, or pulumi config set release-from STACK"
    )


def _published(outputs: Mapping[str, Any]) -> Wanted:
    return Wanted(
        architectures=tuple(sorted(outputs["image"])),
        objects=tuple(outputs["objects"]),
        repository=outputs["repository_arn"],
        recipes=(),
    )
