"""Releases that nobody needs any more go: component versions, images, objects and records.

`keep-releases` says how many stay for their age. Beyond these, whatever a device runs, is about to
run or could go back to stays too (infra/inuse.py). Where AWS doesn't tell, nothing is removed; and
no update is red for what it couldn't tidy up.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeVar

import pulumi
from botocore.exceptions import BotoCoreError, ClientError
from pulumi import dynamic

from infra import leftovers
from infra.clients import Clients, clients_of
from infra.destroy import Remembered
from infra.inuse import Version, in_use
from infra.records import Record, kept
from infra.settings import Place, Settings

_T = TypeVar("_T", bound=Hashable)


@dataclass(frozen=True, kw_only=True)
class Superfluous:
    """Old releases, and what no other release needs of them."""

    records: tuple[Record, ...]
    components: frozenset[Version]
    images: frozenset[str]  # digests
    objects: frozenset[str]  # keys


def superfluous(
    records: Sequence[Record], used: AbstractSet[Version], *, own: str, keep: int
) -> Superfluous:
    """What can go, given every kept release, the newest first; `own` is the key of the tree's.

    Releases share versions: one that is used as a whole stays for certain, and then, for each
    version that is used alone (somebody deployed it by hand), the newest release with it.
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
        components=_union(one.components for one in go) - _union(one.components for one in stay),
        images=_union(one.images for one in go) - _union(one.images for one in stay),
        objects=_union(one.objects for one in go) - _union(one.objects for one in stay),
    )


def _union(sets: Iterable[frozenset[_T]]) -> frozenset[_T]:
    return frozenset(chain.from_iterable(sets))


def prune(
    clients: Clients,
    *,
    project: str,
    bucket: str,
    repository: str,
    arns: str,
    tags: Mapping[str, str],
    own: str,
    keep: int,
    say: Callable[[str], None] = print,
) -> None:
    """Remove what is superfluous of a publisher's releases; raises ClientError where AWS refuses.

    `arns` is what every ARN of Greengrass in this account and region begins with. A record goes
    last: what is interrupted goes on after the next update.
    """
    records = kept(clients, bucket)
    if len(records) <= keep:
        return
    old = superfluous(records, in_use(clients, project), own=own, keep=keep)
    for component, version in sorted(old.components):
        arn = f"{arns}:components:{component}:versions:{version}"
        leftovers.clear_component_version(clients, arn, tags)
    for digest in sorted(old.images):
        clients.ecr.batch_delete_image(
            repositoryName=repository, imageIds=[{"imageDigest": digest}]
        )
    for key in [*sorted(old.objects), *(record.key for record in old.records)]:
        clients.s3.delete_object(Bucket=bucket, Key=key)
    for record in old.records:
        say(f"removed release {record.release} of {record.stored:%Y-%m-%d}: older, and unused")


class _OldReleasesProvider(Remembered):
    def create(self, props: dict[str, Any]) -> dynamic.CreateResult:
        _prune(props)
        return super().create(props)

    def update(self, id_: str, olds: dict[str, Any], news: dict[str, Any]) -> dynamic.UpdateResult:
        _prune(news)
        return super().update(id_, olds, news)


def _prune(props: Mapping[str, Any]) -> None:
    try:
        prune(
            clients_of(props),
            keep=int(props["keep"]),
            **{name: props[name] for name in _PASSED},
        )
    except (BotoCoreError, ClientError) as error:
        print(f"old releases stay, as AWS doesn't let them be found or removed: {error}")


_PASSED = ("project", "bucket", "repository", "arns", "tags", "own")


class OldReleases(dynamic.Resource, module="edge", name="OldReleases"):
    """Old releases that nobody needs are gone, each time after `own` or `after` has changed.

    `own` is the record of what the tree has published, which stays: the state holds its parts.
    """

    def __init__(
        self,
        name: str,
        *,
        own: pulumi.Input[str],
        after: pulumi.Input[str],
        settings: Settings,
        place: Place,
    ) -> None:
        super().__init__(
            _OldReleasesProvider(),
            name,
            {
                "own": own,
                "after": after,
                "region": place.region,
                "profile": place.profile,
                "project": settings.project,
                "bucket": settings.bucket(place),
                "repository": settings.repository,
                "arns": f"arn:{place.partition}:greengrass:{place.region}:{place.account}",
                "tags": settings.tags,
                "keep": settings.keep_releases,
            },
        )
