"""The component versions of a release.

A version is a hash of the whole recipe, with the image's tag instead of its digest. A preview knows
the tag, so it can name the next versions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pulumi
from pulumi_aws_native import greengrassv2

from infra.account.context import Context
from infra.dynamic import KeptVersions
from infra.names import Names
from infra.publish import already_there, recipe, versions_from_content
from infra.resources.artifacts import Artifacts
from infra.resources.registry import Registry
from infra.settings import Settings


class Components(pulumi.ComponentResource):
    """The three component versions of a release."""

    versions: dict[str, pulumi.Output[str]]  # Name to version, as registered.
    planned: dict[str, str]
    release: str

    def __init__(
        self,
        name: str,
        registry: Registry,
        artifacts: Artifacts,
        *,
        settings: Settings,
        context: Context,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("edge:release:Components", name, None, opts)
        # It is made first, so it is destroyed last, when the devices have no components of ours.
        kept = KeptVersions(
            f"{name}-kept",
            context.props,
            opts=pulumi.ResourceOptions(parent=self),
        )
        names = context.names
        writers = recipe.recipes(names)
        planned = content(settings, names, registry.tags, artifacts.planned)
        real = pulumi.Output.all(images=registry.images, uris=artifacts.uris)
        recipes = {component: write("", planned) for component, write in writers.items()}
        # The check tests all three, so a device has to run it again whenever one of them is new.
        judged: dict[str, Any] = {**recipes, names.check: recipes}
        self.planned = {
            component: versions_from_content.component_version(settings.major, judged[component])
            for component in names.components
        }
        self.release, self.versions = versions_from_content.release_name(self.planned), {}
        for component, write in writers.items():
            version = self.planned[component]
            registered = greengrassv2.ComponentVersion(
                component,
                inline_recipe=real.apply(partial(_recipe, settings, names, write, version)),
                tags=context.tags,
                opts=pulumi.ResourceOptions(
                    parent=self,
                    depends_on=[kept],
                    retain_on_delete=True,
                    delete_before_replace=False,  # The running deployment needs the old version.
                    hooks=already_there.before_create(
                        f"clear-{component}",
                        partial(
                            already_there.clear_component_version,
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
    names: Names,
    write: Callable[[str, recipe.Content], dict[str, Any]],
    version: str,
    known: Mapping[str, Mapping[str, str]],
) -> str:
    return recipe.serialise(
        write(version, content(settings, names, known["images"], known["uris"]))
    )


def content(
    settings: Settings, names: Names, images: Mapping[str, str], uris: Mapping[str, str]
) -> recipe.Content:
    """The recipes' content: `repository@digest` by architecture, `s3://…` by file."""
    return recipe.Content(
        images=images,
        files=recipe.Files(uris=uris),
        engine=settings.engine,
        names=names,
        request_topic=settings.request_topic,
        answer_topic=settings.answer_topic,
        memory=settings.memory,
        check_timeout=settings.check_timeout,
        consumer_interval=settings.consumer_interval,
    )
