"""Reads a stack's bucket: the objects of its releases, and a record of each release."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from infra.account.clients import unless_gone

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import ObjectTypeDef

RECORDS = "releases/"  # The folder of release records.
_ENDING = ".json"


def record_key(release: str) -> str:
    """The key of a release's record."""
    return f"{RECORDS}{release}{_ENDING}"


def objects(s3: S3Client, bucket: str, prefix: str = "") -> list[ObjectTypeDef]:
    """All objects whose keys have this prefix; none if there is no bucket."""
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    with unless_gone():
        return [one for page in pages for one in page.get("Contents", [])]
    return []


def recorded(s3: S3Client, bucket: str) -> list[tuple[str, datetime]]:
    """The releases that have a record, the newest first: name and time of storage."""
    listed = objects(s3, bucket, RECORDS)
    listed.sort(key=lambda one: (one["LastModified"], one["Key"]), reverse=True)
    return [
        (one["Key"].removeprefix(RECORDS).removesuffix(_ENDING), one["LastModified"])
        for one in listed
    ]
