"""The main job from end to end, as one story: real engine, real containers, real answers.

Each test goes on where the test before stopped.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import xgboost
import yaml

from greenhouse import account, after_up_and_down
from greenhouse.environment import aws_environment
from greenhouse.home import ACCOUNT, REGION, Ports
from tests.edge.runtime.test_image import ENGINES_OWN, exported, listed
from tests.whole.place import STACK, Place, copy_tree, wait_until

pytestmark = pytest.mark.whole

OURS = ("com.ml.xgboost", "com.ml.consumer", "com.ml.check")
MODEL = Path("edge/models/wine-quality.json")


def xgboost_says(place: Place) -> list[float]:
    """The reference, straight from the model file: float32 predictions as float64."""
    booster = xgboost.Booster(model_file=place.tree / MODEL)
    records = json.loads((place.tree / "edge/consumer/samples.json").read_text())
    names = booster.feature_names or []
    rows = np.array([[record[name] for name in names] for record in records], dtype=np.float32)
    matrix = xgboost.DMatrix(rows, feature_names=names)
    return [float(value) for value in booster.predict(matrix)]


@dataclass(frozen=True)
class Account:
    """What the account has of ours, as anybody could ask."""

    ports: Ports

    def _client(self, service: Literal["ecr", "s3"]) -> Any:
        endpoint = aws_environment(self.ports)["AWS_ENDPOINT_URL"]
        return account.session(self.ports).client(service, endpoint_url=endpoint)

    def repository(self) -> bool:
        return bool(self._client("ecr").describe_repositories()["repositories"])

    def bucket(self) -> bool:
        return bool(self._client("s3").list_buckets()["Buckets"])

    def open_to_the_public(self, bucket: str) -> None:
        self._client("s3").delete_public_access_block(Bucket=bucket)

    def releases(self) -> list[str]:
        """The releases that have a record, the oldest first."""
        s3 = self._client("s3")
        [bucket] = s3.list_buckets()["Buckets"]
        listed = s3.list_objects_v2(Bucket=bucket["Name"], Prefix="releases/")["Contents"]
        oldest_first = sorted(listed, key=lambda one: one["LastModified"])
        return [Path(one["Key"]).stem for one in oldest_first]

    def versions(self, component: str) -> set[str]:
        arns = f"arn:aws:greengrass:{REGION}:{ACCOUNT}:components:{component}"
        listed = account.greengrass(self.ports).list_component_versions(arn=arns)
        return {one["componentVersion"] for one in listed["componentVersions"]}

    def component(self) -> bool:
        listed = account.greengrass(self.ports).list_components(scope="PRIVATE")["components"]
        return any(component["componentName"] in OURS for component in listed)


def account_has(place: Place) -> Account:
    return Account(place.ports)


def assert_nothing_of_ours(place: Place) -> None:
    """Device and account as they were, except for the deployment that carries the others on."""
    states = place.states()
    assert states[account.TENANT] == ("1.0.0", "RUNNING")
    assert not set(OURS) & set(states)
    left = after_up_and_down.residue(place.home).found
    assert left["components"] == [account.TENANT]
    assert not [name for name in left["deployments"] if name.startswith("edge-inference/")]
    for kind in ("containers", "buckets", "repositories", "role policies"):
        assert not left[kind], kind


def is_quiet(preview: str) -> bool:
    """Whether a preview or an update changed nothing at all."""
    return not any(
        sign in preview for sign in ("to create", "to update", "to replace", "to delete")
    )


@pytest.fixture(scope="module")
def tenant(place: Place) -> int:
    """The process of what ran on the device before."""
    return place.tenant_process()


@pytest.mark.usefixtures("tenant")
def test_up_succeeds_and_the_device_answers_as_xgboost_does(place: Place) -> None:
    place.up()
    outputs = place.outputs()
    answered = place.await_answers(outputs["model"])
    assert answered == xgboost_says(place), "not bit for bit what XGBoost says"
    states = place.states()
    for name in OURS:
        version, state = states[name]
        assert version == outputs["components"][name]
        assert state in {"RUNNING", "FINISHED"}
    assert place.container("com.ml.xgboost"), "the service runs in a real container"


def test_what_ships_is_listed_file_by_file_as_the_engine_has_it(place: Place) -> None:
    listed_now = json.loads(place.fleet("sbom", "--stack", STACK, "--json"))
    [image] = place.outputs()["image"].values()
    there = {
        path: what for path, what in exported(image, "amd64").items() if path not in ENGINES_OWN
    }
    assert listed(json.dumps(listed_now["amd64"])) == there
    assert "edge-inference" in place.fleet("sbom", "--stack", STACK)


def test_a_preview_right_after_up_says_no_changes(place: Place) -> None:
    place.pulumi("preview", "--stack", STACK, "--expect-no-changes")


def test_the_same_tree_in_another_folder_says_no_changes(place: Place, tmp_path: Path) -> None:
    elsewhere = copy_tree(tmp_path / "elsewhere")
    shutil.copy2(place.tree / f"Pulumi.{STACK}.yaml", elsewhere)
    for path in (elsewhere / "edge").rglob("*"):
        path.chmod(path.stat().st_mode ^ 0o020)  # Somebody with another umask did this.
    place.pulumi("preview", "--stack", STACK, "--expect-no-changes", tree=elsewhere)
    with (elsewhere / "edge/inference/settings.py").open("a") as module:
        module.write("# an edit that only this copy has\n")
    seen = place.pulumi("preview", "--stack", STACK, tree=elsewhere)
    assert not is_quiet(seen), "the preview didn't read the folder it ran in"


def test_a_second_up_changes_nothing_on_the_device(place: Place) -> None:
    before = {name: place.container(name) for name in OURS[:2]}
    place.up()
    assert {name: place.container(name) for name in OURS[:2]} == before


def make_drift(place: Place) -> subprocess.CompletedProcess[str]:
    home = {name: os.environ[name] for name in os.environ if name.startswith(("HOME", "XDG_"))}
    return subprocess.run(
        ["make", "--silent", "drift"],
        cwd=place.tree,
        env={**home, **place.env, "GREENHOUSE_HOME": str(place.home.root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def test_a_change_by_hand_in_the_account_is_drift_until_it_is_put_right(place: Place) -> None:
    account_has(place).open_to_the_public(place.outputs()["bucket"])
    seen = make_drift(place)
    assert seen.returncode, "Pulumi's state doesn't know: a preview of it alone says no changes"
    assert "aws:s3:BucketPublicAccessBlock artifacts-private create" in seen.stdout, seen.stdout
    place.pulumi("up", "--refresh", "--stack", STACK, "--yes", "--skip-preview")
    again = make_drift(place)
    assert again.returncode == 0, again.stdout


def test_a_new_model_changes_no_image_and_only_the_components_that_carry_it(place: Place) -> None:
    before, consumer = place.outputs(), place.container("com.ml.consumer")
    original = (place.tree / MODEL).read_bytes()
    xgboost.Booster(model_file=place.tree / MODEL)[:40].save_model(place.tree / MODEL)
    place.up()
    after = place.outputs()
    assert after["image"] == before["image"]
    changed = {name for name in OURS if after["components"][name] != before["components"][name]}
    assert changed == {"com.ml.xgboost", "com.ml.check"}
    assert place.await_answers(after["model"]) == xgboost_says(place)
    assert place.container("com.ml.consumer") == consumer, "unchanged, so not restarted"
    (place.tree / MODEL).write_bytes(original)


def test_a_model_that_comes_back_is_an_ordinary_successful_up(place: Place) -> None:
    place.up()
    assert place.await_answers(place.outputs()["model"]) == xgboost_says(place)


def test_an_older_release_is_deployed_by_its_name_as_it_was(place: Place) -> None:
    newest = place.outputs()
    older, name = account_has(place).releases()
    assert name == newest["release"], "it came back, so it is the newest"
    place.configure(release=older)
    place.up()
    now = place.outputs()
    assert (now["release"], now["image"]) == (older, newest["image"])
    assert now["model"] != newest["model"]
    assert place.await_answers(now["model"]) != xgboost_says(place), "that is the newest model"
    place.pulumi("preview", "--stack", STACK, "--expect-no-changes")


def test_a_prune_drops_what_no_device_needs_and_keeps_the_way_back(place: Place) -> None:
    unused, older = account_has(place).releases()[::-1]
    known = account_has(place).versions("com.ml.check")
    place.configure(release=None, keep_releases=1, consumer_interval=2)
    place.up()
    outputs = place.outputs()
    assert place.await_answers(outputs["model"]) == xgboost_says(place)
    assert len(account_has(place).releases()) == 3, "an update removes nothing"
    for options in ((), ("--yes",)):
        assert f"release {unused} of " in place.fleet("prune", "--stack", STACK, *options)
    assert account_has(place).releases() == [older, outputs["release"]]
    now = account_has(place).versions("com.ml.check")
    assert len(known) == len(now) == 2, "the one that is gone, and the new one"
    place.pulumi("preview", "--stack", STACK, "--expect-no-changes")


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"memory": "plenty"}, "memory"),
        ({"model": "edge/models/nothing-here.json"}, "nothing-here.json"),
        ({"thin": "greenhouse"}, "thing"),
    ],
)
def test_a_wrong_config_value_is_one_clear_message_before_anything_changes(
    place: Place, config: dict[str, str], says: str
) -> None:
    before = place.outputs()
    place.configure(**config)
    seen = place.up(ok=False)
    place.configure(**dict.fromkeys(config))
    assert says in seen
    assert "Traceback" not in seen, seen
    assert place.outputs() == before


def test_a_group_follows_the_release_of_another_stack_and_builds_nothing(place: Place) -> None:
    second = f"{place.thing}-2"
    place.add_device(second, group="presses")
    follower = {
        "aws:region": REGION,
        "edge-inference:thing-group": "presses",
        "edge-inference:release-from": STACK,
        "edge-inference:rollout-timeout": 120,
    }
    (place.tree / "Pulumi.follower.yaml").write_text(yaml.safe_dump({"config": follower}))
    place.pulumi("stack", "select", "follower", "--create")
    seen = place.pulumi("up", "--stack", "follower", "--yes", "--skip-preview")
    assert "docker:index:Image" not in seen
    assert "greengrassv2:ComponentVersion" not in seen
    published = place.outputs()["components"]
    there = place.states(second)
    assert {name: there[name][0] for name in OURS} == published
    place.pulumi("preview", "--stack", "follower", "--expect-no-changes")


def test_a_release_that_others_deploy_is_not_destroyed(place: Place) -> None:
    seen = place.pulumi("destroy", "--stack", STACK, "--yes", "--skip-preview", ok=False)
    assert "nothing was destroyed: others deploy what this stack published" in seen, seen
    assert "by deployment 'edge-inference/follower'" in seen, seen
    assert "Traceback" not in seen, seen
    place.pulumi("preview", "--stack", STACK, "--expect-no-changes")


def test_a_follower_is_destroyed_and_its_publisher_goes_on(place: Place) -> None:
    seen = place.pulumi("destroy", "--stack", "follower", "--yes", "--skip-preview")
    assert "left of stack edge-inference/follower: nothing" in seen, seen
    assert not set(OURS) & set(place.states(f"{place.thing}-2"))
    published = place.outputs()["components"]
    assert place.states()["com.ml.xgboost"] == (published["com.ml.xgboost"], "RUNNING")


def test_a_second_stack_on_the_same_thing_is_refused(place: Place) -> None:
    config = {"aws:region": REGION, "edge-inference:thing": place.thing}
    (place.tree / "Pulumi.second.yaml").write_text(yaml.safe_dump({"config": config}))
    place.pulumi("stack", "select", "second", "--create")
    seen = place.pulumi("preview", "--stack", "second", ok=False)
    assert "(taken-over)" in seen, seen
    assert f"thing/{place.thing}, deployment 'edge-inference/{STACK}" in seen, seen
    assert "pulumi up --config override=" in seen, seen


def test_what_ran_on_the_device_before_has_never_been_restarted(place: Place, tenant: int) -> None:
    assert place.tenant_process() == tenant


def test_a_destroy_of_a_device_that_is_off_removes_nothing_it_still_needs(place: Place) -> None:
    place.configure(rollout_timeout=10)
    place.up()
    place.stop_device()
    seen = place.pulumi("destroy", "--stack", STACK, "--yes", "--skip-preview", ok=False)
    assert f"{place.thing} did not uninstall within 10 s" in seen, seen
    there = account_has(place)
    assert there.repository(), "the device may have to pull its image again"
    assert there.bucket()
    assert there.component()


def test_a_destroy_goes_on_without_a_device_that_was_abandoned(place: Place) -> None:
    words = [sys.executable, "-m", "fleet", "abandon-device", place.thing, "--stack", STACK]
    subprocess.run([*words, "--yes"], cwd=place.tree, env=place.env, check=True)
    seen = place.pulumi("destroy", "--stack", STACK, "--yes", "--skip-preview")
    assert f"left of stack edge-inference/{STACK}:" in seen, seen
    assert f"{place.thing}: AWS has no record of it" in seen, seen
    assert f"keeps {account.TENANT} on the target" in seen, seen


def test_an_abandoned_device_that_comes_back_obeys_what_was_deployed_meanwhile(
    place: Place,
) -> None:
    """DeleteCoreDevice deletes a record and no device: it reports itself again."""
    place.start()
    wait_until(
        lambda: account.TENANT in place.states() and not set(OURS) & set(place.states()),
        seconds=60,
        why="it still runs ours",
    )
    assert_nothing_of_ours(place)


def test_destroy_leaves_nothing_of_ours_and_everything_of_others(place: Place) -> None:
    place.configure(rollout_timeout=120)
    place.up()
    assert place.await_answers(place.outputs()["model"]) == xgboost_says(place)
    seen = place.pulumi("destroy", "--stack", STACK, "--yes", "--skip-preview")
    assert "left of stack" in seen, seen
    assert_nothing_of_ours(place)
