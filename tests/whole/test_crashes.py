"""Whatever is killed, and wherever: the next `up` converges, and the next `destroy`.

The killed one is SIGKILLed, so it can't tidy up: the CLI with its program at each call that changes
the account, and each process of greenhouse at each step of a deployment. What counts is the state
that is left: to die before a call is to die behind the one before it, so each kill comes when a
call was done and nobody has heard of it yet.

MiniStack is not among them: it writes what IAM, IoT, ECR and S3 know of themselves when it ends in
good order and never before (ministack 1.x, app.py, lifespan.shutdown), which no AWS account does.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

import psutil
import pytest
from botocore.exceptions import BotoCoreError

from greenhouse import account, toolchain
from greenhouse.faults import Faults, Step
from greenhouse.home import Home
from greenhouse.processes import ProcessFailed
from tests.whole.calls import Calls
from tests.whole.inventory import Inventory
from tests.whole.place import OURS, STACK, Place, copy_tree, wait_until

pytestmark = pytest.mark.whole

UP = ("up", "--stack", STACK, "--yes", "--skip-preview", "--suppress-outputs")
DESTROY = ("destroy", "--stack", STACK, "--yes", "--skip-preview")


@pytest.fixture(scope="module")
def calls() -> Calls:
    return Calls()


@pytest.fixture(scope="module")
def place(
    tools: toolchain.Toolchain, tmp_path_factory: pytest.TempPathFactory, calls: Calls
) -> Iterator[Place]:
    """A place whose calls to the account all go through `calls`."""
    root = tmp_path_factory.mktemp("crashes")
    there = Place(
        tree=copy_tree(root / "tree"),
        home=Home(root / "greenhouse"),
        thing=f"crashes-{secrets.token_hex(3)}",
        tools=tools,
    )
    ports = there.ports
    with calls.serving(ports.ministack) as aws, calls.serving(ports.cloud) as greengrass:
        there.env["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{aws}"
        there.env["AWS_ENDPOINT_URL_GREENGRASSV2"] = f"http://127.0.0.1:{greengrass}"
        try:
            there.start()
            there.configure(rollout_timeout=120, check_timeout=20, consumer_interval=1)
            yield there
        finally:
            there.stop()


@pytest.fixture(scope="module")
def before(place: Place) -> Inventory:
    """Account and device, with the component of others running on it."""
    place.await_tenant()
    return Inventory.of(place)


def killed_at_each_change(
    place: Place,
    calls: Calls,
    *command: str,
    kill: Callable[[subprocess.Popen[bytes]], None],
) -> list[str]:
    """Run it until nothing kills it any more, and return the changes at which something was."""
    died_at: list[str] = []
    while new := _killed_once(place, calls, command, kill, died_at):
        died_at += new
    return died_at


def _killed_once(
    place: Place,
    calls: Calls,
    command: tuple[str, ...],
    kill: Callable[[subprocess.Popen[bytes]], None],
    known: list[str],
) -> list[str]:
    """The change at which it was killed, and what was under way; if nothing, it must be green."""
    unheard: list[str] = []
    one = threading.Lock()
    said = place.home.root / "said.txt"
    wait_until(lambda: providers_listen(place), seconds=120, why="the providers aren't back")

    def answered(change: str) -> None:
        with one:
            if change in known or change in unheard:
                return
            unheard.append(change)
            if not calls.cut:
                calls.cut = True
                kill(run)

    calls.answered = answered
    with said.open("wb") as output:
        run = place.begin(*command, output=output)
        run.wait()
    calls.answered = lambda _change: None
    if not unheard:
        assert run.returncode == 0, said.read_text()
    elif run.returncode < 0:
        place.pulumi("cancel", STACK, "--yes")
    calls.cut = False
    return unheard


def providers_listen(place: Place) -> bool:
    """The CLI waits for them, but not as long as a slow machine takes to start them again."""
    for port in (place.ports.aws, place.ports.aws_native, place.ports.docker):
        with socket.socket() as line:
            if line.connect_ex(("127.0.0.1", port)):
                return False
    return True


def kill_group(run: subprocess.Popen[bytes]) -> None:
    """CLI, language host, program and plugins, which are groups of their own and would live on."""
    family = psutil.Process(run.pid).children(recursive=True)
    os.killpg(run.pid, signal.SIGKILL)
    for one in family:
        with suppress(psutil.NoSuchProcess):
            one.kill()


@contextmanager
def restarted(place: Place) -> Iterator[None]:
    """Whatever of greenhouse dies is started again, as systemd does with a nucleus."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.1):
            if place.dead():
                with suppress(ProcessFailed, BotoCoreError):  # killed again before it was ready
                    place.revive()

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        place.revive()


