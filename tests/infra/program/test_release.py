"""What a release registers: files, images, component versions."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from pulumi.runtime.rpc import is_rpc_secret

from infra import policies
from infra.account.context import Context
from infra.names import CHECK, COMPONENTS, CONSUMER, SERVICE
from tests.infra.fakes import Account
from tests.infra.program.registered import Program, content, files, recipes, waits_for
from tests.infra.pulumi_engine import DIGEST, Engine

# The release


def test_objects_lie_under_a_key_made_from_their_content_and_are_kept(deployed: Engine) -> None:
    objects = files(deployed)
    assert {one.inputs["key"].partition("/")[2] for one in objects} == {
        "model.bz2",
        "samples.json",
        "golden.json",
        "consumer.py",
    }
    for one in objects:
        assert one.inputs["key"].startswith(f"{hashlib.sha256(content(one)).hexdigest()}/"), (
            "a device refuses an object that was overwritten since its version was made"
        )
        assert one.retained, "devices may still come from an older release"
        assert not one.deletes_first


def test_a_model_s_path_is_in_no_key_and_no_recipe(program: Program, tmp_path: Path) -> None:
    def published(model: Path) -> tuple[dict[str, Any], set[str]]:
        engine = program.run(thing="press-1", model=str(model))
        return recipes(engine), {one.inputs["key"] for one in files(engine)}

    usual = Path("edge/models/wine-quality.json")
    ugly = tmp_path / "{work:path} $(touch PWNED)" / "a'\";`id`\n\x1b[2J..é[x] %41?#.json"
    ugly.parent.mkdir()
    shutil.copy(usual, ugly)
    assert published(ugly) == published(usual)


def test_recipes_name_the_objects_and_images_that_were_made(deployed: Engine) -> None:
    stored = {f"s3://{one.inputs['bucket']}/{one.inputs['key']}" for one in files(deployed)}
    images = {
        f"docker:{one.inputs['imageName'].rpartition(':')[0]}@{DIGEST}"
        for one in deployed.of_type(":Image")
    }
    named = {
        artifact["Uri"]
        for recipe in recipes(deployed).values()
        for manifest in recipe["Manifests"]
        for artifact in manifest["Artifacts"]
    }
    assert named == stored | images, "by digest, as pushed: a tag could come to mean another image"


def test_a_component_version_waits_for_the_files_and_images_that_its_recipe_names(
    deployed: Engine,
) -> None:
    for version in deployed.of_type("greengrassv2:ComponentVersion"):
        for needed in [*deployed.of_type(":Image"), *files(deployed)]:
            assert waits_for(deployed, version, needed), (
                f"the cloud reads the artifacts when it makes the version: {needed.name}"
            )


def test_component_versions_are_kept_and_never_deleted_first(deployed: Engine) -> None:
    versions = deployed.of_type("greengrassv2:ComponentVersion")
    assert {one.name for one in versions} == set(COMPONENTS)
    for one in versions:
        assert one.retained, "a rollback and a follower need the older ones"
        assert not one.deletes_first, "the running deployment refers to it"


def test_a_destroy_removes_the_kept_versions_only_after_the_devices_were_cleared(
    deployed: Engine,
) -> None:
    clean, kept = deployed.one("edge:CleanDevices"), deployed.one("edge:KeptVersions")
    assert waits_for(deployed, clean, kept), "the first resource made is destroyed last"
    tags = deployed.one("s3/bucket:Bucket").inputs["tags"]
    sweeps = Context.remembered(kept.inputs).tags
    assert sweeps == tags, "or it would sweep nothing, or too much"


def test_a_destroy_clears_the_devices_after_any_end_of_an_up(deployed: Engine) -> None:
    clean, deployment = deployed.one("edge:CleanDevices"), deployed.one("greengrassv2:Deployment")
    assert clean.urn in deployment.depends_on, (
        "killed between the two, an `up` would leave a device that no destroy knows of"
    )
    assert deployment.deleted_with == clean.urn, (
        "deleted before, it couldn't say which components of others stay"
    )


def test_a_target_has_a_cleaner_of_its_own_which_is_not_replaced(
    account: Account, program: Program
) -> None:
    account.groups = {"presses": ["press-1"]}
    there, elsewhere, back = (
        program.run(**values).one("edge:CleanDevices")
        for values in ({"thing": "press-1"}, {"thing_group": "presses"}, {"thing": "press-1"})
    )
    assert there.urn != elsewhere.urn, (
        "the old target is cleared, but only once the new one answers"
    )
    assert back.urn == there.urn, (
        "after a failed move the way back would end by clearing devices that answer"
    )


def test_a_device_that_is_not_clean_yet_finds_what_it_runs(deployed: Engine) -> None:
    clean = deployed.one("edge:CleanDevices")
    for kind in ("RolePolicy", "s3/bucket:Bucket", "ecr/repository:Repository", ":Image"):
        for needed in deployed.of_type(kind):
            assert waits_for(deployed, clean, needed), f"a red destroy would have taken {kind}"


def test_a_possible_leftover_is_cleared_before_the_resource_is_made(deployed: Engine) -> None:
    immutable = ("ComponentVersion", "ecr/repository:Repository", "s3/bucket:Bucket", ":Image")
    for suffix in immutable:
        for one in deployed.of_type(suffix):
            assert one.before_create, f"a killed `up` before it blocks {one.name} for ever"
    hooks = [hook for one in deployed.registered for hook in one.before_create]
    assert len(set(hooks)) == len(hooks), "one name for each: the engine knows hooks by name"
    for image in deployed.of_type(":Image"):
        assert image.before_update == image.before_create, "a new tag is an update"


def test_an_image_for_each_architecture_under_a_tag_of_its_own(deployed: Engine) -> None:
    images = {one.inputs["build"]["platform"]: one for one in deployed.of_type(":Image")}
    assert set(images) == {"linux/amd64", "linux/arm64"}
    tags = {
        platform: one.inputs["imageName"].rpartition(":")[2] for platform, one in images.items()
    }
    assert tags["linux/amd64"].startswith("amd64-")
    assert tags["linux/arm64"].startswith("aarch64-")
    rules = json.loads(deployed.one("LifecyclePolicy").inputs["policy"])["rules"]
    assert rules == policies.ecr_lifecycle_policy()["rules"]
    assert deployed.one("ecr/repository:Repository").inputs["imageTagMutability"] == "IMMUTABLE"


def test_the_registrys_password_is_a_secret_of_the_state(deployed: Engine) -> None:
    """The real docker plugin takes no secrets: what the program doesn't mark comes back plain."""
    images = deployed.of_type(":Image")
    assert images
    for image in images:
        assert is_rpc_secret(image.inputs["registry"]), "readable in the state file"


