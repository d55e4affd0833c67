"""Stores a record of each published release in its publisher's bucket, for a later deployment.

Pulumi's state has one release, the tree's own. Older releases are found by their records. A record
has the outputs that a follower would have read. The same release has the same record, byte for
byte. S3's clock says which record is newer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from botocore.exceptions import ClientError

from infra.account.clients import Clients, at_once
from infra.account.context import Context
from infra.publish.bucket_contents import RECORDS, record_key, recorded
from infra.settings import Misconfigured, Settings

_NAMED = 10  # A message names this many. `make rollback` lists all.


@dataclass(frozen=True, kw_only=True)
class Record:
    """A release that can be deployed by its name."""

    outputs: Mapping[str, Any]  # The outputs of its stack at publication.
    stored: datetime  # It is renewed when the same content came back.

    @property
    def release(self) -> str:
        return str(self.outputs["release"])

    @property
    def key(self) -> str:
        return record_key(self.release)

    @property
    def components(self) -> frozenset[tuple[str, str]]:
        """Name and version."""
        return frozenset(self.outputs["components"].items())

    @property
    def objects(self) -> frozenset[str]:
        """Keys in the bucket: the files that devices read, and the bills of materials."""
        read = (arn.partition(":::")[2].partition("/")[2] for arn in self.outputs["objects"])
        return frozenset([*read, *self.sboms.values()])

    @property
    def sboms(self) -> dict[str, str]:
        """Architecture to the key of its image's bill of materials."""
        return {
            architecture: uri.removeprefix("s3://").partition("/")[2]
            for architecture, uri in self.outputs.get("sboms", {}).items()
        }

    def named(self, what: str) -> str:
        """Its model or samples for people: the file's name, if known, and the id of its content."""
        name = self.outputs.get("files", {}).get(what, "")
        # It is the model's id, or s3://bucket/hash/samples.json.
        uri = str(self.outputs.get(what, ""))
        content = uri.rpartition("/")[0].rpartition("/")[2][:12] if "/" in uri else uri
        return f"{name} {content}".strip()

    @property
    def images(self) -> frozenset[str]:
        """The images' digests in the repository."""
        return frozenset(image.rpartition("@")[2] for image in self.outputs["image"].values())


def pinned(settings: Settings, context: Context) -> Record | None:
    """The older release in the key `release`, if set. Raises Misconfigured if it isn't kept."""
    if not settings.release:
        return None
    bucket = context.bucket_of(settings.release_from or context.stack)
    try:
        found = stored_releases(context.clients, bucket)
    except ClientError as error:
        raise Misconfigured(
            f"release is '{settings.release}', but AWS doesn't say which releases are kept in"
            f" bucket {bucket}.",
            f"{error}",
            f"aws s3 ls s3://{bucket}/{RECORDS}",
        ) from error
    for record in found:
        if record.release == settings.release:
            return record
    names = [record.release for record in found]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    raise Misconfigured(
        f"release '{settings.release}' is not kept in bucket {bucket}.",
        f"Kept, the newest first: {', '.join(names[:_NAMED]) or 'none'}{more}. Name one of these,"
        " or remove the key for the newest:",
        "pulumi config set release ID",
        "pulumi config rm release",
    )


def newest(clients: Clients, bucket: str) -> tuple[str, datetime] | None:
    """The name of the newest release in a publisher's bucket, and its time of storage."""
    return next(iter(recorded(clients.s3, bucket)), None)


def stored_releases(clients: Clients, bucket: str) -> list[Record]:
    """Every release that can be deployed by its name, the newest first. One call per release."""
    client = clients.s3

    def read(known: tuple[str, datetime]) -> Record:
        release, stored = known
        body = client.get_object(Bucket=bucket, Key=record_key(release))["Body"]
        return Record(outputs=json.loads(body.read()), stored=stored)

    return at_once(read, recorded(client, bucket))
