"""The first steps in an account of one's own: README's lines, with keys and endpoints only.

On AWS nobody needs the endpoints. The lines themselves must contain everything else that they need.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator

import pytest
import yaml

from greenhouse import toolchain
from tests.whole.place import OURS, Place, started
from tests.whole.readme import lines

pytestmark = pytest.mark.whole

LOGIN = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL")
IMAGES = ("edge-inference:build-image", "edge-inference:runtime-image")


@pytest.fixture(scope="module")
def place(tools: toolchain.Toolchain, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with started(tmp_path_factory.mktemp("account"), tools) as there:
        there.env = {
            name: value
            for name, value in there.env.items()
            if not name.startswith("AWS_") or name.startswith(LOGIN)
            # The person who types says yes.
        } | {"HOME": os.environ["HOME"], "PULUMI_SKIP_CONFIRMATIONS": "true"}
        # The base images that this machine has, as it reaches no registry for the default ones.
        local = yaml.safe_load((there.tree / "Pulumi.local.yaml").read_text())["config"]
        (there.tree / "Pulumi.dev.yaml").write_text(
            yaml.safe_dump({"config": {key: local[key] for key in IMAGES}})
        )
        yield there


def test_the_lines_that_readme_gives_end_in_a_device_that_answers(place: Place) -> None:
    typed = [line.replace(" NAME", f" {place.thing}") for line in lines("A real device")]
    assert any(place.thing in line for line in typed)
    place.await_tenant()
    done = subprocess.run(
        ["bash", "-e", "-c", "\n".join(typed)],
        cwd=place.tree,
        env=place.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert {name: place.states()[name][1] for name in OURS}["com.ml.xgboost"] == "RUNNING"
    place.pulumi("preview", "--stack", "dev", "--expect-no-changes")


def test_the_state_names_the_two_explicit_providers_and_no_default_one_of_aws(place: Place) -> None:
    state = json.loads(place.pulumi("stack", "export", "--stack", "dev"))["deployment"]
    providers = {
        one["urn"].rpartition("::")[2]: one["inputs"]
        for one in state["resources"]
        if one["type"].startswith("pulumi:providers:aws")
    }
    assert {name: inputs["region"] for name, inputs in providers.items()} == {
        "aws": "eu-west-1",
        "aws-native": "eu-west-1",
    }


def test_a_setting_that_would_lead_a_provider_elsewhere_is_refused_and_changes_nothing(
    place: Place,
) -> None:
    file = place.tree / "Pulumi.dev.yaml"
    before = file.read_text()
    for key, value, said in (
        ("aws-native:region", "eu-west-1", "pulumi config rm --stack dev aws-native:region"),
        ("aws:region", "", "pulumi config set --stack dev aws:region REGION"),
        ("aws:region", "us-east-1", "was made in region eu-west-1"),
    ):
        config = yaml.safe_load(before)
        config["config"][key] = value
        file.write_text(yaml.safe_dump(config))
        assert said in place.pulumi("preview", "--stack", "dev", ok=False)
    place.pulumi("up", "--skip-preview", "--stack", "dev", ok=False)
    file.write_text(before)
    place.pulumi("preview", "--stack", "dev", "--expect-no-changes")


def test_a_destroy_ends_with_the_providers_and_what_is_left(place: Place) -> None:
    told = place.pulumi("destroy", "--stack", "dev", "--skip-preview")
    *_, one, other, residue, stack = re.findall(r"^ -  \S+ (\S+) deleted", told, re.M)
    assert {one, other} == {"aws", "aws-native"}, told
    assert (residue, stack) == ("residue", "edge-inference-dev"), told
    assert not {*OURS} & place.states().keys()
