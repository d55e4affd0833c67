"""Older releases, other engines, and what other stacks publish."""

from __future__ import annotations

import json
from typing import Any

import pytest

from infra.names import SERVICE
from infra.settings import Misconfigured
from tests.infra.fakes import ACCOUNT, REGION, Account
from tests.infra.program.registered import (
    ENDS,
    PROVIDERS,
    UPSTREAM,
    Program,
    recipes,
    waits_for,
)
from tests.infra.pulumi_engine import DIGEST, Engine

# Engines


def test_engine_xgboost_is_another_target_under_a_tag_of_its_own_and_one_word_of_the_recipe(
    program: Program,
) -> None:
    ours = program.run(thing="press-1")
    theirs = program.run(thing="press-1", engine="xgboost")
    before, after = ours.one(":Image").inputs, theirs.one(":Image").inputs
    assert "target" not in before["build"], "the default, which has no name"
    assert after["build"]["target"] == "xgboost"
    assert before["imageName"] != after["imageName"], "both are in one repository"

    def script(engine: Engine) -> str:
        [manifest] = recipes(engine)[SERVICE]["Manifests"]
        return str(manifest["Lifecycle"]["run"]["Script"])

    assert "--engine" not in script(ours)
    assert " serve --model /artifacts/model.bz2 --engine xgboost --request-topic " in script(theirs)


# Older releases


def put_record(account: Account, **differs: Any) -> dict[str, Any]:
    """Store a release that the stack has published before."""
    bucket = f"edge-inference-dev-{ACCOUNT}-{REGION}"
    outputs = UPSTREAM | differs
    account.buckets[bucket] = {}
    account.objects.setdefault(bucket, {})[f"releases/{outputs['release']}.json"] = json.dumps(
        outputs
    ).encode()
    return outputs


def test_each_release_leaves_a_record_of_what_a_follower_would_read(
    program: Program,
) -> None:
    engine = program.run(thing="press-1")
    [record] = [one for one in engine.of_type("BucketObjectv2") if one.name == "record"]
    assert record.inputs["key"] == f"releases/{program.exported['release']}.json"
    kept = json.loads(record.inputs["content"])
    assert kept.pop("files") == {"model": "wine-quality.json", "samples": "samples.json"}
    [sbom] = kept.pop("sboms").values()
    assert sbom == f"s3://{kept['bucket']}/{'5' * 64}/sbom-amd64.json"
    assert kept == {name: program.exported[name] for name in UPSTREAM}
    for version in engine.of_type("greengrassv2:ComponentVersion"):
        assert waits_for(engine, record, version), "a release with a record can be deployed"
    assert record.retained, "or the next release would take the way back away"
    assert not record.deletes_first


@pytest.mark.parametrize("follows", ["", "dev"])
def test_an_older_release_is_deployed_as_it_was_recorded(
    account: Account, program: Program, follows: str
) -> None:
    older = put_record(account, release="0123abcd")
    stack = "press-2" if follows else "dev"
    engine = program.run(stack, thing="press-1", release="0123abcd", release_from=follows)
    asked = engine.one("greengrassv2:Deployment").inputs["components"]
    assert {name: one["componentVersion"] for name, one in asked.items()} == older["components"]
    allowed = json.dumps(engine.one("RolePolicy").inputs["policy"])
    for arn in (*older["objects"], older["repository_arn"]):
        assert arn in allowed, "its device reads the older files"
    assert {name: program.exported[name] for name in UPSTREAM} == older, "and so do its followers"


def test_naming_an_older_release_changes_nothing_of_what_is_published(
    account: Account, program: Program
) -> None:
    def published(engine: Engine) -> dict[str, str]:
        return {
            one.urn: json.dumps(one.inputs, sort_keys=True, default=vars)
            for one in engine.registered
            if "edge:rollout:Rollout" not in one.urn and one.name not in ENDS
        }

    put_record(account, release="0123abcd")
    newest = published(program.run(thing="press-1"))
    assert published(program.run(thing="press-1", release="0123abcd")) == newest, (
        "a resource that a pinned stack no longer declared would have to be made again"
    )


