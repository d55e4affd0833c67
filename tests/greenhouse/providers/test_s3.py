"""Buckets and their settings, against a real S3 protocol."""

from __future__ import annotations

import json
import secrets

import boto3
import pytest
from pulumi.runtime.proto import provider_pb2

from greenhouse.providers.protocol.wire import UNKNOWN
from tests.greenhouse.providers.provider_engine import NONE, Engine, Rejected, State

BUCKET = "aws:s3/bucket:Bucket"
ACCESS = "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock"
ENCRYPTION = (
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration"
)
OWNERSHIP = "aws:s3/bucketOwnershipControls:BucketOwnershipControls"
POLICY = "aws:s3/bucketPolicy:BucketPolicy"


def tls_only(bucket: str, **changed: object) -> dict[str, object]:
    """A bucket policy that S3 takes, with some of its fields changed, or None left out."""
    statement = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        **changed,
    }
    kept = {field: value for field, value in statement.items() if value is not None}
    return {"Version": "2012-10-17", "Statement": [kept]}


@pytest.fixture
def name() -> str:
    return f"test-{secrets.token_hex(4)}"


@pytest.fixture
def bucket(engine: Engine, name: str) -> State:
    return engine.create(BUCKET, bucket=name, forceDestroy=True)


def test_a_bucket_lives_and_dies(engine: Engine, name: str) -> None:
    bucket = engine.create(BUCKET, bucket=name, tags={"edge:stack": "local"})
    assert bucket.id == name
    assert bucket.outputs["arn"] == f"arn:aws:s3:::{name}"
    assert bucket.outputs["region"] == "eu-west-1"
    assert bucket.outputs["tagsAll"] == {"edge:stack": "local"}
    s3 = boto3.client("s3")
    assert s3.get_bucket_location(Bucket=name)["LocationConstraint"] == "eu-west-1"

    engine.up(bucket, bucket=name, tags={"edge:stack": "other"})
    assert s3.get_bucket_tagging(Bucket=name)["TagSet"] == [{"Key": "edge:stack", "Value": "other"}]
    engine.up(bucket, bucket=name)
    assert "tags" not in bucket.outputs, (
        "an input that the program removes must not stay in the state"
    )

    engine.delete(bucket)
    assert not engine.refresh(bucket)
    engine.delete(bucket)  # It is gone already, and a repeated destroy must not fail.


def test_a_refresh_without_drift_is_no_change(engine: Engine, name: str) -> None:
    wanted = {"bucket": name, "forceDestroy": True, "tags": {"a": "b"}}
    bucket = engine.create(BUCKET, **wanted)
    assert engine.refresh(bucket)
    assert engine.diff(bucket, wanted).changes == NONE

    boto3.client("s3").put_bucket_tagging(
        Bucket=name, Tagging={"TagSet": [{"Key": "a", "Value": "by hand"}]}
    )
    assert engine.refresh(bucket)
    assert list(engine.diff(bucket, wanted).diffs) == ["tags"]


def test_a_bucket_that_somebody_made_is_not_taken_over(engine: Engine, bucket: State) -> None:
    with pytest.raises(Rejected, match=r"(?s)BucketAlreadyOwnedByYou.*pulumi import"):
        engine.create(BUCKET, bucket=bucket.id)


def test_a_bucket_with_objects_is_kept_unless_force_destroy_says_so(
    engine: Engine, name: str
) -> None:
    bucket = engine.create(BUCKET, bucket=name)
    s3 = boto3.client("s3")
    s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    for body in (b"old", b"new"):
        s3.put_object(Bucket=name, Key="model.json", Body=body)
    s3.delete_object(Bucket=name, Key="model.json")
    s3.put_object(Bucket=name, Key="samples.json", Body=b"[]")

    with pytest.raises(Rejected, match=r"(?s)BucketNotEmpty.*force_destroy"):
        engine.delete(bucket)
    engine.up(bucket, bucket=name, forceDestroy=True)
    engine.delete(bucket)
    assert not engine.refresh(bucket), "old versions and delete markers also hold a bucket"


def test_a_bucket_without_a_name_gets_one_and_keeps_it(engine: Engine) -> None:
    bucket = engine.create(BUCKET, "Artifacts")
    try:
        assert bucket.id.startswith("artifacts-")
        assert engine.diff(bucket, {}).changes == NONE, "a new name would replace the bucket"
    finally:
        engine.delete(bucket)


def test_a_preview_knows_the_name_and_not_the_arn(engine: Engine, name: str) -> None:
    outputs = engine.preview(State(BUCKET, "it"), {"bucket": name})
    assert outputs["bucket"] == name
    assert outputs["arn"] is UNKNOWN
    with pytest.raises(boto3.client("s3").exceptions.ClientError):
        boto3.client("s3").head_bucket(Bucket=name)


