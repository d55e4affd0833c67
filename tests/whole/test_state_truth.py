"""What Pulumi's state says and what the account has: an `up` goes by the account.

A state restored from a backup, a second backend and a new state know another release than the
devices run, or none. No `up` may succeed while a device answers with another model.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import xgboost

from greenhouse import account
from greenhouse.home import aws_environment
from tests.whole.place import STACK, Place

pytestmark = pytest.mark.whole

SMALLER = "smaller.json"


def releases(place: Place) -> list[str]:
    """The names of what the stack's bucket has records of."""
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
    said = place.up()
    assert "deploys, as deployment 'edge-inference/local" in said, "it says why"
    place.await_answers(older["model"])
    place.pulumi("preview", "--stack", STACK, "--expect-no-changes")


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
    backend = place.env["PULUMI_BACKEND_URL"]
    request.addfinalizer(lambda: place.env.__setitem__("PULUMI_BACKEND_URL", backend))
    request.getfixturevalue("new_state")
    for command in (("preview",), ("up", "--yes", "--skip-preview")):
        said = place.pulumi(*command, "--stack", STACK, ok=False)
        assert "exists in this account" in said, said
        assert "pulumi stack import --file" in said, "it says how to go on"
    place.pulumi("destroy", "--stack", STACK, "--yes")
    assert (releases(place), place.states(), place.containers()) == (kept, states, containers), (
        "what a refused update left in the new state takes nothing along"
    )