def test_a_release_that_is_not_kept_is_refused_with_those_that_are(
    account: Account, program: Program
) -> None:
    with pytest.raises(Misconfigured, match=r"not kept .*\n.*: none\. Name"):
        program.run(thing="press-1", release="0123abcd")
    for number in range(12):
        put_record(account, release=f"{number:08x}")
    with pytest.raises(Misconfigured) as refused:
        program.run(thing="press-1", release="0123abcd")
    assert "the newest first: 0000000b, 0000000a, 00000009, " in str(refused.value)
    assert "00000002 and 2 more. Name one of these" in str(refused.value)
    made = {one.name for one in program.engine.registered}
    assert made == {"residue", *PROVIDERS}, "before anything exists"


def test_a_device_that_an_older_release_does_not_fit_is_refused(
    account: Account, program: Program
) -> None:
    put_record(account, release="0123abcd", image={"aarch64": f"somewhere@{DIGEST}"})
    with pytest.raises(Misconfigured, match="device-architecture"):
        program.run(thing="press-1", release="0123abcd")


# Other stacks


def test_a_stack_without_a_target_publishes_and_deploys_nothing(program: Program) -> None:
    engine = program.run()
    assert len(engine.of_type("greengrassv2:ComponentVersion")) == 3
    for kind in ("greengrassv2:Deployment", "RolePolicy", "edge:Answering", "edge:rollout:Rollout"):
        assert engine.of_type(kind) == []
    assert "deployment" not in program.exported


def test_a_follower_builds_nothing_and_deploys_what_was_published(program: Program) -> None:
    engine = program.run(stack="press-2", thing="press-1", release_from="dev")
    assert {one.type for one in engine.registered} == {
        "edge:rollout:Rollout",
        "aws:iam/rolePolicy:RolePolicy",
        "aws-native:greengrassv2:Deployment",
        "pulumi-python:dynamic/edge:Answering",
        "pulumi-python:dynamic/edge:CleanDevices",
        "pulumi-python:dynamic/edge:Residue",
        "pulumi:providers:aws",
        "pulumi:providers:aws-native",
    }, "no image, no bucket, no version of its own"
    asked = engine.one("greengrassv2:Deployment").inputs["components"]
    assert {name: one["componentVersion"] for name, one in asked.items()} == UPSTREAM["components"]
    allowed = json.dumps(engine.one("RolePolicy").inputs["policy"])
    for arn in (*UPSTREAM["objects"], UPSTREAM["repository_arn"]):
        assert arn in allowed, "its device reads the publisher's files"


def test_a_publisher_exports_what_a_follower_reads(program: Program) -> None:
    program.run(stack="press-2", thing="press-1", release_from="dev")
    handed_on = dict(program.exported)
    program.run()
    assert set(program.exported) == set(UPSTREAM)
    assert set(handed_on) - {"deployment", "devices"} == set(UPSTREAM), (
        "a follower can be followed: both have the same outputs"
    )
    assert {name: type(value) for name, value in program.exported.items()} == {
        name: type(value) for name, value in UPSTREAM.items()
    }, "or the tests of a follower would be about another publisher"


def test_two_stacks_that_publish_the_same_content_have_nothing_in_common(program: Program) -> None:
    """Component versions share a namespace in the account, bucket names share one in the world."""

    def made(stack: str) -> set[str]:
        engine = program.run(stack)
        return {
            *(f"{name} {one['ComponentVersion']}" for name, one in recipes(engine).items()),
            *(one.inputs["bucket"] for one in engine.of_type("s3/bucket:Bucket")),
            *(one.inputs["name"] for one in engine.of_type("ecr/repository:Repository")),
            *(one.inputs["imageName"] for one in engine.of_type(":Image")),
            program.exported["release"],
        }

    dev, other = made("dev"), made("press-2")
    assert len(dev) == len(other) == 7
    assert dev.isdisjoint(other), "a destroy of one would take from the other"


@pytest.mark.parametrize("stack", ["dev", "press-2"])
def test_two_stacks_on_one_role_have_a_policy_each(program: Program, stack: str) -> None:
    rights = program.run(stack=stack, thing="press-1").one("RolePolicy")
    assert rights.inputs["name"] == f"edge-inference-{stack}", "or one would overwrite the other's"
