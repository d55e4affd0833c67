"""The ECR repository and its images, one for each architecture, named by digest.

The tag is a hash of what the image is made from. So a preview can name it, and an unchanged tree
builds nothing. Each architecture has its own image and tag. A multi-platform index is pushed more
than once under one tag, which an immutable repository refuses.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pulumi
import pulumi_aws as aws
import pulumi_docker as docker

from infra import policies
from infra.account.context import Context
from infra.errors import told
from infra.names import ENGINES
from infra.publish import already_there, versions_from_content
from infra.publish.build_folder import made_once
from infra.settings import Settings

EDGE = Path("edge")
_BASE = re.compile(r"^FROM (?:--\S+ )?(\S+) AS (build|runtime)-image$", re.MULTILINE)
_PLATFORMS = {"amd64": "linux/amd64", "aarch64": "linux/arm64"}  # Greengrass's name to Docker's.


class Registry(pulumi.ComponentResource):
    """An ECR repository with immutable tags, and this tree's images in it."""

    images: dict[str, pulumi.Output[str]]  # Architecture to repository@digest.
    tags: dict[str, str]  # Architecture to repository:tag, known at preview.

    def __init__(
        self,
        name: str,
        *,
        settings: Settings,
        context: Context,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("edge:registry:Registry", name, None, opts)
        tags, clients = context.tags, context.clients
        repository = aws.ecr.Repository(
            f"{name}-repository",
            name=context.repository,
            image_tag_mutability="IMMUTABLE",
            image_scanning_configuration={"scan_on_push": True},
            force_delete=True,  # A destroy also deletes the images.
            tags=tags,
            opts=pulumi.ResourceOptions(
                parent=self,
                hooks=already_there.refuse_unknown_stack(
                    "repository", context, partial(already_there.clear_repository, context)
                ),
            ),
        )
        aws.ecr.LifecyclePolicy(
            f"{name}-lifecycle",
            repository=repository.name,
            policy=json.dumps(policies.ecr_lifecycle_policy()),
            opts=pulumi.ResourceOptions(parent=self),
        )
        bases = {"BUILD_IMAGE": settings.build_image, "RUNTIME_IMAGE": settings.runtime_image}
        arguments = {name: image for name, image in bases.items() if image}
        _warn_of_tags(given=arguments)
        # The default target has no name, so that earlier images aren't built again.
        target = settings.engine if settings.engine != ENGINES[0] else None
        made_with = arguments | ({"target": target} if target else {})
        content = versions_from_content.build_tag(_build_files(), EDGE, made_with)
        staged = _staged(content)
        token = aws.ecr.get_authorization_token_output(opts=pulumi.InvokeOutputOptions(parent=self))
        self.images, self.tags = {}, {}
        for architecture in settings.architectures:
            tag = f"{architecture}-{content}"
            built = docker.Image(
                f"{name}-image-{architecture}",
                image_name=pulumi.Output.concat(repository.repository_url, ":", tag),
                build=docker.DockerBuildArgs(
                    context=str(staged),
                    dockerfile=str(staged / "Dockerfile"),
                    platform=_PLATFORMS[architecture],
                    args=arguments,
                    target=target,
                ),
                registry=docker.RegistryArgs(
                    server=repository.repository_url,
                    username=token.user_name,
                    # Neither plugin marks it as a secret, so the state would have it in clear text.
                    password=pulumi.Output.secret(token.password),
                ),
                opts=pulumi.ResourceOptions(
                    parent=self,
                    hooks=already_there.before_build(
                        f"clear-image-{architecture}",
                        partial(already_there.clear_image, clients, context.repository, tag),
                    ),
                ),
            )
            self.images[architecture] = built.repo_digest
            self.tags[architecture] = f"{context.repository}:{tag}"
        self.register_outputs({})


def _warn_of_tags(given: Mapping[str, str]) -> None:
    """Warn in a preview if the Dockerfile names a base by tag, which may change."""
    text = (EDGE / "Dockerfile").read_text()
    named = {f"{argument.upper()}_IMAGE": image for image, argument in _BASE.findall(text)}
    if tags := [
        image for argument, image in named.items() if argument not in given and "@" not in image
    ]:
        pulumi.log.warn(
            told(
                f"edge/Dockerfile names {' and '.join(tags)} by tag.",
                "What is built depends on the day. Name today's images by digest:",
                "make pin",
            )
        )


def _build_files() -> list[Path]:
    """The files that the Dockerfile copies. With more files, the tag would change without need."""
    return [
        EDGE / "Dockerfile",
        *EDGE.glob("requirements*.txt"),
        *(
            path
            for folder in ("build", "inference")
            for path in (EDGE / folder).rglob("*")
            if path.is_file() and path.suffix != ".so" and "__pycache__" not in path.parts
        ),
    ]


def _staged(content: str) -> Path:
    """A copy of these files, with fixed modes.

    pulumi-docker's digest of a build context includes modes (provider/provider.go, hashPath). With
    another umask, the same tree would update the image. The path is relative, so that the state is
    the same in every checkout.
    """

    def copy(draft: Path) -> None:
        for file in _build_files():
            copied = draft / file.relative_to(EDGE)
            copied.parent.mkdir(parents=True, exist_ok=True)
            copied.write_bytes(file.read_bytes())
        for path in (draft, *draft.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)

    return made_once(f"image-{content}", copy)
