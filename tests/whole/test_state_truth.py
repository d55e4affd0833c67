"""If Pulumi's state and the account differ, an `up` follows the account.

A state restored from a backup, a second backend and a new state know another release than the
devices run, or none. No `up` may succeed while a device answers with another model.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import xgboost

from greenhouse import account
from greenhouse.environment import aws_environment
from infra import policies
from tests.whole.place import STACK, Place

pytestmark = pytest.mark.whole

SMALLER = "smaller.json"


def releases(place: Place) -> list[str]:
    """The names of the releases with a record in the stack's bucket."""
    s3 = account.session(place.ports).client(
        "s3", endpoint_url=aws_environment(place.ports)["AWS_ENDPOINT_URL"]
    )
    [bucket] = [one["Name"] for one in s3.list_buckets()["Buckets"]]
    listed = s3.list_objects_v2(Bucket=bucket, Prefix="releases/")["Contents"]
    return sorted(one["Key"] for one in listed)


def test_a_restored_state_deploys_again_what_the_device_no_longer_has(place: Place) -> None:
    backup = place.home.root / "backup.json"
    place.up()
    older = place.outputs()
    place.pulumi("stack", "export", "--stack", STACK, "--file", str(backup))
    model = place.config().get("model", "edge/models/wine-quality.json")
    xgboost.Booster(model_file=place.tree / model)[:40].save_model(place.tree / SMALLER)
    place.configure(model=SMALLER)
    place.up()
    assert place.outputs()["model"] != older["model"]
    place.pulumi("stack", "import", "--stack", STACK, "--file", str(backup))
    place.configure(model=None)
    seen = status(place)
    assert seen.returncode == 3, seen.stdout
    assert f"Pulumi's state says release {older['release']}" in " ".join(seen.stdout.split())
    said = place.up()
    assert "not the versions of this stack's last deployment" in said, "it says why"
    place.await_answers(older["model"])
    place.pulumi("preview", "--stack", STACK, "--expect-no-changes")
    assert status(place).returncode == 0


def status(place: Place) -> subprocess.CompletedProcess[str]:
    """The output of `make status STACK=local FAIL=1`, on a page that wraps no line."""
    return subprocess.run(
        [sys.executable, "-m", "fleet", "status", "--stack", STACK, "--fail"],
        env={**place.env, "COLUMNS": "500"},
        cwd=place.tree,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )


@pytest.fixture
def new_state(place: Place, tmp_path: Path) -> Place:
    """The same program and account, with an empty state in another backend."""
    place.env["PULUMI_BACKEND_URL"] = f"file://{tmp_path}"
    place.pulumi("stack", "init", STACK)
    return place


def test_a_new_state_for_a_stack_that_exists_is_refused_and_loses_nothing(
    place: Place, request: pytest.FixtureRequest
) -> None:
    kept, states, containers = releases(place), place.states(), place.containers()
    assert len(kept) == 2, "both models' releases"
    backup = str(place.home.root / "newest.json")
    place.pulumi("stack", "export", "--stack", STACK, "--file", backup)
    backend = place.env["PULUMI_BACKEND_URL"]
    request.addfinalizer(lambda: place.env.__setitem__("PULUMI_BACKEND_URL", backend))
    request.getfixturevalue("new_state")
    for command in (("preview",), ("up", "--yes", "--skip-preview")):
        said = place.pulumi(*command, "--stack", STACK, ok=False)
        assert "exists in this account" in said, said
        assert "pulumi stack import --file" in said, "it says how to go on"
    place.pulumi("destroy", "--stack", STACK, "--yes")
    assert (releases(place), place.states(), place.containers()) == (kept, states, containers), (
        "the new state of a refused update removes nothing"
    )
    place.pulumi("stack", "import", "--stack", STACK, "--file", backup)
    place.pulumi("preview", "--stack", STACK, "--expect-no-changes")


@pytest.mark.matrix
def test_a_state_that_lost_the_bucket_is_refused_until_it_is_restored(place: Place) -> None:
    place.up()
    backup = str(place.home.root / "whole.json")
    place.pulumi("stack", "export", "--stack", STACK, "--file", backup)
    listed = json.loads(Path(backup).read_text())["deployment"]["resources"]
    [bucket] = [one["urn"] for one in listed if one["type"] == "aws:s3/bucket:Bucket"]
    kept = releases(place)
    place.pulumi("state", "delete", bucket, "--target-dependents", "--stack", STACK, "--yes")
    for command in (("preview",), ("up", "--yes", "--skip-preview")):
        said = place.pulumi(*command, "--stack", STACK, ok=False)
        assert "exists in this account" in said, said
    assert releases(place) == kept
    place.pulumi("stack", "import", "--stack", STACK, "--file", backup)
    place.pulumi("preview", "--stack", STACK, "--expect-no-changes")


@pytest.mark.matrix
def test_deployments_deleted_by_hand_are_made_again_and_others_components_stay(
    place: Place,
) -> None:
    """A restore once widened the role's rights. Afterwards they are those of the state again."""
    place.up()
    tenant, model = place.tenant_process(), place.outputs()["model"]
    cloud = account.greengrass(place.ports)
    for one in cloud.list_deployments(historyFilter="ALL")["deployments"]:
        with suppress(cloud.exceptions.ConflictException):  # It was over before.
            cloud.cancel_deployment(deploymentId=one["deploymentId"])
        cloud.delete_deployment(deploymentId=one["deploymentId"])
    rights = widened(place)
    place.pulumi("up", "--refresh", "--yes", "--skip-preview", "--stack", STACK)
    place.await_answers(model)
    assert place.tenant_process() == tenant, "neither removed nor restarted"
    assert rights() == in_state(place, "aws:iam/rolePolicy:RolePolicy")["policy"]
    place.pulumi("preview", "--stack", STACK, "--expect-no-changes")


def in_state(place: Place, kind: str) -> dict[str, Any]:
    """The outputs of the only resource of that type. A policy is a document."""
    listed = json.loads(place.pulumi("stack", "export", "--stack", STACK))["deployment"][
        "resources"
    ]
    [found] = [one["outputs"] for one in listed if one["type"] == kind]
    return {**found, "policy": json.loads(found["policy"])}


def widened(place: Place) -> Callable[[], Any]:
    """Let the devices' role read one more file, as a restore does.

    Returns what it may read later.
    """
    iam = account.session(place.ports).client(
        "iam", endpoint_url=aws_environment(place.ports)["AWS_ENDPOINT_URL"]
    )
    policy = in_state(place, "aws:iam/rolePolicy:RolePolicy")
    named = {"RoleName": policy["role"], "PolicyName": policy["name"]}
    wider = policies.with_objects(policy["policy"], ["arn:aws:s3:::bucket/older"])
    iam.put_role_policy(**named, PolicyDocument=json.dumps(wider))
    return lambda: iam.get_role_policy(**named)["PolicyDocument"]
