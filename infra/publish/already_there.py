"""Deletes what an earlier `up` left outside Pulumi's state, before it is made again.

There are two causes. An `up` was killed between a creation and the saved state. Or content came
back (A, B, A): its component version was retained for rollback and its image kept in the
repository, and neither can be made a second time. Only a thing with exactly the name that is about
to be made, and with this stack's tags, is deleted. The provider refuses anything else.

A bucket with release records is no leftover. It belongs to a stack that another state knows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial

import pulumi
from botocore.exceptions import ClientError

from infra.account.clients import Clients, error_code, unless_gone
from infra.account.context import Context
from infra.account.greengrass import component_versions, has_tags
from infra.account.images import MEDIA_TYPES
from infra.errors import Told
from infra.publish.bucket_contents import objects, recorded

_NOT_OURS = ("404", "403")  # With 403, another account owns it: the provider will refuse it.
_NAMED = 5  # A message names this many releases.
WAS = "was-"  # It begins the tag of an image whose old tag was freed.


class StackExists(Told):
    """The account has this stack, but Pulumi's state doesn't. The message says how to go on."""


def hook(
    name: str, clear: Callable[[], object], opts: pulumi.ResourceHookOptions | None = None
) -> pulumi.ResourceHook:
    """A hook that calls `clear`, in a preview as well if `opts` say so."""

    async def run(_: pulumi.ResourceHookArgs) -> None:
        await asyncio.to_thread(clear)  # The program's event loop can then serve other resources.

    return pulumi.ResourceHook(name, run, opts=opts)


def before_create(name: str, clear: Callable[[], object]) -> pulumi.ResourceHookBinding:
    """Run `clear` before the resource is created (or replaced by a new one)."""
    return pulumi.ResourceHookBinding(before_create=[hook(name, clear)])


def before_build(name: str, clear: Callable[[], object]) -> pulumi.ResourceHookBinding:
    """Run `clear` before an image is pushed. A new tag is an update of the image resource."""
    both = hook(name, clear)
    return pulumi.ResourceHookBinding(before_create=[both], before_update=[both])


def refuse_unknown_stack(
    name: str, context: Context, clear: Callable[[], object] | None = None
) -> pulumi.ResourceHookBinding:
    """Refuse, also in a preview, to make what an existing stack has. Otherwise run `clear`."""
    check = partial(check_unknown_stack, context)
    first = hook(name, check, opts=pulumi.ResourceHookOptions(on_dry_run=True))
    then = [hook(f"clear-{name}", clear)] if clear else []
    return pulumi.ResourceHookBinding(before_create=[first, *then])


def check_unknown_stack(context: Context) -> None:
    """Raise StackExists if the account has releases of this stack that its state lacks.

    It is called before something is made that only a stack's first update makes.
    """
    client = context.clients.s3
    try:
        client.head_bucket(Bucket=context.bucket, ExpectedBucketOwner=context.account)
    except ClientError as error:
        if error_code(error) in _NOT_OURS:
            return
        raise
    if names := [name for name, _ in recorded(client, context.bucket)]:
        named = ", ".join(sorted(names)[:_NAMED]) + (" …" if len(names) > _NAMED else "")
        raise StackExists(
            f"nothing was changed: stack {context.deployment_name} exists in this account. Bucket"
            f" {context.bucket} holds {len(names)} of its releases ({named}).",
            "This Pulumi state doesn't know them, and an update would remove them. Log in to the"
            " backend that made them, or import a backup of its state:",
            "pulumi login URL",
            "pulumi stack import --file BACKUP",
        )


def clear_component_version(clients: Clients, arn: str, tags: Mapping[str, str]) -> bool:
    """Delete the component version with this ARN if it is this stack's. Returns whether it was."""
    if has_tags(clients.greengrass, arn, tags):
        with unless_gone():
            clients.greengrass.delete_component(arn=arn)
            return True
    return False


def sweep(
    clients: Clients,
    component: str,
    tags: Mapping[str, str],
    say: Callable[[str], None] = print,
) -> None:
    """Delete every version of a component (an ARN without version) with these tags."""
    for arn in component_versions(clients.greengrass, component):
        if clear_component_version(clients, arn, tags):
            say(f"removed {arn}")


def clear_image(clients: Clients, repository: str, tag: str) -> None:
    """Free the tag in this stack's repository, because an immutable tag can be pushed only once.

    The image gets another tag, because a device may run it. ECR deletes an image without any tag
    (reference of BatchDeleteImage).
    """
    client = clients.ecr
    with unless_gone():
        found = client.batch_get_image(
            repositoryName=repository,
            imageIds=[{"imageTag": tag}],
            acceptedMediaTypes=[*MEDIA_TYPES],
        )
        for image in found["images"]:
            digest = image["imageId"]["imageDigest"].removeprefix("sha256:")
            again = client.exceptions  # The same image's tag may have been freed before.
            with suppress(again.ImageAlreadyExistsException, again.ImageTagAlreadyExistsException):
                client.put_image(
                    repositoryName=repository,
                    imageManifest=image["imageManifest"],
                    imageManifestMediaType=image["imageManifestMediaType"],
                    imageTag=f"{WAS}{tag}-{digest[:12]}",
                )
            client.batch_delete_image(repositoryName=repository, imageIds=[{"imageTag": tag}])


def clear_repository(context: Context) -> None:
    """Delete the repository with this name and its images, if it is this stack's.

    Raises StackExists if the stack has releases, because their images would be lost.
    """
    check_unknown_stack(context)
    client, name, tags = context.clients.ecr, context.repository, context.tags
    with unless_gone():
        [found] = client.describe_repositories(repositoryNames=[name])["repositories"]
        listed = client.list_tags_for_resource(resourceArn=found["repositoryArn"])["tags"]
        if _has_tags({tag["Key"]: tag["Value"] for tag in listed}, tags):
            client.delete_repository(repositoryName=name, force=True)


def clear_bucket(context: Context) -> None:
    """Delete the account's bucket with this name if it is this stack's, or empty and untagged.

    Pulumi tags a bucket after S3 has made it, so a bucket from a killed `up` may lack tags. Raises
    StackExists if the bucket has release records, because a killed first `up` leaves none.
    """
    check_unknown_stack(context)
    client, name, tags = context.clients.s3, context.bucket, context.tags
    try:
        client.head_bucket(Bucket=name, ExpectedBucketOwner=context.account)
    except ClientError as error:
        if error_code(error) in _NOT_OURS:
            return
        raise
    listed = []
    with unless_gone():
        listed = client.get_bucket_tagging(Bucket=name)["TagSet"]
    keys = [one["Key"] for one in objects(client, name)]
    mine = _has_tags({tag["Key"]: tag["Value"] for tag in listed}, tags)
    if not mine and (keys or listed):
        return
    for key in keys:  # One update has uploaded these.
        client.delete_object(Bucket=name, Key=key)
    with unless_gone():
        client.delete_bucket(Bucket=name)


def _has_tags(found: Mapping[str, str], tags: Mapping[str, str]) -> bool:
    return all(found.get(key) == value for key, value in tags.items())
