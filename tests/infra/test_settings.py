"""What a stack's config may say. Each refusal comes with what to type."""

from __future__ import annotations

import re
from pathlib import Path

import botocore.session
import pytest
import yaml

from infra.account.login import Login
from infra.settings import KEYS, OF_A_RELEASE, Misconfigured
from tests.infra.pulumi_engine import PROJECT
from tests.infra.pulumi_yaml import ROOT, config_of, declared, load

STACKS = sorted([*ROOT.glob("Pulumi.*.yaml"), *ROOT.glob("examples/Pulumi.*.yaml")])
WORDS = {"string": str, "integer": int, "boolean": bool, "array": list}


def test_the_program_knows_the_keys_that_pulumi_yaml_declares() -> None:
    assert set(declared()) == KEYS, "one would be refused as unknown, or read and never found"


@pytest.mark.parametrize("key", sorted(KEYS))
def test_each_key_has_a_default_of_its_type_and_says_what_it_is(key: str) -> None:
    said = declared()[key]
    assert type(said["default"]) is WORDS[said["type"]], "Pulumi refuses the whole project file"
    assert len(said["description"]) > 15


def test_the_defaults_are_a_stack_that_publishes() -> None:
    settings = load(config_of())
    assert (settings.thing, settings.thing_group, settings.release_from) == ("", "", "")
    assert settings.model.is_file(), "the shipped model"
    assert settings.samples.is_file()
    assert settings.architectures == ("amd64",)
    assert settings.keep_components, "components of others on a device are theirs"


def test_who_answers_what_pulumi_new_asks_has_a_stack_that_deploys() -> None:
    asked = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())["template"]["config"]
    assert all(set(one) <= {"description", "default", "secret"} for one in asked.values())
    ours = {key for key in asked if ":" not in key}
    assert ours <= KEYS, "the program would refuse the new stack's file"
    assert load(config_of(**dict.fromkeys(ours, "press-1"))).thing == "press-1"
    of_provider = dict.fromkeys(set(asked) - ours, "eu-west-1")
    assert Login.of(of_provider, {}, "dev").region == "eu-west-1"


@pytest.mark.parametrize("stack", STACKS, ids=lambda path: path.name)
def test_every_stack_in_the_repository_loads(stack: Path) -> None:
    settings = load(config_of(stack), stack=stack.name.split(".")[1])
    assert settings.thing or settings.thing_group or not settings.release_from, (
        "a stack that follows another and deploys nowhere does nothing"
    )


@pytest.mark.parametrize("stack", STACKS, ids=lambda path: path.name)
def test_every_stack_in_the_repository_can_log_in(stack: Path) -> None:
    name = stack.name.split(".")[1]
    of_greenhouse = "eu-west-1" if name == "local" else "elsewhere"
    login = Login.of(config_of(stack), {"AWS_REGION": of_greenhouse}, name)
    assert login.region == "eu-west-1", "the region of greenhouse, or the file's own"


@pytest.mark.parametrize("stack", STACKS, ids=lambda path: path.name)
def test_a_stack_that_follows_another_names_one_that_publishes(stack: Path) -> None:
    followed = load(config_of(stack), stack=stack.name.split(".")[1]).release_from
    if followed:
        publisher = load(config_of(stack.with_name(f"Pulumi.{followed}.yaml")), stack=followed)
        assert not publisher.release_from, "it would find no release there"


