"""Whichever process of greenhouse is killed, and whenever: the next `up` converges, and `destroy`.

MiniStack is not among them: it writes what IAM, IoT, ECR and S3 know of themselves when it ends in
good order and never before (ministack 1.x, app.py, lifespan.shutdown), which no AWS account does.
"""

from __future__ import annotations

import signal
from dataclasses import replace
from itertools import product

import pytest

from greenhouse.faults import Faults, Step
from tests.whole.calls import Calls
from tests.whole.inventory import Inventory
from tests.whole.killing import (
    DESTROY,
    UP,
    assert_it_is_there_once,
    killed_at_each_change,
    restarted,
)
from tests.whole.place import Place, wait_until

pytestmark = pytest.mark.whole


@pytest.fixture(scope="module")
def place(watched: Place) -> Place:
    return watched


@pytest.mark.usefixtures("before")
def test_an_up_after_ones_whose_cloud_was_killed_is_green(place: Place) -> None:
    faults = Faults(place.home.root)
    operations = ("CreateComponentVersion", "CreateDeployment", "GetDeployment")
    with restarted(place):
        for number, (when, operation) in enumerate(
            product(("crash-before", "crash-after"), operations)
        ):
            place.configure(check_timeout=30 + number)
            faults.set(f"{when}:{operation}")
            with (place.home.root / "said.txt").open("wb") as output:
                place.begin(*UP, output=output).wait()
            assert not faults.active(), f"{operation} was not called"
    place.up()
    assert_it_is_there_once(place)


def test_an_up_whose_providers_are_killed_at_each_change_is_green_in_the_end(
    place: Place, calls: Calls
) -> None:
    place.configure(check_timeout=40)
    with restarted(place):
        died_at = killed_at_each_change(
            place, calls, *UP, kill=lambda _run: place.signal_process("providers", signal.SIGKILL)
        )
    assert len(died_at) >= 4, died_at
    assert_it_is_there_once(place)


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
        for _ in range(2 + len(operations)):  # each but the last may meet a cloud that is away
            with (place.home.root / "said.txt").open("wb") as output:
                run = place.begin(*DESTROY, output=output)
            if run.wait() == 0:
                break
        assert run.returncode == 0, (place.home.root / "said.txt").read_text()
        # a device is clean before it comes to its last steps
        wait_until(
            lambda: not (device.active() or cloud.active()),
            seconds=120,
            why="a fault that nobody has met",
        )
    place.await_tenant()
    after = Inventory.of(place)
    # a device killed before it has tidied up does so after its next deployment, like the nucleus
    assert replace(after, disk=before.disk) == before


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
