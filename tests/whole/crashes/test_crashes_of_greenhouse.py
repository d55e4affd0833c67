"""After a kill of any process of greenhouse the next `up` converges, and so does `destroy`.

MiniStack is not among them. It saves the state of IAM, IoT, ECR and S3 only when it ends in order
(ministack 1.x, app.py, lifespan.shutdown). No AWS account does that.
"""

from __future__ import annotations

import signal
from dataclasses import replace

import pytest

from greenhouse.faults import Faults, Step
from tests.whole.calls import Calls
from tests.whole.crashes.killing import (
    DESTROY,
    UP,
    assert_it_is_there_once,
    killed_at_each_change,
    restarted,
)
from tests.whole.inventory import Inventory
from tests.whole.place import Place, wait_until

pytestmark = pytest.mark.whole


@pytest.fixture(scope="module")
def place(watched: Place) -> Place:
    return watched


CRASHES = [
    f"crash-{when}:{operation}"
    for when in ("before", "after")
    for operation in ("CreateComponentVersion", "CreateDeployment", "GetDeployment")
]


@pytest.mark.usefixtures("before")
@pytest.mark.parametrize(
    ("number", "crash"),
    [
        pytest.param(
            number,
            crash,
            id=crash,
            marks=() if crash == "crash-after:CreateDeployment" else pytest.mark.matrix,
        )
        for number, crash in enumerate(CRASHES)
    ],
)
def test_an_up_after_an_up_whose_cloud_was_killed_succeeds(
    place: Place, number: int, crash: str
) -> None:
    faults = Faults(place.home.root)
    with restarted(place):
        place.configure(check_timeout=30 + number)
        faults.set(crash)
        with (place.home.root / "said.txt").open("wb") as output:
            place.begin(*UP, output=output).wait()
        assert not faults.active(), "it was not called"
    place.up()
    assert_it_is_there_once(place)


@pytest.mark.matrix
def test_an_up_whose_providers_are_killed_at_each_change_succeeds_in_the_end(
    place: Place, calls: Calls
) -> None:
    place.configure(check_timeout=40)
    with restarted(place):
        died_at = killed_at_each_change(
            place, calls, *UP, kill=lambda _run: place.signal_process("providers", signal.SIGKILL)
        )
    assert len(died_at) >= 4, died_at
    assert_it_is_there_once(place)


@pytest.mark.matrix
def test_a_destroy_while_device_and_cloud_are_killed_leaves_everything_as_it_was(
    place: Place, before: Inventory
) -> None:
    of_starts = (Step.STOPPED, Step.STARTING, Step.RUNNING)
    device, cloud = Faults(place.home.device(place.thing)), Faults(place.home.root)
    operations = ("CreateDeployment", "ListInstalledComponents", "DeleteDeployment")
    place.up()
    device.set(f"crash-at:{','.join(step for step in Step if step not in of_starts)}")
    cloud.set(f"crash-after:{','.join((*operations, 'DeleteComponent'))}")
    with restarted(place):
        # Each but the last may meet a cloud that isn't running.
        for _ in range(2 + len(operations)):
            with (place.home.root / "said.txt").open("wb") as output:
                run = place.begin(*DESTROY, output=output)
            if run.wait() == 0:
                break
        assert run.returncode == 0, (place.home.root / "said.txt").read_text()
        # A device is clean before it comes to its last steps.
        wait_until(
            lambda: not (device.active() or cloud.active()),
            seconds=120,
            why="a fault that nobody has met",
        )
    place.await_tenant()
    after = Inventory.of(place)
    # A device that was killed before it tidied up does so after its next deployment, like the
    # nucleus.
    assert replace(after, disk=before.disk) == before


@pytest.mark.matrix
def test_a_destroy_whose_providers_are_killed_at_each_change_leaves_everything_as_it_was(
    place: Place, calls: Calls, before: Inventory
) -> None:
    place.up()
    with restarted(place):
        died_at = killed_at_each_change(
            place,
            calls,
            *DESTROY,
            kill=lambda _run: place.signal_process("providers", signal.SIGKILL),
        )
    for change in ("/cancel", "DeleteRepository", "DeleteRolePolicy", "/components/", "?delete"):
        assert any(change in one for one in died_at), f"{change} not in {died_at}"
    assert Inventory.of(place) == before
