"""A record of each published release, in its publisher's bucket: what it takes to deploy it again.

Pulumi's state knows one release, the tree's own. An older one is found by its record, which holds
the outputs that a follower would have read. The same release has the same record, byte for byte;
S3's clock says which is newer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pulumi
import pulumi_aws as aws
from botocore.exceptions import ClientError

from infra.account.clients import Clients, unless_gone
from infra.account.context import Context
from infra.publish import already_there, versions
from infra.settings import Misconfigured, Settings

_NAMED = 10  # in a message: who looks for an older one types make rollback


@dataclass(frozen=True, kw_only=True)
class Record:
    """A release that can be deployed by its name."""

    outputs: Mapping[str, Any]  # of its stack when it was published
    stored: datetime  # and stored anew when the same content came back

    @property
    def release(self) -> str:
        return str(self.outputs["release"])

    @property
    def key(self) -> str:
        return f"{already_there.RECORDS}{self.release}.json"

    @property
    def components(self) -> frozenset[tuple[str, str]]:
        """Name and version."""
        return frozenset(self.outputs["components"].items())

    @property
    def objects(self) -> frozenset[str]:
        """Keys in the bucket: what devices read, and the bills of materials."""
        read = (arn.partition(":::")[2].partition("/")[2] for arn in self.outputs["objects"])
        return frozenset([*read, *self.sboms.values()])

    @property
    def sboms(self) -> dict[str, str]:
        """Architecture to the key of what is in its image."""
        return {
            architecture: uri.removeprefix("s3://").partition("/")[2]
            for architecture, uri in self.outputs.get("sboms", {}).items()
        }

    def named(self, what: str) -> str:
        """Its model or samples, for people: the file's name, if it is known, and a content's id."""
        name = self.outputs.get("files", {}).get(what, "")
        uri = str(self.outputs.get(what, ""))  # the model's id, or s3://bucket/hash/samples.json
        content = uri.rpartition("/")[0].rpartition("/")[2][:12] if "/" in uri else uri
        return f"{name} {content}".strip()

    @property
    def images(self) -> frozenset[str]:
        """Digests in the repository."""
        return frozenset(image.rpartition("@")[2] for image in self.outputs["image"].values())


def store(
    outputs: Mapping[str, Any],
    settings: Settings,
    *,
    sboms: Mapping[str, pulumi.Output[str]],
    once: Mapping[str, pulumi.Output[str]],
    parent: pulumi.Resource,
) -> aws.s3.BucketObjectv2:
    """Store the record of a release, given what its stack puts out, once the versions are there.

    The names of the model's and the samples' files are for people who look for a release.
    """
    files = {"model": settings.model.name, "samples": settings.samples.name}
    return aws.s3.BucketObjectv2(
        "record",
        bucket=outputs["bucket"],
        key=pulumi.Output.concat(already_there.RECORDS, outputs["release"], ".json"),
        content=pulumi.Output.all({**outputs, "files": files, "sboms": sboms}, once).apply(
            lambda known: versions.canonical(known[0]).decode()
        ),
        content_type="application/json",
        opts=pulumi.ResourceOptions(
            parent=parent, retain_on_delete=True, delete_before_replace=False
        ),
    )


def pinned(settings: Settings, context: Context) -> Record | None:
    """The older release that the stack names, if it names one; Misconfigured if it isn't kept."""
    if not settings.release:
        return None
    bucket = context.bucket_of(settings.release_from or context.stack)
    try:
        found = stored_releases(context.clients, bucket)
    except ClientError as error:
        raise Misconfigured(
            f"release is '{settings.release}', but AWS doesn't say which ones are kept in bucket"
            f" {bucket}: {error}"
        ) from error
    for record in found:
        if record.release == settings.release:
            return record
    names = [record.release for record in found]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    raise Misconfigured(
        f"release '{settings.release}' is not kept in bucket {bucket}. Kept, the newest first:"
        f" {', '.join(names[:_NAMED]) or 'none'}{more}. pulumi config set release ID, or for the"
        " newest: pulumi config rm release"
    )


def newest(clients: Clients, bucket: str) -> tuple[str, datetime] | None:
    """The name of the newest release in a publisher's bucket, and when it was stored."""
    pages = clients.s3.get_paginator("list_objects_v2").paginate(
        Bucket=bucket, Prefix=already_there.RECORDS
    )
    with unless_gone():
        listed = [one for page in pages for one in page.get("Contents", [])]
        last = max(listed, key=lambda one: (one["LastModified"], one["Key"]), default=None)
        if last:
            name = last["Key"].removeprefix(already_there.RECORDS).removesuffix(".json")
            return name, last["LastModified"]
    return None


def stored_releases(clients: Clients, bucket: str) -> list[Record]:
    """Every release that can be deployed by its name, the newest first; one call for each."""
    client = clients.s3
    pages = client.get_paginator("list_objects_v2").paginate(
        Bucket=bucket, Prefix=already_there.RECORDS
    )
    listed = []
    with unless_gone():  # where nothing was ever published
        listed = [one for page in pages for one in page.get("Contents", [])]
    newest_first = sorted(listed, key=lambda one: (one["LastModified"], one["Key"]), reverse=True)
    return [
        Record(
            outputs=json.loads(client.get_object(Bucket=bucket, Key=one["Key"])["Body"].read()),
            stored=one["LastModified"],
        )
        for one in newest_first
    ]