@pytest.mark.parametrize(
    ("values", "found", "typed"),
    [
        ({"thing": "a", "thing_group": "b"}, "'a'.*'b'", "pulumi config rm thing"),
        ({"thing": "a:b"}, "thing: 'a:b' is no name for a device", "config set thing NAME"),
        ({"thing_group": "plant:line-1"}, "'plant:line-1' is no name", "set thing-group NAME"),
        ({"thing": "press\n1"}, "no name for a device", "pulumi config set thing NAME"),
        ({"device_role": ""}, "no name of an IAM role", "pulumi config set device-role NAME"),
        ({"device_role": "arn:aws:iam::1:role/R"}, "no name of an IAM role", "device-role NAME"),
        ({"architectures": []}, "empty", "'architectures[0]' amd64"),
        (
            {"architectures": ["arm64"]},
            "arm64.*\nGreengrass knows amd64 and aarch64",
            "'architectures[0]'",
        ),
        (
            {"architectures": ["amd64", "aarch64", "amd64"]},
            "amd64 twice",
            "config rm --path 'architectures[2]'",
        ),
        ({"architectures": "amd64"}, "'amd64', not a list", "--path 'architectures[0]' VALUE"),
        ({"architectures": [1]}, "not a list", "--path 'architectures[0]' VALUE"),
        ({"major": "one"}, "'one', not a whole number", "pulumi config set major NUMBER"),
        ({"major": "1.0"}, "'1.0', not a whole number", "pulumi config set major NUMBER"),
        ({"major": -1}, "major is -1, not between 0 and 999999", "config set major NUMBER"),
        ({"major": 1_000_000}, "not between 0 and 999999", "config set major NUMBER"),
        ({"keep_releases": 0}, "keep-releases is 0", "config set keep-releases NUMBER"),
        ({"rollout_timeout": 9}, "rollout-timeout is 9", "config set rollout-timeout NUMBER"),
        ({"quorum": 0}, "quorum is 0, not between 1 and 100", "config set quorum NUMBER"),
        ({"devices_per_minute": 1001}, "between 0 and 1000", "set devices-per-minute NUMBER"),
        ({"abort_percent": 101}, "abort-percent is 101", "config set abort-percent NUMBER"),
        ({"device_timeout": 10_081}, "device-timeout is 10081", "set device-timeout NUMBER"),
        ({"thing": "a", "quorum": 90}, "quorum is 90.*\n.*single thing", "config rm quorum"),
        ({"thing": "a", "devices_per_minute": 1}, "no effect", "config rm devices-per-minute"),
        ({"thing": "a", "abort_percent": 1}, "no effect", "config rm abort-percent"),
        ({"thing": "a", "device_timeout": 1}, "no effect", "config rm device-timeout"),
        ({"check_timeout": 0}, "check-timeout is 0", "config set check-timeout NUMBER"),
        ({"memory": 5}, "memory is 5, not between 6", "config set memory NUMBER"),
        ({"consumer_interval": 0}, "consumer-interval is 0", "set consumer-interval NUMBER"),
        ({"keep_components": "yes"}, "'yes', neither true nor false", "set keep-components true"),
        ({"model": "none.json"}, r"model 'none\.json' is not a file", "config rm model"),
        ({"samples": "edge"}, "samples 'edge' is not a file", "config rm samples"),
        ({"model": "a" * 300}, "can't be read: File name too long", "config set model PATH"),
        ({"samples": "a" * 300}, "can't be read: File name too long", "config set samples PATH"),
        ({"predictions": "a" * 300}, "can't be read: File name", "config rm predictions"),
        ({"model": "a\x1b[2J\0"}, r"model 'a\\x1b\[2J\\x00' is not a file", "config rm model"),
        ({"release_from": "dev"}, "names this very stack", "config rm release-from"),
    ],
)
def test_a_refusal_comes_with_what_was_found_and_what_to_type(
    values: dict[str, object], found: str, typed: str
) -> None:
    with pytest.raises(Misconfigured) as refused:
        load(config_of(None, **values))
    assert re.search(found, str(refused.value))
    assert typed in str(refused.value)


@pytest.mark.parametrize("stack", ["Dev", "a_b", "-dev", "dev-", "a" * 21, "dev.eu"])
def test_a_stack_whose_name_no_bucket_can_carry_is_refused(stack: str) -> None:
    with pytest.raises(Misconfigured, match="pulumi stack init NAME") as refused:
        load(config_of(), stack=stack)
    assert f"'{stack}'" in str(refused.value)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("thingg", "thing"),
        ("thing_group", "thing-group"),
        ("architecture", "architectures"),
        ("rolout-timeout", "rollout-timeout"),
        ("Model", "model"),
    ],
)
def test_a_misspelt_key_is_refused_with_the_nearest(typed: str, meant: str) -> None:
    with pytest.raises(Misconfigured, match=f"'{typed}' is unknown\\.\nThe nearest is") as refused:
        load(config_of() | {f"{PROJECT}:{typed}": "x"})
    assert f"pulumi config set {meant} VALUE" in str(refused.value), (
        "ignored, it would leave the default in force without a word"
    )


def test_keys_of_other_programs_are_not_ours() -> None:
    load(config_of() | {"aws:region": "eu-west-1", "aws-native:region": "eu-west-1"})


def test_a_follower_sets_nothing_of_what_its_publisher_s_release_is_made_of() -> None:
    settings = load(config_of(release_from="dev"), stack="press-2")
    for key, default in OF_A_RELEASE.items():
        assert getattr(settings, key.replace("-", "_")) == default, "Pulumi.yaml has another"
    values: dict[str, object] = {
        "engine": "xgboost",
        "architectures": ["aarch64"],
        "model": "m",
        "samples": "s",
        "predictions": "p",
        "trees": "best",
        "major": 7,
        "request-topic": "a/b",
        "answer-topic": "a/c",
        "check-timeout": 7,
        "memory": 77,
        "consumer-interval": 7,
        "build-image": "a",
        "runtime-image": "b",
    }
    assert values.keys() == OF_A_RELEASE.keys()
    for key, value in values.items():
        given = config_of(None, **{key: value, "release_from": "dev"})
        with pytest.raises(Misconfigured, match=f"{key} is set, but has no effect here") as no:
            load(given, stack="press-2")
        assert f"pulumi config rm {key}" in str(no.value), "ignored, it would look as if it held"


@pytest.mark.parametrize(
    ("key", "shape"),
    [
        ("devices-per-minute", "IoTJobMaxExecutionsPerMin"),
        ("abort-percent", "IoTJobAbortThresholdPercentage"),
    ],
)
def test_a_job_s_limits_are_refused_here_and_not_by_cloud_control_alone(
    key: str, shape: str
) -> None:
    """The plugin accepts any number (record aws-native.Check.Deployment.job-percent-200)."""
    model = botocore.session.get_session().get_service_model("greengrassv2")
    most = int(model.shape_for(shape).metadata["max"])
    values = {"thing_group": "presses", key.replace("-", "_"): most}
    load(config_of(None, **values))
    with pytest.raises(Misconfigured, match=f"{key} is {most + 1}"):
        load(config_of(None, **{**values, key.replace("-", "_"): most + 1}))
