"""The files that a release stores, and the hashes at the start of their keys."""

from __future__ import annotations

import bz2
import hashlib
from pathlib import Path

import pulumi
import pytest

from edge.inference.model import model_id
from infra.publish.build_folder import BUILD
from infra.resources.artifacts import File

MODEL = Path("edge/models/wine-quality.json").resolve()


@pytest.fixture(autouse=True)
def _a_checkout_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_packed_model_is_the_device_s_own_again_and_names_it() -> None:
    model = MODEL.read_bytes()
    file = File.packed(model)
    assert isinstance(file.asset, pulumi.FileAsset)
    stored = Path(file.asset.path).read_bytes()
    assert bz2.decompress(stored) == model
    assert file.sha256.startswith(model_id(model)), (
        "the key tells whoever reads a plan which model it is"
    )
    assert len(stored) < 0.25 * MODEL.stat().st_size


def test_a_packed_file_has_the_same_bytes_on_every_machine() -> None:
    asset = File.packed(b'{"learner": 1}' * 20_000).asset
    assert isinstance(asset, pulumi.FileAsset)
    assert hashlib.sha256(Path(asset.path).read_bytes()).hexdigest()[:12] == "48a584113919", (
        "an object under this key was stored with other bytes: devices would refuse the new ones"
    )


def test_packing_leaves_one_file_for_each_content_and_packs_it_once() -> None:
    first = File.packed(MODEL.read_bytes())
    (packed,) = BUILD.iterdir()
    written = packed.stat()
    assert File.packed(MODEL.read_bytes()).sha256 == first.sha256
    assert [one.name for one in BUILD.iterdir()] == [f"{first.sha256}.bz2"], "no draft is left"
    assert packed.stat() == written
    File.packed(b"{}")
    assert len(list(BUILD.iterdir())) == 2, "two stacks of one checkout don't share a file"
