"""Images as Docker engines of both kinds push them.

They follow the OCI and Docker specifications. `pushed` has manifests as a real engine pushed them,
which each file names.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from fleet.plan.account_facts import _images
from infra.account.clients import Clients
from infra.account.images import delete_image, image_manifest, runnable
from infra.provenance.image import _manifest
from tests.infra.fakes import CONTEXT, Account

REPOSITORY = CONTEXT.repository
OCI, DOCKER = "application/vnd.oci.image", "application/vnd.docker.distribution.manifest"


def digest_of(manifest: dict[str, Any]) -> str:
    return f"sha256:{hashlib.sha256(json.dumps(manifest).encode()).hexdigest()}"


def image(kind: str) -> dict[str, Any]:
    """A manifest of one layer, by image-spec's manifest.md or distribution's schema 2."""
    layer, config = f"{OCI}.layer.v1.tar+gzip", f"{OCI}.config.v1+json"
    if kind == DOCKER:
        layer = "application/vnd.docker.image.rootfs.diff.tar.gzip"
        config = "application/vnd.docker.container.image.v1+json"
    return {
        "schemaVersion": 2,
        "mediaType": f"{OCI}.manifest.v1+json" if kind == OCI else f"{DOCKER}.v2+json",
        "config": {"mediaType": config, "digest": "sha256:c", "size": 700},
        "layers": [{"mediaType": layer, "digest": "sha256:1", "size": 12_000_000}],
    }


def attestation(subject: str) -> dict[str, Any]:
    """An attestation in an index, by BuildKit's attestation-storage.md."""
    return {
        "mediaType": f"{OCI}.manifest.v1+json",
        "digest": "sha256:attested",
        "size": 566,
        "platform": {"architecture": "unknown", "os": "unknown"},
        "annotations": {
            "vnd.docker.reference.digest": subject,
            "vnd.docker.reference.type": "attestation-manifest",
        },
    }


def index(kind: str, *images: dict[str, Any], attested: bool) -> dict[str, Any]:
    """An OCI index, or Docker's manifest list."""
    listed = [
        {
            "mediaType": one["mediaType"],
            "digest": digest_of(one),
            "size": len(json.dumps(one)),
            "platform": {"architecture": architecture, "os": "linux"},
        }
        for one, architecture in zip(images, ("amd64", "arm64"), strict=False)
    ]
    more = [attestation(digest_of(images[0]))] if attested else []
    return {
        "schemaVersion": 2,
        "mediaType": f"{OCI}.index.v1+json" if kind == OCI else f"{DOCKER}.list.v2+json",
        "manifests": listed + more,
    }


class Ecr:
    """Manifests by digest. Like ECR it returns only the kinds that were asked for."""

    def __init__(self, *manifests: dict[str, Any]) -> None:
        self.texts = {digest_of(one): json.dumps(one) for one in manifests}

    def batch_get_image(
        self,
        *,
        repositoryName: str,  # noqa: N803  # boto3's
        imageIds: Any,  # noqa: N803  # boto3's
        acceptedMediaTypes: Any,  # noqa: N803  # boto3's
    ) -> Any:
        assert repositoryName == REPOSITORY
        found = self.texts.get(imageIds[0]["imageDigest"])
        if not found or json.loads(found)["mediaType"] not in acceptedMediaTypes:
            return {"images": []}
        return {"images": [{"imageManifest": found}]}


KINDS = pytest.mark.parametrize("kind", [OCI, DOCKER], ids=["OCI", "Docker"])


@KINDS
@pytest.mark.parametrize("attested", [False, True])
@pytest.mark.parametrize("indexed", [False, True])
def test_the_sizes_of_a_pull_are_found_in_every_kind(
    kind: str, attested: bool, indexed: bool
) -> None:
    one = image(kind)
    pushed = index(kind, one, attested=attested) if indexed else one
    reference = f"1.dkr.ecr.eu-west-1.amazonaws.com/{REPOSITORY}@{digest_of(pushed)}"
    clients = cast(Clients, SimpleNamespace(ecr=Ecr(one, pushed)))
    found = _images(clients, [reference], CONTEXT.project)
    assert found == {reference: {"sha256:c": 700, "sha256:1": 12_000_000}}