def test_another_name_is_another_bucket(engine: Engine, bucket: State) -> None:
    diff = engine.diff(bucket, {"bucket": "other-name", "forceDestroy": True})
    assert list(diff.replaces) == ["bucket"]
    assert diff.detailedDiff["bucket"].kind == provider_pb2.PropertyDiff.UPDATE_REPLACE
    assert not diff.deleteBeforeReplace


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        ({"bucket": "b", "forcedestroy": True}, "forcedestroy is not a property"),
        ({"bucket": "b", "tags": {"n": 1}}, "tags.n must be a string"),
        ({"bucket": "b", "tags": {"aws:n": "1"}}, "tags.aws:n can't be set"),
        ({"bucket": "b", "forceDestroy": "yes"}, "forceDestroy must be true or false"),
        ({"bucketPrefix": "c"}, "bucketPrefix is not acted on by greenhouse"),
        ({"bucket": "b", "acl": "private"}, "acl is not acted on by greenhouse"),
    ],
)
def test_wrong_inputs_are_refused_before_anything_is_done(
    engine: Engine, inputs: dict[str, object], reason: str
) -> None:
    with pytest.raises(Rejected, match=reason):
        engine.check(State(BUCKET, "it"), inputs)


def test_an_invalid_name_is_refused_by_the_account(engine: Engine) -> None:
    for taken in ("Not_A_Bucket", "xn--edge", "edge-s3alias"):
        with pytest.raises(Rejected, match="InvalidBucketName"):
            engine.create(BUCKET, bucket=taken)


def test_a_bucket_in_another_region_is_refused_with_the_region_to_set(
    engine: Engine, name: str
) -> None:
    engine.configure("aws", region="us-east-1")
    with pytest.raises(Rejected, match="pulumi config set aws:region eu-west-1"):
        engine.create(BUCKET, bucket=name)


def test_public_access_is_blocked_as_far_as_the_program_says(engine: Engine, bucket: State) -> None:
    wanted = {"bucket": bucket.id, "blockPublicAcls": True, "blockPublicPolicy": True}
    access = engine.create(ACCESS, **wanted)
    s3 = boto3.client("s3")

    def found() -> object:
        return s3.get_public_access_block(Bucket=bucket.id)["PublicAccessBlockConfiguration"]

    assert found() == {
        "BlockPublicAcls": True,
        "IgnorePublicAcls": False,
        "BlockPublicPolicy": True,
        "RestrictPublicBuckets": False,
    }
    assert engine.refresh(access)
    assert engine.diff(access, wanted).changes == NONE
    engine.up(access, **wanted, ignorePublicAcls=True)
    assert "'IgnorePublicAcls': True" in str(found())
    engine.delete(access)
    assert not engine.refresh(access)


@pytest.mark.parametrize(
    ("kind", "first", "second", "get"),
    [
        (
            ENCRYPTION,
            {"rules": [{"applyServerSideEncryptionByDefault": {"sseAlgorithm": "AES256"}}]},
            {"rules": [{"applyServerSideEncryptionByDefault": {"sseAlgorithm": "aws:kms"}}]},
            "get_bucket_encryption",
        ),
        (
            OWNERSHIP,
            {"rule": {"objectOwnership": "BucketOwnerEnforced"}},
            {"rule": {"objectOwnership": "BucketOwnerPreferred"}},
            "get_bucket_ownership_controls",
        ),
    ],
)
def test_a_setting_of_a_bucket_is_made_changed_and_removed(
    engine: Engine,
    bucket: State,
    kind: str,
    first: dict[str, object],
    second: dict[str, object],
    get: str,
) -> None:
    ask = getattr(boto3.client("s3"), get)
    made = engine.create(kind, bucket=bucket.id, **first)
    before = ask(Bucket=bucket.id)
    assert engine.refresh(made)
    assert engine.diff(made, {"bucket": bucket.id, **first}).changes == NONE
    assert engine.diff(made, {"bucket": bucket.id, **second}).changes != NONE
    engine.up(made, bucket=bucket.id, **second)
    before.pop("ResponseMetadata")
    after = ask(Bucket=bucket.id)
    after.pop("ResponseMetadata")
    assert after != before
    assert engine.refresh(made)
    assert engine.diff(made, {"bucket": bucket.id, **second}).changes == NONE
    engine.delete(made)
    found = engine.refresh(made)
    assert found is (kind == ENCRYPTION), "AWS falls back to AES256: encryption is never gone"
    engine.delete(made)


