"""Removes releases that nobody needs: component versions, images, objects and records.

The newest `keep-releases` releases stay. So does every release that a device runs, is about to run,
or could go back to (fleet/in_use.py). Leftovers of interrupted updates, which no release has, are
also removed. An update never removes any of this, because a person should see the list first. If
AWS refuses a read, nothing is removed.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import chain, compress
from typing import Any, TypeVar

from rich.console import Console

from fleet import pulumi_cli, stackfile
from fleet.in_use import Version, in_use
from fleet.rollback import last_good
from fleet.stacks import NoStack, Stack
from fleet.terminal import words
from infra.account.clients import Clients, at_once
from infra.account.context import Context
from infra.account.greengrass import component_versions, has_tags
from infra.account.images import delete_image
from infra.publish import already_there
from infra.publish.bucket_contents import RECORDS, objects
from infra.publish.release_records import Record, stored_releases

_T = TypeVar("_T", bound=Hashable)


def prune(stack: Stack, console: Console, *, sure: bool) -> None:
    """Print which of a publisher's releases can be removed, and why. Remove them if `sure`.

    Raises NoStack for a follower, for a stack without releases, and while an update is under way or
    was interrupted. Raises ClientError if AWS refuses a call.
    """
    settings = stackfile.check(stack.name, stack.config)
    if settings.release_from:
        raise NoStack(
            f"stack {stack.name} publishes nothing.",
            f"It follows {settings.release_from}. Prune there:",
            f"make prune STACK={settings.release_from}",
        )
    held, context = _held(stack), stack.context()
    back = last_good(stack, stored_releases(context.clients, context.bucket))
    found = superfluous_in(context, held, keep=settings.keep_releases, back=back)
    for line in found.lines(context.bucket, keep=settings.keep_releases):
        console.print(words(line), soft_wrap=True)
    if found == Superfluous():
        console.print(f"stack {stack.name}: there is nothing to remove")
    elif sure:
        remove(context, found)
        console.print("all of it was removed")
    else:
        console.print(f"Nothing was removed. Remove it:\n    make prune STACK={stack.name} YES=1")


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The parts of releases."""

    components: frozenset[Version] = frozenset()
    images: frozenset[str] = frozenset()  # Their digests.
    objects: frozenset[str] = frozenset()  # Their keys.

    @classmethod
    def of(cls, records: Sequence[Record]) -> Parts:
        return cls(
            components=_union(one.components for one in records),
            images=_union(one.images for one in records),
            objects=_union(one.objects for one in records),
        )

    def lines(self, bucket: str) -> Iterator[str]:
        for component, version in sorted(self.components):
            yield f"  {component} {version}"
        for digest in sorted(self.images):
            yield f"  image {digest}"
        for key in sorted(self.objects):
            yield f"  s3://{bucket}/{key}"

    def __or__(self, other: Parts) -> Parts:
        return Parts(
            components=self.components | other.components,
            images=self.images | other.images,
            objects=self.objects | other.objects,
        )

    def __sub__(self, other: Parts) -> Parts:
        return Parts(
            components=self.components - other.components,
            images=self.images - other.images,
            objects=self.objects - other.objects,
        )


@dataclass(frozen=True, kw_only=True)
class Superfluous:
    """Old releases, the parts that no other release needs, and parts without a release."""

    records: tuple[Record, ...] = ()
    parts: Parts = Parts()
    strays: Parts = Parts()

    def lines(self, bucket: str, *, keep: int) -> Iterator[str]:
        """What will be removed, and why."""
        for record in self.records:
            yield (
                f"release {record.release} of {record.stored:%Y-%m-%d}: {keep} newer ones are kept"
                " (keep-releases), and no device runs it or could go back to it"
            )
        if self.records:
            yield "with what only these releases have:"
            yield from self.parts.lines(bucket)
        if self.strays != Parts():
            yield "left by an interrupted update, in no release:"
            yield from self.strays.lines(bucket)


def superfluous(
    records: Sequence[Record],
    strays: Parts,
    used: AbstractSet[Version],
    *,
    own: str,
    keep: int,
) -> Superfluous:
    """What can be removed of these records, the newest first. `own` is the key of the tree's.

    Releases share versions. A release stays if all its versions are in use. For a version that is
    used alone, because somebody deployed it by hand, the newest release with it stays. `strays` are
    in no release. They are removed, unless one of their versions is in use, which may need the
    others.
    """
    stay = [
        record
        for age, record in enumerate(records)
        if age < keep or record.key == own or record.components <= used
    ]
    alone = used - _union(record.components for record in stay)
    go: list[Record] = []
    for record in records:
        if record not in stay:
            (go if record.components.isdisjoint(alone) else stay).append(record)
            alone -= record.components
    return Superfluous(
        records=tuple(go),
        parts=Parts.of(go) - Parts.of(stay),
        strays=strays if strays.components.isdisjoint(used) else Parts(),
    )


def _union(sets: Iterable[frozenset[_T]]) -> frozenset[_T]:
    return frozenset(chain.from_iterable(sets))


