"""Reads an image back from its registry and stores what is in it."""

from __future__ import annotations

import hashlib

from infra.account.clients import Clients
from infra.provenance import image, sbom


def store(clients: Clients, *, image_name: str, architecture: str, bucket: str) -> str:
    """Store the bill of materials of an image (repository@digest); its key in the bucket.

    Raises image.Unreadable, and ClientError where AWS refuses.
    """
    text = sbom.document(image_name, architecture, image.files(clients.ecr, image_name)).encode()
    key = f"{hashlib.sha256(text).hexdigest()}/sbom-{architecture}.json"
    clients.s3.put_object(Bucket=bucket, Key=key, Body=text, ContentType=sbom.MEDIA_TYPE)
    return key