@KINDS
def test_an_index_of_several_images_is_not_taken_for_a_single_image(kind: str) -> None:
    both = image(kind), {**image(kind), "layers": []}
    pushed = index(kind, *both, attested=True)
    assert runnable(pushed) == [digest_of(one) for one in both]
    ecr = cast(Any, Ecr(*both, pushed))
    assert image_manifest(ecr, REPOSITORY, digest_of(pushed)) is None


@KINDS
def test_an_index_goes_before_what_it_lists(kind: str, account: Account, clients: Clients) -> None:
    one = image(kind)
    pushed = index(kind, one, attested=True)
    account.repositories = {REPOSITORY: {}}
    account.images = {(REPOSITORY, "amd64-1"): digest_of(pushed), (REPOSITORY, "other"): "sha256:o"}
    account.indexes = {digest_of(pushed): pushed}
    account.untagged = {digest_of(one), "sha256:attested", "sha256:another"}
    delete_image(clients.ecr, REPOSITORY, digest_of(pushed))
    assert account.images == {(REPOSITORY, "other"): "sha256:o"}
    assert account.untagged == {"sha256:another"}


def test_an_image_in_another_index_or_with_a_tag_stays(account: Account, clients: Clients) -> None:
    shared, tagged = image(OCI), {**image(OCI), "layers": []}
    gone = index(OCI, shared, tagged, attested=True)
    kept = index(OCI, shared, attested=False)
    account.repositories = {REPOSITORY: {}}
    account.images = {
        (REPOSITORY, "amd64-1"): digest_of(gone),
        (REPOSITORY, "amd64-2"): digest_of(kept),
        (REPOSITORY, "by-an-older-engine"): digest_of(tagged),
    }
    account.indexes = {digest_of(gone): gone, digest_of(kept): kept}
    account.untagged = {digest_of(shared), "sha256:attested"}
    delete_image(clients.ecr, REPOSITORY, digest_of(gone))
    assert {tag for _, tag in account.images} == {"amd64-2", "by-an-older-engine"}
    assert account.untagged == {digest_of(shared)}


PUSHED = pytest.mark.parametrize("name", ["plain", "attested"])


def pushed_by_an_engine(name: str) -> dict[str, Any]:
    recorded: dict[str, Any] = json.loads(
        (Path(__file__).parent / "pushed" / f"{name}.json").read_text()
    )
    return recorded


@PUSHED
def test_an_image_that_a_new_engine_pushed_counts_as_one_for_plans_and_bills(name: str) -> None:
    pushed = pushed_by_an_engine(name)
    digest = pushed["pushed"]
    assert pushed["inspect"]["Id"] == digest, "with containerd's store it is no configuration's"
    ecr = Ecr()
    ecr.texts = pushed["manifests"]
    reference = f"1.dkr.ecr.eu-west-1.amazonaws.com/{REPOSITORY}@{digest}"
    clients = cast(Clients, SimpleNamespace(ecr=ecr))
    sizes = {
        "sha256:fae03d9bb2a48e7148cbd1ca2dfebdc28afe42dc6e4a8adf4f75920caa889553": 724,
        "sha256:1a17f3a16cd076e3cc8e65529189a6aaadb226dd17f34fa3de3a17677702bdc2": 247,
    }
    assert _images(clients, [reference], CONTEXT.project) == {reference: sizes}
    billed = _manifest(clients.ecr, REPOSITORY, digest)
    assert [one["digest"] for one in billed["layers"]] == [*sizes][1:]


def test_all_that_a_new_engine_pushed_is_deleted(account: Account, clients: Clients) -> None:
    pushed = pushed_by_an_engine("attested")
    digest = pushed["pushed"]
    account.repositories = {REPOSITORY: {}}
    account.images = {(REPOSITORY, "amd64-1"): digest}
    account.indexes = {digest: json.loads(pushed["manifests"][digest])}
    account.untagged = {*pushed["manifests"]} - {digest}
    assert len(account.untagged) == 2, "the image, and what is attested of it"
    delete_image(clients.ecr, REPOSITORY, digest)
    assert (account.images, account.untagged) == ({}, set())
