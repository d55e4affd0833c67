"""A release: three component versions, made here, taken over from the stack that published them, or
an older one that the stack names.

A version is a hash of the whole recipe as a preview knows it, with the image's tag in place of its
digest, so a preview names the versions to come. Versions are kept when a newer release replaces
them, for rollback and for stacks that follow, until nobody needs them; a
destroy removes every one that carries this stack's tags.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import pulumi
from pulumi_aws_native import greengrassv2

from infra.context import Context
from infra.dynamic import KeptVersions
from infra.names import CHECK, COMPONENTS
from infra.publish import leftovers, recipe, records, versions
from infra.publish.artifacts import Artifacts, File
from infra.publish.golden import check_memory, golden
from infra.publish.registry import Registry
from infra.settings import Settings

CONSUMER_PROGRAM = Path("edge/consumer/consumer.py")


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
    record: pulumi.Input[str] | None = None  # key of what the tree itself has published, once there

    @classmethod
    def of(cls, settings: Settings, context: Context, pinned: records.Record | None) -> Release:
        """This stack's own, that of the stack it follows, or an older one of either.

        A publisher that names an older one publishes its tree all the same: nothing that is there
        goes, and whoever takes the name out again finds the newest as it was.
        """
        if settings.release_from:
            return _recorded(pinned) if pinned else _followed(settings, context)
        own = _published(settings, context)
        return replace(_recorded(pinned), record=own.record) if pinned else own

    def outputs(self) -> dict[str, Any]:
        """The stack's outputs, which a follower reads under the names of the fields."""
        return {name: getattr(self, name) for name in _OUTPUTS}


_OUTPUTS = [field.name for field in fields(Release) if field.name not in ("registered", "record")]


def _followed(settings: Settings, context: Context) -> Release:
    stack = f"{pulumi.get_organization()}/{context.project}/{settings.release_from}"
    upstream = pulumi.StackReference(stack)
    published = upstream.require_output("components")
    return Release(
        registered={name: published[name] for name in COMPONENTS},
        **{name: upstream.require_output(name) for name in _OUTPUTS},
    )


def _recorded(record: records.Record) -> Release:
    components = record.outputs["components"]
    return Release(
        registered={name: pulumi.Output.from_input(components[name]) for name in COMPONENTS},
        **{name: record.outputs[name] for name in _OUTPUTS},
    )


def _published(settings: Settings, context: Context) -> Release:
    check_memory(settings.model, settings.memory, settings.engine)
    answers = golden(settings.model, settings.samples, settings.engine)
    registry = Registry("registry", settings=settings, context=context)
    artifacts = Artifacts(
        "artifacts",
        files={
            recipe.MODEL: File.packed(settings.model),
            "samples.json": File.text(versions.canonical(answers.samples).decode()),
            "golden.json": File.text(versions.canonical(answers.document()).decode()),
            "consumer.py": File.plain(CONSUMER_PROGRAM),
        },
        context=context,
    )
    components = Components(
        "components",
        registry=registry,
        artifacts=artifacts,
        settings=settings,
        context=context,
    )
    release = Release(
        release=components.release,
        model=answers.model,
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
    record = records.store(release.outputs(), once=release.registered, parent=components)
    return replace(release, record=record.key)


class Components(pulumi.ComponentResource):
    """The three component versions of a release."""

    versions: dict[str, pulumi.Output[str]]  # name to version, from what was registered
    planned: dict[str, str]
    release: str

    def __init__(
        self,
        name: str,
        *,
        registry: Registry,
        artifacts: Artifacts,
        settings: Settings,
        context: Context,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("edge:release:Components", name, None, opts)
        # made first, so destroyed last: after the rollout has taken the components off the devices
        kept = KeptVersions(
            f"{name}-kept",
            context.props,
            opts=pulumi.ResourceOptions(parent=self),
        )
        planned = content(settings, registry.tags, artifacts.planned)
        real = pulumi.Output.all(images=registry.images, uris=artifacts.uris)
        recipes = {component: write("", planned) for component, write in recipe.RECIPES.items()}
        # the check judges all three, so a device has to run it again whenever one of them is new
        judged: dict[str, Any] = {**recipes, CHECK: recipes}
        self.planned = {
            component: versions.component_version(settings.major, judged[component])
            for component in COMPONENTS
        }
        self.release, self.versions = versions.release_name(self.planned), {}
        for component, write in recipe.RECIPES.items():
            version = self.planned[component]
            registered = greengrassv2.ComponentVersion(
                component,
                inline_recipe=real.apply(partial(_recipe, settings, write, version)),
                tags=context.tags,
                opts=pulumi.ResourceOptions(
                    parent=self,
                    depends_on=[kept],
                    retain_on_delete=True,
                    delete_before_replace=False,  # what the running deployment refers to stays
                    hooks=leftovers.before_create(
                        f"clear-{component}",
                        partial(
                            leftovers.clear_component_version,
                            context.clients,
                            context.component_arn(component, version),
                            context.tags,
                        ),
                    ),
                ),
            )
            self.versions[component] = registered.component_version.apply(str)
        self.register_outputs({})


def _recipe(
    settings: Settings,
    write: Callable[[str, recipe.Content], dict[str, Any]],
    version: str,
    known: Mapping[str, Mapping[str, str]],
) -> str:
    return recipe.serialise(write(version, content(settings, known["images"], known["uris"])))


def content(
    settings: Settings, images: Mapping[str, str], uris: Mapping[str, str]
) -> recipe.Content:
    """What the recipes are made of: `repository@digest` by architecture, `s3://…` by file."""
    return recipe.Content(
        images=images,
        files=recipe.Files(uris=uris),
        engine=settings.engine,
        memory=settings.memory,
        check_timeout=settings.check_timeout,
        consumer_interval=settings.consumer_interval,
    )
