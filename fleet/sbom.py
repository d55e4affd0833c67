"""Reads the bills of materials that an update has stored: packages, licences and files."""

from __future__ import annotations

import json
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fleet.rollback import named_release
from fleet.stacks import NoStack, Stack
from fleet.terminal import words
from infra.publish.release_records import stored_releases


def documents(stack: Stack, release: str) -> dict[str, dict[str, Any]]:
    """Architecture to CycloneDX document, of a kept release or the newest.

    Raises NoStack if there is none.
    """
    context = stack.context()
    bucket = context.bucket_of(stack.publisher() or stack.name)
    records = stored_releases(context.clients, bucket)
    if not records:
        raise NoStack(f"stack {stack.name} has no release.", "", f"pulumi up --stack {stack.name}")
    record = named_release(release, records, stack) if release else records[0]
    if not record.sboms:
        raise NoStack(
            f"release {record.release} has no bill of materials.",
            "An older version of this program published it. Publish a new one:",
            f"pulumi up --stack {stack.name}",
        )
    s3 = context.clients.s3
    return {
        architecture: json.loads(s3.get_object(Bucket=bucket, Key=key)["Body"].read())
        for architecture, key in sorted(record.sboms.items())
    }


def table(document: dict[str, Any]) -> RenderableType:
    """The packages of one image with their licences, by Debian's and Python's names."""
    made = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for title in ("package", "version", "files", "licences"):
        made.add_column(title, no_wrap=title != "licences")
    for package in document["components"]:
        made.add_row(
            words(package["name"]),
            words(package.get("version", "")),
            words(str(len(package["components"]))),
            words(", ".join(_licence(one) for one in package.get("licenses", ()))),
        )
    image = document["metadata"]["component"]
    return Group(words(f"{image['name']}@{image['version']}", "bold"), made, Text())


def _licence(choice: dict[str, Any]) -> str:
    if "expression" in choice:
        return str(choice["expression"])
    licence = choice["license"]
    return str(licence.get("id") or licence["name"])