def assert_it_is_there_once(place: Place) -> None:
    """One service, one consumer, one version of each component's in use, golden answers."""
    outputs = place.outputs()
    assert place.await_answers(outputs["model"])
    states = place.states()
    assert {name: states[name][0] for name in OURS} == outputs["components"]
    names = [one.split()[0] for one in place.containers()]
    assert names == [f"{name}.{place.thing}" for name in ("com.ml.consumer", "com.ml.xgboost")]
    place.pulumi("preview", "--stack", STACK, "--expect-no-changes")


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


def test_a_first_up_killed_at_each_change_of_the_account_is_green_in_the_end(
    place: Place, calls: Calls, before: Inventory
) -> None:
    assert not before.ours
    died_at = killed_at_each_change(place, calls, *UP, kill=kill_group)
    for change in (
        *("CreateRepository", "PutLifecyclePolicy", "PutRolePolicy"),
        *("PUT /v2/edge-inference/local/manifests", "?policy", "/golden.json"),
        *(f"createComponentVersion {name}" for name in OURS),
        "POST /greengrass/v2/deployments",
    ):
        assert any(change in one for one in died_at), f"{change} not in {died_at}"
    assert_it_is_there_once(place)
    made = account.greengrass(place.ports).list_components(scope="PRIVATE")["components"]
    for component in made:
        listed = account.greengrass(place.ports).list_component_versions(
            arn=component["arn"].partition(":versions:")[0]
        )
        assert len(listed["componentVersions"]) == 1, "a version that no release has"


def test_one_up_outlives_a_device_that_is_killed_at_each_step(place: Place) -> None:
    place.configure(memory=70)
    faults = Faults(place.home.device(place.thing))
    faults.set(f"crash-at:{','.join(Step)}")
    with restarted(place):
        place.up()
        assert not faults.active(), "not reached"
    assert_it_is_there_once(place)


@pytest.mark.parametrize("when", ["crash-before", "crash-after"])
def test_an_up_after_one_whose_cloud_was_killed_is_green(place: Place, when: str) -> None:
    faults = Faults(place.home.root)
    with restarted(place):
        for number, operation in enumerate(
            ("CreateComponentVersion", "CreateDeployment", "GetDeployment")
        ):
            place.configure(check_timeout=(30 if when == "crash-before" else 40) + number)
            faults.set(f"{when}:{operation}")
            with (place.home.root / "said.txt").open("wb") as output:
                place.begin(*UP, output=output).wait()
            assert not faults.active(), f"{operation} was not called"
    place.up()
    assert_it_is_there_once(place)


def test_an_up_whose_providers_are_killed_at_each_change_is_green_in_the_end(
    place: Place, calls: Calls
) -> None:
    place.configure(memory=72)
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


def test_a_destroy_killed_at_each_change_leaves_everything_as_it_was(
    place: Place, calls: Calls, before: Inventory
) -> None:
    place.up()
    died_at = killed_at_each_change(place, calls, *DESTROY, kill=kill_group)
    for change in ("deployments", "DeleteRepository", "DeleteRolePolicy", "/components/"):
        assert any(change in one for one in died_at), f"{change} not in {died_at}"
    assert Inventory.of(place) == before
