"""Objects in buckets, against a real S3 protocol."""

from __future__ import annotations

import hashlib
import secrets
from pathlib import Path

import boto3
import pytest

from greenhouse.providers.protocol.wire import UNKNOWN, Asset, Secret
from tests.greenhouse.providers.provider_engine import NONE, Engine, Rejected, State

OBJECT = "aws:s3/bucketObjectv2:BucketObjectv2"


@pytest.fixture
def bucket(engine: Engine) -> State:
    name = f"test-{secrets.token_hex(4)}"
    return engine.create("aws:s3/bucket:Bucket", bucket=name, forceDestroy=True)


def file(path: Path, content: str) -> Asset:
    """An asset as the engine sends it: the path as written, the hash of the bytes."""
    path.write_text(content)
    return Asset(path=path.name, hash=hashlib.sha256(content.encode()).hexdigest())


def test_an_object_comes_from_the_programs_own_folder(
    engine: Engine, bucket: State, program: Path
) -> None:
    source = file(program / "model.json", "{}")
    wanted = {
        "bucket": bucket.id,
        "key": "models/abc/model.json",
        "source": source,
        "contentType": "application/json",
        "tags": {"edge:release": "r1"},
    }
    made = engine.create(OBJECT, **wanted)
    s3 = boto3.client("s3")
    found = s3.get_object(Bucket=bucket.id, Key="models/abc/model.json")
    assert found["Body"].read() == b"{}"
    assert found["ContentType"] == "application/json"
    assert made.outputs["source"] == source, "the engine compares the next asset with this one"
    assert made.outputs["etag"] == hashlib.md5(b"{}").hexdigest()  # noqa: S324  # S3's etag

    assert engine.refresh(made)
    assert engine.diff(made, wanted).changes == NONE
    moved = Asset(path=str(program / "elsewhere" / "model.json"), hash=source.hash)
    assert engine.diff(made, {**wanted, "source": moved}).changes == NONE, "the same bytes"

    changed = file(program / "model.json", '{"trees": 1}')
    diff = engine.diff(made, {**wanted, "source": changed})
    assert list(diff.diffs) == ["source"]
    assert not diff.replaces
    preview = engine.preview(made, {**wanted, "source": changed})
    assert preview["versionId"] is UNKNOWN
    engine.up(made, **{**wanted, "source": changed})
    assert s3.get_object(Bucket=bucket.id, Key="models/abc/model.json")["Body"].read() == (
        b'{"trees": 1}'
    )
    engine.delete(made)
    assert not engine.refresh(made)


def test_new_tags_alone_upload_nothing(engine: Engine, bucket: State, program: Path) -> None:
    s3 = boto3.client("s3")
    s3.put_bucket_versioning(Bucket=bucket.id, VersioningConfiguration={"Status": "Enabled"})
    wanted = {"bucket": bucket.id, "key": "k", "source": file(program / "model.json", "{}")}
    made = engine.create(OBJECT, **wanted, tags={"edge:release": "r1"})

    def tags() -> object:
        return s3.get_object_tagging(Bucket=bucket.id, Key="k")["TagSet"]

    engine.up(made, **wanted, tags={"edge:release": "r2"})
    assert tags() == [{"Key": "edge:release", "Value": "r2"}]
    engine.up(made, **wanted)
    assert tags() == []
    assert made.outputs["tagsAll"] == {}
    versions = s3.list_object_versions(Bucket=bucket.id, Prefix="k")["Versions"]
    assert [one["VersionId"] for one in versions] == [made.outputs["versionId"]]


def test_new_content_without_tags_has_none(engine: Engine, bucket: State) -> None:
    wanted = {"bucket": bucket.id, "key": "k"}
    made = engine.create(OBJECT, **wanted, content="1", tags={"edge:release": "r1"})
    engine.up(made, **wanted, content="2")
    found = boto3.client("s3").get_object_tagging(Bucket=bucket.id, Key="k")
    assert found["TagSet"] == [], "an upload replaces the tags of the object before"


def test_an_object_may_be_a_text(engine: Engine, bucket: State) -> None:
    engine.create(OBJECT, "golden.json", bucket=bucket.id, source=Asset(text="[1]", hash=""))
    engine.create(OBJECT, "plain.txt", bucket=bucket.id, content="grün")
    s3 = boto3.client("s3")

    def body(key: str) -> bytes:
        return s3.get_object(Bucket=bucket.id, Key=key)["Body"].read()

    assert (body("golden.json"), body("plain.txt")) == (b"[1]", "grün".encode())


@pytest.mark.parametrize("prop", ["key", "bucket"])
def test_an_object_elsewhere_is_another_object(engine: Engine, bucket: State, prop: str) -> None:
    wanted = {"bucket": bucket.id, "key": "k", "content": "x"}
    made = engine.create(OBJECT, **wanted)
    assert list(engine.diff(made, {**wanted, prop: "other"}).replaces) == [prop]


def test_on_a_versioned_bucket_no_version_is_left_behind(engine: Engine, bucket: State) -> None:
    s3 = boto3.client("s3")
    s3.put_bucket_versioning(Bucket=bucket.id, VersioningConfiguration={"Status": "Enabled"})
    wanted = {"bucket": bucket.id, "key": "k"}
    made = engine.create(OBJECT, **wanted, content="1")
    engine.up(made, **wanted, content="2")
    s3.put_object(Bucket=bucket.id, Key="k2", Body=b"a neighbour")
    engine.delete(made)
    left = s3.list_object_versions(Bucket=bucket.id)
    assert [version["Key"] for version in left["Versions"]] == ["k2"]
    assert "DeleteMarkers" not in left


def test_a_file_that_changes_under_way_is_not_uploaded(
    engine: Engine, bucket: State, program: Path
) -> None:
    source = file(program / "model.json", "{}")
    (program / "model.json").write_text("{ }")
    with pytest.raises(Rejected, match="changed while it was being deployed"):
        engine.create(OBJECT, bucket=bucket.id, key="k", source=source)


def test_a_missing_file_is_named(engine: Engine, bucket: State, program: Path) -> None:
    with pytest.raises(Rejected, match=str(program / "nope.json")):
        engine.create(OBJECT, bucket=bucket.id, key="k", source=Asset(path="nope.json", hash="1"))


def test_secret_content_stays_secret(engine: Engine, bucket: State) -> None:
    made = engine.create(OBJECT, bucket=bucket.id, key="k", content=Secret("hush"))
    assert made.outputs["content"] == Secret("hush")
    assert made.inputs["content"] == Secret("hush")


def test_a_wrong_secret_is_not_told(engine: Engine) -> None:
    with pytest.raises(Rejected) as told:
        engine.check(State(OBJECT, "it"), {"bucket": "b", "content": Secret({"hush": 1})})
    assert "content must be a string" in str(told.value)
    assert "hush" not in str(told.value)


def test_an_import_finds_the_inputs(engine: Engine, bucket: State) -> None:
    boto3.client("s3").put_object(Bucket=bucket.id, Key="a/b", Body=b"x", ContentType="text/plain")
    found = State(OBJECT, "it", id=f"{bucket.id}/a/b")
    assert engine.refresh(found)
    assert found.inputs["key"] == "a/b"
    assert found.inputs["contentType"] == "text/plain"
