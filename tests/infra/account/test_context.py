"""Where a program works, and what its things are called there."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from infra.account.context import Context
from infra.settings import Misconfigured
from tests.infra.fakes import ACCOUNT, CONTEXT, REGION


@pytest.fixture
def everywhere() -> list[Context]:
    regions = ("eu-west-1", "ap-southeast-1", "us-gov-east-1")
    stacks = ("dev", "dev-2", "a" * 20, "a" * 19)
    return [replace(CONTEXT, stack=stack, region=region) for stack in stacks for region in regions]


def test_two_stacks_never_share_a_bucket_or_a_repository(everywhere: list[Context]) -> None:
    buckets = [context.bucket for context in everywhere]
    assert len(set(buckets)) == len(buckets), "cut to S3's length they would be one"
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]", bucket) for bucket in buckets)
    stacks = {context.stack for context in everywhere}
    assert len({context.repository for context in everywhere}) == len(stacks)
    assert len({frozenset(context.tags.items()) for context in everywhere}) == len(stacks), (
        "one stack would clear the other's leftovers"
    )


def test_a_bucket_s_name_is_never_cut() -> None:
    """With a cut at S3's limit, two regions of one stack, or two stacks, could share a bucket."""
    longest = replace(CONTEXT, stack="s" * 20, region="ap-southeast-2")
    assert len(longest.bucket) == 63
    longer = replace(longest, project=f"{longest.project}-eu")
    with pytest.raises(
        Misconfigured, match=r"66 characters\.\n.* by 3:\n    pulumi stack init NAME"
    ):
        _ = longer.bucket
    with pytest.raises(Misconfigured, match="stack 'other-stack-of-twenty'"):
        longest.bucket_of("other-stack-of-twenty")


@pytest.mark.parametrize(
    ("service", "resource", "arn"),
    [
        ("greengrass", "components:c", f"arn:aws:greengrass:{REGION}:{ACCOUNT}:components:c"),
        ("ecr", "repository/a/b", f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/a/b"),
        ("s3", "bucket/key", "arn:aws:s3:::bucket/key"),
    ],
)
def test_an_arn_says_where_its_service_keeps_things(service: str, resource: str, arn: str) -> None:
    assert CONTEXT.arn(service, resource) == arn, "S3's names are the whole partition's"


def test_a_component_and_a_version_of_it_have_an_arn_each() -> None:
    component = f"arn:aws:greengrass:{REGION}:{ACCOUNT}:components:com.ml.check"
    assert CONTEXT.component_arn("com.ml.check") == component
    assert CONTEXT.component_arn("com.ml.check", "1.2.3") == f"{component}:versions:1.2.3"
