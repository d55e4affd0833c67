"""Compares rights: which statements count as more than before."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fleet.plan.preview import Preview, Resource
from fleet.plan.rights import changes


def preview_of(before: dict[str, Any], after: dict[str, Any], kind: str = "Policy") -> Preview:
    one = Resource(
        op="update", type=f"aws:x:{kind}", name="x", before=before, after=after, stood={}
    )
    return Preview(project="p", stack="s", resources=(one,), config={}, findings=())


def policy(*statements: dict[str, Any]) -> dict[str, str]:
    return {"bucket": "b", "policy": json.dumps({"Statement": statements})}


READ = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": ["a", "b"]}


def test_the_order_of_a_policy_is_no_change() -> None:
    turned = {**READ, "Resource": ["b", "a"]}
    assert changes(preview_of(policy(READ), policy(turned))) == ()


def test_other_content_under_the_same_name_is_no_change() -> None:
    one, other = ({**READ, "Resource": f"arn:x/{digit * 64}/model.json"} for digit in "ab")
    assert changes(preview_of(policy(one), policy(other))) == ()


def test_each_new_resource_is_a_right_of_its_own() -> None:
    more = {**READ, "Resource": ["a", "b", "c"]}
    [right] = changes(preview_of(policy(READ), policy(more)))
    assert (right.what, right.widens) == ("Allow s3:GetObject on c", True)


def test_a_lifted_denial_widens_as_a_permission_does() -> None:
    deny = {"Effect": "Deny", "Action": "s3:*", "Resource": "b", "Principal": "*"}
    [right] = changes(preview_of(policy(deny), policy()))
    assert (right.given, right.widens, right.public) == (False, True, False)


def test_another_role_gets_what_this_one_loses() -> None:
    before, after = ({"role": role, "policy": policy(READ)["policy"]} for role in ("A", "B"))
    assert [(one.who, one.given, one.widens) for one in changes(preview_of(before, after))] == [
        *[("role A", False, False)] * 2,
        *[("role B", True, True)] * 2,
    ]


@pytest.mark.parametrize("whom", ["*", {"AWS": "*"}, {"AWS": ["*"]}, {"AWS": ["arn:x", "*"]}])
def test_anybody_is_public(whom: Any) -> None:
    [right, _] = changes(preview_of(policy(), policy({**READ, "Principal": whom})))
    assert right.public


def test_an_account_s_root_is_not_anybody() -> None:
    root = {"AWS": ["arn:aws:iam::123456789012:root"]}
    [right, _] = changes(preview_of(policy(), policy({**READ, "Principal": root})))
    assert not right.public


def test_a_bucket_without_its_lock_is_public() -> None:
    locked = {"bucket": "b", "blockPublicPolicy": True}
    [right] = changes(preview_of(locked, {"bucket": "b"}, "s3/x:BucketPublicAccessBlock"))
    assert right.public