@dataclass(frozen=True, kw_only=True)
class Held:
    """What Pulumi's state of a publisher has. The next update relies on it."""

    record: str  # The key of the tree's own release.
    parts: Parts


def _unfinished(pending: Iterable[dict[str, Any]], resources: Iterable[dict[str, Any]]) -> bool:
    """Whether a pending creation has no resource in the state.

    Pulumi still lists an interrupted creation after an update that made the same resource.
    """
    made = {one["urn"] for one in resources}
    return any(one["resource"]["urn"] not in made for one in pending)


def _held(stack: Stack) -> Held:
    exported = pulumi_cli.pulumi(stack.name, "stack", "export", capture=True)
    known = json.loads(exported.stdout).get("deployment") if exported.returncode == 0 else None
    state = known or {}
    resources = state.get("resources") or ()
    if _unfinished(state.get("pending_operations") or (), resources):
        raise NoStack(
            f"an update of stack {stack.name} is under way, or was interrupted.",
            "What it has made can't be told from what is left over. Wait for it, or finish it:",
            f"pulumi up --stack {stack.name}",
            f"pulumi refresh --stack {stack.name} --clear-pending-creates",
        )
    found = held_by(resources)
    if not found.record:
        raise NoStack(
            f"Pulumi's state of stack {stack.name} has no release.",
            "Without it, nothing can be told from what is left over.",
            f"pulumi up --stack {stack.name}",
        )
    return found


def held_by(resources: Iterable[dict[str, Any]]) -> Held:
    """What these resources of an exported state hold. Without a release, `record` is empty."""
    components, images, keys = set(), set(), set()
    for one in resources:
        outputs = one.get("outputs", {})
        match one["type"].rpartition(":")[2]:
            case "ComponentVersion":
                _, name, _, version = one["id"].rsplit(":", 3)
                components.add((name, version))
            case "Image":
                images.add(outputs["repoDigest"].rpartition("@")[2])
            case "BucketObjectv2" | "Sbom":
                keys.add(outputs["key"])
    records = sorted(key for key in keys if key.startswith(RECORDS))
    return Held(
        record=records[-1] if records else "",
        parts=Parts(
            components=frozenset(components),
            images=frozenset(images),
            objects=frozenset(keys.difference(records)),
        ),
    )


def superfluous_in(
    context: Context, held: Held, *, keep: int, back: Sequence[Record] = ()
) -> Superfluous:
    """Ask the account what can be removed, except `back`. Raises ClientError if AWS refuses."""
    clients = context.clients
    records = stored_releases(clients, context.bucket)
    strays = Parts()
    if held.record in {record.key for record in records}:
        known = Parts.of(records) | held.parts
        strays = Parts(
            components=_stray_versions(context, known.components),
            images=_tagged_images(clients, context.repository) - known.images,
            objects=_objects(clients, context.bucket) - known.objects,
        )
    if len(records) <= keep and strays == Parts():
        return Superfluous()
    used = in_use(clients, context.project, context.names) | Parts.of(back).components
    return superfluous(records, strays, used, own=held.record, keep=keep)


def remove(context: Context, found: Superfluous) -> None:
    """Remove it. Raises ClientError if AWS refuses.

    A record is removed last, so that the next run finds the rest after an interruption.
    """
    clients, parts = context.clients, found.parts | found.strays
    for component, version in sorted(parts.components):
        arn = context.component_arn(component, version)
        already_there.clear_component_version(clients, arn, context.tags)
    for digest in sorted(parts.images):
        delete_image(clients.ecr, context.repository, digest)
    for key in [*sorted(parts.objects), *(record.key for record in found.records)]:
        clients.s3.delete_object(Bucket=context.bucket, Key=key)


def _stray_versions(context: Context, known: AbstractSet[Version]) -> frozenset[Version]:
    """This stack's unknown versions. One call for each other version in the account."""
    client = context.clients.greengrass
    listed = {
        (component, arn.rpartition(":")[2])
        for component in context.names.components
        for arn in component_versions(client, context.component_arn(component))
    }
    unknown = sorted(listed - known)
    own = at_once(lambda one: has_tags(client, context.component_arn(*one), context.tags), unknown)
    return frozenset(compress(unknown, own))


def _tagged_images(clients: Clients, repository: str) -> frozenset[str]:
    """Digests of tagged images, without those whose tag was freed: a device may run them."""
    pages = clients.ecr.get_paginator("list_images").paginate(
        repositoryName=repository, filter={"tagStatus": "TAGGED"}
    )
    listed = [image for page in pages for image in page["imageIds"]]
    made_way = {
        one["imageDigest"] for one in listed if one["imageTag"].startswith(already_there.WAS)
    }
    return frozenset(one["imageDigest"] for one in listed) - made_way


def _objects(clients: Clients, bucket: str) -> frozenset[str]:
    """The keys of all objects except records."""
    keys = (one["Key"] for one in objects(clients.s3, bucket))
    return frozenset(key for key in keys if not key.startswith(RECORDS))
