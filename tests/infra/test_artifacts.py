"""The files that a release stores, and the hashes that their keys begin with."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pulumi
import pytest

from edge.inference import engine, forest
from infra.publish.artifacts import BUILD, File

MODEL = Path("edge/models/wine-quality.json").resolve()


@pytest.fixture(autouse=True)
def _a_checkout_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_packed_model_is_the_device_s_own_again_and_names_it() -> None:
    file = File.packed(MODEL)
    assert isinstance(file.asset, pulumi.FileAsset)
    stored = Path(file.asset.path).read_bytes()
    assert engine.unpacked(stored) == MODEL.read_bytes()
    assert file.sha256.startswith(forest.read(MODEL.read_bytes()).id), (
        "the key tells whoever reads a plan which model it is"
    )
    assert len(stored) < 0.25 * MODEL.stat().st_size


def test_what_is_packed_has_the_same_bytes_on_every_machine() -> None:
    known = Path("known.json")
    known.write_bytes(b'{"learner": 1}' * 20_000)
    asset = File.packed(known).asset
    assert isinstance(asset, pulumi.FileAsset)
    assert hashlib.sha256(Path(asset.path).read_bytes()).hexdigest()[:12] == "48a584113919", (
        "an object under this key was stored with other bytes: devices would refuse the new ones"
    )


def test_packing_leaves_one_file_for_each_content_and_packs_it_once() -> None:
    first = File.packed(MODEL)
    (packed,) = BUILD.iterdir()
    written = packed.stat()
    assert File.packed(MODEL).sha256 == first.sha256
    assert [one.name for one in BUILD.iterdir()] == [f"{first.sha256}.bz2"], "no draft is left"
    assert packed.stat() == written
    Path("other.json").write_text("{}")
    File.packed(Path("other.json"))
    assert len(list(BUILD.iterdir())) == 2, "two stacks of one checkout don't share a file"
