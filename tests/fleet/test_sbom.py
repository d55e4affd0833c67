"""The packages of a release's images are printed from what its update has stored."""

from __future__ import annotations

import json
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from fleet.__main__ import app
from fleet.stacks import NoStack
from infra.provenance.image import File
from infra.provenance.sbom import document
from tests.infra.fakes import ACCOUNT, REGION, Account

BUCKET = f"edge-inference-dev-{ACCOUNT}-{REGION}"
IMAGE = f"somewhere/edge-inference/dev@sha256:{'d' * 64}"
KEY = f"{'ab' * 32}/sbom-amd64.json"
FILES = {
    file.path: file
    for file in (
        File(path="app/edge/inference/serve.py", sha256="a" * 64),
        File(
            path="app/evil-1.dist-info/METADATA",
            sha256="b" * 64,
            text="Name: [red]evil[/x]\nVersion: 1\nLicense-Expression: MIT OR Zlib\n",
        ),
    )
}


def record(release: str, **more: Any) -> bytes:
    return json.dumps({"release": release, **more}).encode()


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Account:
    account = Account.with_a_device(monkeypatch)
    account.buckets[BUCKET] = {}
    account.objects[BUCKET] = {
        KEY: document(IMAGE, "amd64", FILES).encode(),
        "releases/r1.json": record("r1"),
        "releases/r2.json": record("r2", sboms={"amd64": f"s3://{BUCKET}/{KEY}"}),
    }
    return account


def sbom(*options: str) -> Result:
    return CliRunner().invoke(app, ["sbom", "--stack", "dev", *options])


@pytest.mark.usefixtures("account")
def test_the_newest_release_s_packages_are_listed_with_their_licences_as_text() -> None:
    image, _, *rows = (line.split() for line in sbom().output.splitlines() if line.strip())
    assert image == [IMAGE]
    assert rows == [
        ["edge-inference", "1", "Apache-2.0"],
        ["[red]evil[/x]", "1", "1", "MIT", "OR", "Zlib"],
    ]


@pytest.mark.usefixtures("account")
def test_a_program_gets_the_documents_themselves() -> None:
    assert json.loads(sbom("--json").output) == {
        "amd64": json.loads(document(IMAGE, "amd64", FILES))
    }


@pytest.mark.usefixtures("account")
@pytest.mark.parametrize(
    ("release", "says"),
    [
        ("r1", "release r1 has no bill of materials.\nAn older version"),
        ("r9", "stack dev has no kept release r9.\nThere are, the newest first: r2, r1."),
    ],
)
def test_a_release_without_one_is_told_with_those_there_are(release: str, says: str) -> None:
    result = sbom("--release", release)
    assert isinstance(result.exception, NoStack)
    assert says in str(result.exception)
