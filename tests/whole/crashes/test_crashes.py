"""After a kill at any point the next `up` converges, and so does the next `destroy`.

The tests follow the life of a stack. The CLI with its program is killed at each call that changes
the account, and the device at each step of a deployment.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
import xgboost

from greenhouse import account
from greenhouse.environment import aws_environment
from greenhouse.faults import Faults, Step
from greenhouse.home import ACCOUNT, REGION
from tests.whole.calls import Calls
from tests.whole.crashes.killing import (
    DESTROY,
    UP,
    assert_it_is_there_once,
    kill_group,
    killed_at_each_change,
    killed_once,
    restarted,
)
from tests.whole.inventory import Inventory
from tests.whole.place import OURS, STACK, Place, wait_until
from tests.whole.sabotage import fault

pytestmark = pytest.mark.whole

MODEL = Path("edge/models/wine-quality.json")


@pytest.fixture(scope="module")
def place(watched: Place) -> Place:
    return watched


def test_a_first_up_killed_while_it_waits_leaves_a_destroy_that_clears_the_device(
    place: Place, before: Inventory
) -> None:
    said = place.home.root / "said.txt"

    def states() -> list[str]:
        assert run.poll() is None or killed, said.read_text()
        return [place.states().get(name, ("", ""))[1] for name in OURS]

    killed = False
    with said.open("wb") as output:
        run = place.begin(*UP, output=output)
        wait_until(lambda: any(states()), seconds=300, why="the device has nothing of ours")
        kill_group(run)
        killed = run.wait() < 0
    place.pulumi("cancel", STACK, "--yes")
    wait_until(lambda: set(states()) <= {"RUNNING", "FINISHED"}, seconds=120, why="it stays down")
    place.pulumi(*DESTROY)
    assert Inventory.of(place) == before


@pytest.mark.matrix
def test_a_first_up_killed_at_each_change_of_the_account_succeeds_in_the_end(
    place: Place, calls: Calls, before: Inventory
) -> None:
    assert not before.ours
    died_at = killed_at_each_change(place, calls, *UP, kill=kill_group)
    for change in (
        *("CreateRepository", "PutLifecyclePolicy", "PutRolePolicy"),
        *("PUT /v2/edge-inference/local/manifests", "?policy", "/golden.json"),
        *(f"CreateResource ComponentVersion {name}" for name in OURS),
        "CreateResource Deployment",
    ):
        assert any(change in one for one in died_at), f"{change} not in {died_at}"
    assert_it_is_there_once(place)
    assert versions(place) == dict.fromkeys(OURS, 1), "a version that no release has"


@pytest.mark.matrix
@pytest.mark.parametrize("end", ["stopped", "killed"])
def test_an_engine_that_ends_under_a_release_costs_no_error_and_no_deployment(
    place: Place, end: str
) -> None:
    """Service, consumer and answers are back in new containers once the engine is."""
    place.up()
    root = place.home.device(place.thing)
    log = root / "logs" / "greengrass.log"
    before, told = set(place.containers()), log.read_text().count("->ERRORED")
    with fault(root, f"engine:{end}"):
        wait_until(lambda: not place.containers(), seconds=60, why="the containers are still there")
    place.await_answers(place.outputs()["model"])
    assert not before & set(place.containers())
    assert_it_is_there_once(place)
    assert log.read_text().count("->ERRORED") == told


@pytest.mark.matrix
def test_an_update_killed_at_each_change_of_the_account_succeeds_in_the_end(
    place: Place, calls: Calls
) -> None:
    """The update goes to another model. A prune then removes the first release with its image.

    It also removes what an update to a model in between has made, which was killed and never
    repeated.
    """
    place.configure(keep_releases=2)
    change_the_model(place)
    last = "CreateResource ComponentVersion com.ml.check"
    assert last in killed_once(place, calls, *UP, kill=kill_group, counts=last.__eq__)
    change_the_model(place)
    died_at = killed_at_each_change(place, calls, *UP, kill=kill_group)
    for change in (
        *("PUT .*/model.bz2", "PUT .*/golden.json", "PUT .*/releases/", "PutRolePolicy"),
        *(f"CreateResource ComponentVersion {name}" for name in ("com.ml.check", "com.ml.xgboost")),
        "CreateResource Deployment",
    ):
        assert any(re.search(change, one) for one in died_at), f"{change} not in {died_at}"
    said = place.fleet("prune", "--stack", STACK, "--yes")
    assert "left by an interrupted update, in no release:" in said, said
    assert_it_is_there_once(place)
    assert versions(place) == {"com.ml.check": 2, "com.ml.consumer": 1, "com.ml.xgboost": 2}
    assert files(place) == {
        **{"model.bz2": 2, "golden.json": 2},
        **{"samples.json": 1, "consumer.py": 1, "sbom-amd64.json": 1},
    }


def change_the_model(place: Place) -> None:
    booster = xgboost.Booster(model_file=place.tree / MODEL)
    booster[: booster.num_boosted_rounds() - 1].save_model(place.tree / MODEL)


def change_the_image(place: Place) -> None:
    with (place.tree / "edge/inference/program.py").open("a") as program:
        program.write("\nANOTHER = True\n")


def versions(place: Place) -> dict[str, int]:
    """The number of versions of each component."""
    client = account.greengrass(place.ports)
    arns = f"arn:aws:greengrass:{REGION}:{ACCOUNT}:components"
    return {
        name: len(client.list_component_versions(arn=f"{arns}:{name}")["componentVersions"])
        for name in OURS
    }


def files(place: Place) -> Counter[str]:
    """The number of files with each name, under the hashes of their contents."""
    s3 = account.session(place.ports).client(
        "s3", endpoint_url=aws_environment(place.ports)["AWS_ENDPOINT_URL"]
    )
    listed = s3.list_objects_v2(Bucket=place.outputs()["bucket"])["Contents"]
    keys = [one["Key"] for one in listed]
    return Counter(Path(key).name for key in keys if not key.startswith("releases/"))


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param([Step.STOPPED], id="one step"),
        pytest.param(list(Step), id="each step", marks=pytest.mark.matrix),
    ],
)
def test_one_up_outlives_a_device_that_is_killed(place: Place, steps: list[Step]) -> None:
    place.up()  # The next update has to stop it.
    change_the_model(place)
    change_the_image(place)
    faults = Faults(place.home.device(place.thing))
    faults.set(f"crash-at:{','.join(steps)}")
    with restarted(place):
        place.up()
        assert not faults.active(), "not reached"
    assert_it_is_there_once(place)


@pytest.mark.matrix
def test_a_destroy_killed_at_each_change_leaves_everything_as_it_was(
    place: Place, calls: Calls, before: Inventory
) -> None:
    place.up()
    died_at = killed_at_each_change(place, calls, *DESTROY, kill=kill_group)
    for change in ("deployments", "DeleteRepository", "DeleteRolePolicy", "/components/"):
        assert any(change in one for one in died_at), f"{change} not in {died_at}"
    assert Inventory.of(place) == before
