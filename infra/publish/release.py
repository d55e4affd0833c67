"""A release: three component versions, made here, taken over from the stack that published them, or
an older one that the stack names.

Versions are kept when a newer release replaces them, for rollback and for stacks that follow, until
nobody needs them; a destroy removes every one that carries this stack's tags.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import pulumi

from infra.context import Context
from infra.names import COMPONENTS
from infra.publish.artifacts import Artifacts, Handover
from infra.publish.components import Components
from infra.publish.records import Record
from infra.publish.registry import Registry
from infra.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Release:
    """What a rollout and a follower need to know of a release."""

    registered: dict[str, pulumi.Output[str]]  # name to version; whoever deploys it waits for it
    release: pulumi.Input[str]  # a short name for the three versions
    model: pulumi.Input[str]
    components: pulumi.Input[dict[str, str]]  # the same versions, known at preview
    objects: pulumi.Input[list[str]]  # ARNs that a device must read, known at preview
    repository_arn: pulumi.Input[str]
    repository: pulumi.Input[str]
    bucket: pulumi.Input[str]
    image: pulumi.Input[dict[str, str]]  # architecture to repository@digest
    samples: pulumi.Input[str]  # s3://… of the questions
    golden: pulumi.Input[str]  # s3://… of XGBoost's answers to them

    @classmethod
    def published(
        cls,
        handover: Handover,
        registry: Registry,
        artifacts: Artifacts,
        components: Components,
        context: Context,
    ) -> Release:
        """This stack's own, of what its tree holds."""
        return cls(
            release=components.release,
            model=handover.golden.model,
            registered=components.versions,
            components=components.planned,
            objects=list(artifacts.objects.values()),
            repository_arn=context.arn("ecr", f"repository/{context.repository}"),
            repository=context.repository,
            bucket=artifacts.bucket,
            image=pulumi.Output.all(**registry.images),
            samples=artifacts.uris["samples.json"],
            golden=artifacts.uris["golden.json"],
        )

    @classmethod
    def followed(cls, settings: Settings, context: Context) -> Release:
        """The newest of the stack that this one follows."""
        stack = f"{pulumi.get_organization()}/{context.project}/{settings.release_from}"
        upstream = pulumi.StackReference(stack)
        published = upstream.require_output("components")
        return cls(
            registered={name: published[name] for name in COMPONENTS},
            **{name: upstream.require_output(name) for name in _OUTPUTS},
        )

    @classmethod
    def recorded(cls, record: Record) -> Release:
        """An older one, as it was published.

        A publisher that deploys one publishes its tree all the same: nothing that is there goes,
        and whoever takes the name out again finds the newest as it was.
        """
        components = record.outputs["components"]
        return cls(
            registered={name: pulumi.Output.from_input(components[name]) for name in COMPONENTS},
            **{name: record.outputs[name] for name in _OUTPUTS},
        )

    def outputs(self) -> dict[str, Any]:
        """The stack's outputs, which a follower reads under the names of the fields."""
        return {name: getattr(self, name) for name in _OUTPUTS}


_OUTPUTS = [field.name for field in fields(Release) if field.name != "registered"]