def test_the_state_is_the_same_in_every_checkout(deployed: Engine) -> None:
    here = str(Path.cwd())
    for one in deployed.registered:
        assert here not in json.dumps(one.inputs, default=vars), (
            f"{one.name}: a path of this machine would be a change on the next"
        )


def test_the_bucket_is_private_encrypted_and_tls_only(deployed: Engine) -> None:
    bucket = deployed.one("s3/bucket:Bucket").inputs["bucket"]
    around = [
        deployed.one(kind)
        for kind in (
            "BucketPublicAccessBlock",
            "BucketOwnershipControls",
            "BucketServerSideEncryptionConfiguration",
            "BucketPolicy",
        )
    ]
    assert {one.inputs["bucket"] for one in around} == {bucket}
    private, _, _, policy = around
    assert [value for key, value in private.inputs.items() if key != "bucket"] == [True] * 4
    [statement] = json.loads(policy.inputs["policy"])["Statement"]
    assert f"arn:aws:s3:::{bucket}/*" in statement["Resource"]
    assert waits_for(deployed, policy, private), "S3 answers one of two at a time with 409"


def test_a_destroy_takes_what_was_kept_along(deployed: Engine) -> None:
    assert deployed.one("s3/bucket:Bucket").inputs["forceDestroy"]
    assert deployed.one("ecr/repository:Repository").inputs["forceDelete"]


@pytest.mark.parametrize(
    ("change", "moves"),
    [
        ({"memory": 128}, {SERVICE, CONSUMER, CHECK}),
        ({"build_image": "python:3.11.9"}, {SERVICE, CONSUMER, CHECK}),
        ({"consumer_interval": 60}, {CONSUMER, CHECK}),  # It judges all of them, so it runs again.
        ({"check_timeout": 60}, {CHECK}),
        ({"rollout_timeout": 60}, set()),
        ({"keep_releases": 7}, set()),
    ],
)
def test_a_component_gets_a_new_version_exactly_when_its_content_changed(
    program: Program, change: Any, moves: set[str]
) -> None:
    program.run()
    before = program.exported["components"]
    program.run(**change)
    after = program.exported["components"]
    assert {name for name in COMPONENTS if before[name] != after[name]} == moves, (
        "an unchanged component isn't restarted on the device"
    )


def test_a_changed_question_changes_the_check_and_the_consumer_alone(
    program: Program, tmp_path: Path
) -> None:
    program.run()
    before = program.exported["components"]
    samples = json.loads(Path("edge/consumer/samples.json").read_text())[:-1]
    other = tmp_path / "samples.json"
    other.write_text(json.dumps(samples))
    program.run(samples=str(other))
    after = program.exported["components"]
    assert {name for name in COMPONENTS if before[name] != after[name]} == {CHECK, CONSUMER}
