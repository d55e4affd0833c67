"""A release: three component versions that this stack made, or took over by name or from a stack.

When a newer release replaces versions, they are kept for rollback and for followers. A destroy
removes every version with this stack's tags.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import pulumi
import pulumi_aws as aws

from infra.account.context import Context
from infra.names import Names
from infra.publish import versions_from_content
from infra.publish.bucket_contents import record_key
from infra.publish.release_records import Record
from infra.resources.artifacts import Artifacts, Handover
from infra.resources.components import Components
from infra.resources.registry import Registry
from infra.resources.sboms import sboms
from infra.settings import Misconfigured, Settings


@dataclass(frozen=True, kw_only=True)
class Release:
    """The facts of a release that a rollout and a follower need."""

    registered: dict[str, pulumi.Output[str]]  # Name to version; a deployment waits for it.
    release: pulumi.Input[str]  # A short name for the three versions.
    model: pulumi.Input[str]
    components: Mapping[str, str]  # The same versions, known at preview.
    objects: pulumi.Input[list[str]]  # The ARNs of a device's files, known at preview.
    repository_arn: pulumi.Input[str]
    repository: pulumi.Input[str]
    bucket: pulumi.Input[str]
    image: pulumi.Input[dict[str, str]]  # Architecture to repository@digest.
    samples: pulumi.Input[str]  # As s3://….
    golden: pulumi.Input[str]  # As s3://…, with XGBoost's answers to the samples.

    @classmethod
    def published(
        cls,
        handover: Handover,
        registry: Registry,
        artifacts: Artifacts,
        components: Components,
        settings: Settings,
        context: Context,
    ) -> Release:
        """This stack's own release, from its tree. Its record and its SBOMs are stored."""
        release = cls(
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
        documents = sboms(registry.images, artifacts.bucket, context, parent=registry)
        _store_record(release, components, settings, documents)
        return release

    @classmethod
    def stored(cls, pinned: Record | None, settings: Settings, context: Context) -> Release:
        """The followed stack's newest release, or an older release by its record.

        A publisher that deploys an older release still publishes its tree. So nothing is removed,
        and when the key `release` is removed, the newest release is unchanged.
        """
        outputs = pinned.outputs if pinned else upstream(settings, context)
        return cls(
            registered={
                name: pulumi.Output.from_input(version)
                for name, version in outputs["components"].items()
            },
            **{name: outputs[name] for name in _OUTPUTS},
        )

    def outputs(self) -> dict[str, Any]:
        """The stack's outputs. A follower reads them by the names of the fields."""
        return {name: getattr(self, name) for name in _OUTPUTS}


_OUTPUTS = [field.name for field in fields(Release) if field.name != "registered"]


def _store_record(
    release: Release,
    components: Components,
    settings: Settings,
    sboms: Mapping[str, pulumi.Output[str]],
) -> None:
    """Store what it takes to deploy the release again, once its versions are there.

    The names of the model's and the samples' files are for people who look for a release.
    """
    files = {"model": settings.model.name, "samples": settings.samples.name}
    outputs = {**release.outputs(), "files": files, "sboms": sboms}
    aws.s3.BucketObjectv2(
        "record",
        bucket=release.bucket,
        key=record_key(components.release),
        content=pulumi.Output.all(outputs, release.registered).apply(
            lambda known: versions_from_content.canonical(known[0]).decode()
        ),
        content_type="application/json",
        opts=pulumi.ResourceOptions(
            parent=components, retain_on_delete=True, delete_before_replace=False
        ),
    )


def upstream(settings: Settings, context: Context) -> Mapping[str, Any]:
    """The outputs of the followed stack. Raises Misconfigured if it has no release.

    They are read at once, because a StackReference resolves later.
    """
    stack = f"{pulumi.get_organization()}/{context.project}/{settings.release_from}"
    try:
        read = pulumi.runtime.invoke("pulumi:pulumi:readStackOutputs", {"name": stack}).value
    except Exception as error:  # The SDK raises nothing narrower for a missing stack.
        raise _unpublished(settings.release_from, str(error)) from error
    outputs: Mapping[str, Any] = read["outputs"]
    if "release" not in outputs:
        raise _unpublished(settings.release_from, "it has no such outputs")
    theirs = Names.of(outputs["components"])
    if theirs != context.names:
        raise Misconfigured(
            f"component-prefix is {context.component_prefix}, and stack '{settings.release_from}'"
            f" calls its components {theirs.prefix}.*.",
            "A follower uses its publisher's names.",
            f"pulumi config set component-prefix {theirs.prefix}",
        )
    return outputs


def _unpublished(stack: str, why: str) -> Misconfigured:
    return Misconfigured(
        f"stack '{stack}' has published no release to follow ({why}).",
        "Publish there first, or follow another stack:",
        f"pulumi up --stack {stack}",
        "pulumi config set release-from STACK",
    )
