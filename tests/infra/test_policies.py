"""Rights name exactly what a device reads. The bucket takes no request in clear text."""

from __future__ import annotations

from infra.policies import ecr_lifecycle_policy, read_release, tls_only

OBJECTS = [
    "arn:aws:s3:::edge-inference-dev/1f/model.json",
    "arn:aws:s3:::edge-inference-dev/0a/samples.json",
]
REPOSITORY = "arn:aws:ecr:eu-west-1:123456789012:repository/edge-inference/dev"


def test_a_device_may_read_this_release_and_nothing_else() -> None:
    policy = read_release(objects=OBJECTS, repository=REPOSITORY)
    granted = {
        action: statement["Resource"]
        for statement in policy["Statement"]
        for action in (
            [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]
        )
    }
    assert granted == {
        "s3:GetObject": sorted(OBJECTS),
        "ecr:BatchGetImage": REPOSITORY,
        "ecr:GetDownloadUrlForLayer": REPOSITORY,
        "ecr:GetAuthorizationToken": "*",  # This is the only action without a resource.
    }, "every ARN in full: a pattern would also open the next release, or somebody else's"
    assert {statement["Effect"] for statement in policy["Statement"]} == {"Allow"}


def test_the_same_rights_are_the_same_text_for_any_order_of_the_files() -> None:
    assert read_release(objects=OBJECTS, repository=REPOSITORY) == read_release(
        objects=OBJECTS[::-1], repository=REPOSITORY
    ), "an unchanged release would show a changed policy"


def test_no_request_reaches_the_bucket_in_clear_text() -> None:
    [statement] = tls_only("arn:aws:s3:::edge-inference-dev")["Statement"]
    assert (statement["Effect"], statement["Principal"], statement["Action"]) == (
        "Deny",
        "*",
        "s3:*",
    ), "for every caller and every action"
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert set(statement["Resource"]) == {
        "arn:aws:s3:::edge-inference-dev",
        "arn:aws:s3:::edge-inference-dev/*",
    }, "the bucket itself (its listing) and every object in it"


def test_the_registry_removes_by_itself_only_what_has_no_tag() -> None:
    """AWS doesn't know which images devices run, so it may not choose among tagged images."""
    [rule] = ecr_lifecycle_policy()["rules"]
    assert rule["selection"]["tagStatus"] == "untagged"
    assert (rule["selection"]["countType"], rule["selection"]["countNumber"]) == (
        "sinceImagePushed",
        14,
    ), "a push in progress has no tag"
