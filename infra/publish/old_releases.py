"""Releases that nobody needs any more go: component versions, images, objects and records.

`keep-releases` says how many stay for their age. Beyond these, whatever a device runs, is about to
run or could go back to stays too (infra/account/in_use.py). With them goes what a cut-short update
has made and no release has. Where AWS doesn't tell, nothing is removed; and no update is red for
what it couldn't tidy up.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import chain
from typing import TypeVar

from infra.account.clients import Clients
from infra.account.greengrass import component_versions, has_tags
from infra.account.in_use import Version, in_use
from infra.context import Context
from infra.names import COMPONENTS
from infra.publish import leftovers
from infra.publish.records import PREFIX, Record, stored_releases

_T = TypeVar("_T", bound=Hashable)


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What releases are made of."""

    components: frozenset[Version] = frozenset()
    images: frozenset[str] = frozenset()  # digests
    objects: frozenset[str] = frozenset()  # keys

    @classmethod
    def of(cls, records: Sequence[Record]) -> Parts:
        return cls(
            components=_union(one.components for one in records),
            images=_union(one.images for one in records),
            objects=_union(one.objects for one in records),
        )

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
    """Old releases, and the parts that no other release needs."""

    records: tuple[Record, ...]
    parts: Parts


def superfluous(
    records: Sequence[Record],
    strays: Parts,
    used: AbstractSet[Version],
    *,
    own: str,
    keep: int,
) -> Superfluous:
    """What can go, given every kept release, the newest first; `own` is the key of the tree's.

    Releases share versions: one that is used as a whole stays for certain, and then, for each
    version that is used alone (somebody deployed it by hand), the newest release with it. `strays`
    are in no release: they go, unless one of their versions is used, which may need the others.
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
    parts = Parts.of(go) - Parts.of(stay)
    if strays.components.isdisjoint(used):
        parts |= strays
    return Superfluous(records=tuple(go), parts=parts)


def _union(sets: Iterable[frozenset[_T]]) -> frozenset[_T]:
    return frozenset(chain.from_iterable(sets))


def prune(
    context: Context,
    *,
    own: str,
    keep: int,
    say: Callable[[str], None] = print,
) -> None:
    """Remove what is superfluous of a publisher's releases; raises ClientError where AWS refuses.

    A record goes last: what is interrupted goes on after the next update.
    """
    clients, bucket, repository = context.clients, context.bucket, context.repository
    records = stored_releases(clients, bucket)
    strays = Parts()
    if own in {record.key for record in records}:
        known = Parts.of(records)
        strays = Parts(
            components=_stray_versions(context, known.components),
            images=_tagged_images(clients, repository) - known.images,
            objects=_objects(clients, bucket) - known.objects,
        )
    if len(records) <= keep and strays == Parts():
        return
    old = superfluous(records, strays, in_use(clients, context.project), own=own, keep=keep)
    for component, version in sorted(old.parts.components):
        leftovers.clear_component_version(
            clients, context.component_arn(component, version), context.tags
        )
    for digest in sorted(old.parts.images):
        clients.ecr.batch_delete_image(
            repositoryName=repository, imageIds=[{"imageDigest": digest}]
        )
    for key in [*sorted(old.parts.objects), *(record.key for record in old.records)]:
        clients.s3.delete_object(Bucket=bucket, Key=key)
    for record in old.records:
        say(f"removed release {record.release} of {record.stored:%Y-%m-%d}: older, and unused")
    cut_short = old.parts - Parts.of(records)
    for what in (
        *(f"{component} {version}" for component, version in sorted(cut_short.components)),
        *(f"image {digest}" for digest in sorted(cut_short.images)),
        *(f"s3://{bucket}/{key}" for key in sorted(cut_short.objects)),
    ):
        say(f"removed {what}: an update that was cut short had made it, for no release")


def _stray_versions(context: Context, known: AbstractSet[Version]) -> frozenset[Version]:
    """This stack's, other than those known; one call for each other version in the account."""
    client = context.clients.greengrass
    listed = {
        (component, arn.rpartition(":")[2])
        for component in COMPONENTS
        for arn in component_versions(client, context.component_arn(component))
    }
    return frozenset(
        one for one in listed - known if has_tags(client, context.component_arn(*one), context.tags)
    )


def _tagged_images(clients: Clients, repository: str) -> frozenset[str]:
    """Digests; none of an image that made way for one of its tag, as a device may run it."""
    pages = clients.ecr.get_paginator("list_images").paginate(
        repositoryName=repository, filter={"tagStatus": "TAGGED"}
    )
    listed = [image for page in pages for image in page["imageIds"]]
    made_way = {one["imageDigest"] for one in listed if one["imageTag"].startswith(leftovers.WAS)}
    return frozenset(one["imageDigest"] for one in listed) - made_way


def _objects(clients: Clients, bucket: str) -> frozenset[str]:
    """Keys of all but records."""
    pages = clients.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    keys = [one["Key"] for page in pages for one in page.get("Contents", [])]
    return frozenset(key for key in keys if not key.startswith(PREFIX))