def test_a_policy_of_a_bucket_is_made_changed_and_removed(engine: Engine, bucket: State) -> None:
    first = {"bucket": bucket.id, "policy": json.dumps(tls_only(bucket.id))}
    second = {"bucket": bucket.id, "policy": tls_only(bucket.id, Action="s3:GetObject")}
    made = engine.create(POLICY, **first)
    assert engine.refresh(made)
    assert engine.diff(made, first).changes == NONE
    assert engine.diff(made, second).changes != NONE
    engine.up(made, **second)
    found = boto3.client("s3").get_bucket_policy(Bucket=bucket.id)["Policy"]
    assert json.loads(found) == second["policy"]
    assert engine.refresh(made)
    assert engine.diff(made, second).changes == NONE
    engine.delete(made)
    assert not engine.refresh(made)
    engine.delete(made)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"Principal": None}, "MalformedPolicy: Missing required field Principal"),
        ({"Action": []}, "MalformedPolicy: Missing required field Action"),
        ({"Resource": None}, "MalformedPolicy: Missing required field Resource"),
        ({"Resource": "arn:aws:s3:::another/*"}, "MalformedPolicy: Policy has invalid resource"),
    ],
)
def test_a_bucket_policy_that_s3_would_refuse_is_refused_in_its_words(
    engine: Engine, bucket: State, changed: dict[str, object], reason: str
) -> None:
    with pytest.raises(Rejected, match=reason):
        engine.create(POLICY, bucket=bucket.id, policy=tls_only(bucket.id, **changed))


def test_a_bucket_policy_says_something(engine: Engine, bucket: State) -> None:
    nothing = {"Version": "2012-10-17", "Statement": []}
    with pytest.raises(Rejected, match="Could not parse the policy: Statement is empty!"):
        engine.create(POLICY, bucket=bucket.id, policy=nothing)


@pytest.mark.parametrize(
    ("kind", "inputs", "reason"),
    [
        (
            ENCRYPTION,
            {"rules": [{"applyServerSideEncryptionByDefault": {"sseAlgorithm": "rot13"}}]},
            r"SSEAlgorithm must be AES256 or .*aws:kms",
        ),
        (
            OWNERSHIP,
            {"rule": {"objectOwnership": "Mine"}},
            r"ObjectOwnership must be BucketOwnerPreferred or ObjectWriter or BucketOwnerEnforced",
        ),
    ],
)
def test_a_word_that_s3s_own_model_does_not_have_is_refused(
    engine: Engine, bucket: State, kind: str, inputs: dict[str, object], reason: str
) -> None:
    with pytest.raises(Rejected, match=reason):
        engine.create(kind, bucket=bucket.id, **inputs)


@pytest.mark.parametrize(
    ("rule", "path"),
    [
        ({"bucketKeyEnabled": True}, "bucketKeyEnabled"),
        (
            {
                "applyServerSideEncryptionByDefault": {
                    "sseAlgorithm": "aws:kms",
                    "kmsMasterKeyId": "k",
                }
            },
            "applyServerSideEncryptionByDefault.kmsMasterKeyId",
        ),
    ],
)
def test_an_own_key_is_refused_if_nothing_is_encrypted_with_it(
    engine: Engine, rule: dict[str, object], path: str
) -> None:
    with pytest.raises(Rejected, match=rf"rules\[0\]\.{path} is not acted on by greenhouse"):
        engine.check(State(ENCRYPTION, "it"), {"bucket": "b", "rules": [rule]})


def test_a_policy_that_is_only_spelt_otherwise_is_no_change(engine: Engine, bucket: State) -> None:
    document = tls_only(bucket.id)
    policy = engine.create(POLICY, bucket=bucket.id, policy=json.dumps(document))
    respelt = json.dumps(dict(reversed(document.items())), indent=2)
    assert engine.diff(policy, {"bucket": bucket.id, "policy": respelt}).changes == NONE


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        ("{", "policy is not JSON"),
        ("[]", "policy must be a JSON object"),
        ('{"Version": "2012-10-17"}', "policy.Statement is required"),
        (
            '{"Version": "2020", "Statement": []}',
            "policy.Version must be '2012-10-17' or '2008-10-17'",
        ),
    ],
)
def test_a_policy_that_aws_would_refuse_is_refused(
    engine: Engine, policy: str, reason: str
) -> None:
    with pytest.raises(Rejected, match=reason):
        engine.check(State(POLICY, "it"), {"bucket": "b", "policy": policy})


def test_nothing_can_be_set_on_a_bucket_that_is_not_there(engine: Engine) -> None:
    with pytest.raises(Rejected, match=r"(?s)NoSuchBucket.*pulumi refresh"):
        engine.create(ACCESS, bucket="not-there-at-all")
