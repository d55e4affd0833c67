"""If something is broken, `up` fails with its reason, and the device answers as before.

The tests tell one story on one greenhouse. Each row breaks one thing, runs the real `pulumi up`,
and repairs it. The next `up` must succeed. Otherwise the row has broken more than it says.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import xgboost

from greenhouse import account
from greenhouse.environment import aws_environment
from greenhouse.faults import Faults
from tests.whole.place import Place
from tests.whole.sabotage import (
    Good,
    Sabotage,
    a_consumer_that_crashes,
    a_pull_that_is_denied,
    a_service_that_ends,
    an_image_that_cannot_start,
    assert_up_fails,
    change_the_check,
    configured,
    fault,
    last_lines,
)

pytestmark = pytest.mark.whole

MODEL = Path("edge/models/wine-quality.json")


@pytest.fixture(scope="module")
def good(place: Place) -> Good:
    return Good.of(place)


# -- what is refused before anything changes ------------------------------------------------------


@contextmanager
def a_model_that_is_none(place: Place) -> Iterator[None]:
    with place.edited(MODEL, lambda _: '{"learner": "none"}'):
        yield


@contextmanager
def a_model_of_another_schema(place: Place) -> Iterator[None]:
    booster = xgboost.Booster(model_file=place.tree / MODEL)
    booster.feature_names = [f"sensor {number}" for number in range(booster.num_features())]
    with place.edited(MODEL, lambda _: booster.save_raw("json").decode()):
        yield


@contextmanager
def an_image_of_another_architecture(place: Place) -> Iterator[None]:
    with configured(place, architectures=["aarch64"]):
        yield


@contextmanager
def credentials_that_have_expired(place: Place) -> Iterator[None]:
    with fault(place.home.root, "expired-credentials"):
        yield


@pytest.mark.parametrize(
    ("sabotage", "reason"),
    [
        pytest.param(a_model_that_is_none, "can't be released", id="wrong model"),
        pytest.param(
            a_model_of_another_schema,
            "not the model's features",
            id="model of another schema",
            marks=pytest.mark.matrix,
        ),
        pytest.param(
            an_image_of_another_architecture,
            "amd64",
            id="image of another architecture",
            marks=pytest.mark.matrix,
        ),
        pytest.param(
            credentials_that_have_expired,
            "ExpiredToken",
            id="credentials expired before",
            marks=pytest.mark.matrix,
        ),
    ],
)
def test_a_mistake_that_can_be_known_before_is_refused_before_anything_changes(
    place: Place, good: Good, sabotage: Sabotage, reason: str
) -> None:
    before, containers = place.outputs(), place.containers()
    with sabotage(place):
        said = place.pulumi("up", "--stack", "local", "--yes", ok=False)
    assert reason in last_lines(said), said
    assert place.outputs() == before
    assert place.containers() == containers, "nothing on the device was restarted"
    assert place.await_answers(good.model) == good.predictions


@pytest.mark.usefixtures("good")
def test_after_the_refusals_there_is_nothing_to_repair(place: Place) -> None:
    place.pulumi("preview", "--stack", "local", "--expect-no-changes")


# -- what only the device can find out ------------------------------------------------------------


@contextmanager
def a_recipe_without_its_rights(place: Place) -> Iterator[None]:
    with place.edited(
        "infra/publish/recipe.py",
        lambda text: text.replace("listens=content.request_topic", "listens='local/elsewhere'"),
    ):
        yield


@contextmanager
def a_service_that_never_answers(place: Place) -> Iterator[None]:
    asleep = "\n__import__('time').sleep(3600)\n"
    with (
        configured(place, check_timeout=2),
        place.edited("edge/inference/serve.py", lambda text: text + asleep),
    ):
        yield


@contextmanager
def a_disk_that_is_full(place: Place) -> Iterator[None]:
    change_the_check(place)
    with fault(place.home.device(place.thing), "disk-full"):
        yield


@contextmanager
def an_object_that_was_overwritten(place: Place) -> Iterator[None]:
    """It is overwritten after its digest was taken, before the device has it.

    The row before has registered the version, and the device couldn't download it.
    """
    s3 = account.session(place.ports).client(
        "s3", endpoint_url=aws_environment(place.ports)["AWS_ENDPOINT_URL"]
    )
    bucket, _, key = place.outputs()["golden"].removeprefix("s3://").partition("/")
    original = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    s3.put_object(Bucket=bucket, Key=key, Body=original + b" ")
    try:
        yield
    finally:
        s3.put_object(Bucket=bucket, Key=key, Body=original)


@contextmanager
def a_device_that_is_off(place: Place) -> Iterator[None]:
    change_the_check(place)
    place.signal_device(signal.SIGSTOP)
    try:
        with configured(place, rollout_timeout=10):
            yield
    finally:
        place.signal_device(signal.SIGCONT)


@contextmanager
def a_container_that_is_killed_while_it_serves(place: Place) -> Iterator[None]:
    """Kill each container of the new release, which is known by its memory."""
    with (
        configured(place, memory=70),
        meanwhile(lambda over: kill_containers(place, 70 << 20, over)),
    ):
        yield


@contextmanager
def a_deployment_of_somebody_else(place: Place) -> Iterator[None]:
    change_the_check(place)
    known = deployments(place)
    greengrass = account.greengrass(place.ports)

    def replace(over: threading.Event) -> None:
        [ours] = await_deployment(place, known, over)
        before = greengrass.get_deployment(deploymentId=known[0])
        greengrass.create_deployment(
            targetArn=ours["targetArn"],
            deploymentName="by hand",
            components=before["components"],
        )

    with fault(place.home.device(place.thing), "slow:60"), meanwhile(replace):
        yield
    said = place.up(ok=False)
    assert "taken-over" in last_lines(said), said
    place.configure(override=deployments(place)[0])


@contextmanager
def credentials_that_expire_meanwhile(place: Place) -> Iterator[None]:
    change_the_check(place)
    device, known = place.home.device(place.thing), deployments(place)

    def expire(over: threading.Event) -> None:
        await_deployment(place, known, over)
        Faults(place.home.root).set("expired-credentials")

    try:
        with fault(device, "slow:60"), meanwhile(expire):
            yield
    finally:
        Faults(place.home.root).clear()


ON_DEVICE = {
    "image that can't start": (an_image_that_cannot_start, r"Service com\.ml\.\w+ in broken state"),
    "check times out": (a_service_that_never_answers, "Service com.ml.check in broken state"),
    # Broken before the check has passed, the nucleus goes back. Broken later, the program restores
    # the release: so it is here, and where a container is killed.
    "consumer crashes in a loop": (
        a_consumer_that_crashes,
        "Service com.ml.consumer|was restored and answers again",
    ),
    "service that is FINISHED": (
        a_service_that_ends,
        r"(?s)com\.ml\.\w+ is FINISHED.*was restored and answers again",
    ),
    "IPC denied": (a_recipe_without_its_rights, "Service com.ml.xgboost in broken state"),
    "pull denied": (a_pull_that_is_denied, "DOCKER_PULL_ERROR"),
    "disk full": (a_disk_that_is_full, "DISK_SPACE_CRITICAL"),
    "digest mismatch": (an_object_that_was_overwritten, "ARTIFACT_CHECKSUM_MISMATCH"),
    "device offline": (a_device_that_is_off, "last heard of"),
    "container killed while serving": (
        a_container_that_is_killed_while_it_serves,
        r"com\.ml\.xgboost (in broken state|is BROKEN)",
    ),
    "deployment replaced meanwhile": (
        a_deployment_of_somebody_else,
        "another deployment has replaced",
    ),
    "credentials expired meanwhile": (credentials_that_expire_meanwhile, "ExpiredToken"),
}


# One of each kind: broken by the release, by its surroundings, and by what others do meanwhile.
ONE_OF_EACH_KIND = ("IPC denied", "device offline", "deployment replaced meanwhile")


@pytest.mark.parametrize(
    ("sabotage", "reason"),
    [
        pytest.param(*row, id=name, marks=() if name in ONE_OF_EACH_KIND else pytest.mark.matrix)
        for name, row in ON_DEVICE.items()
    ],
)
def test_up_fails_with_its_reason_the_device_answers_and_up_succeeds_after_the_repair(
    place: Place, good: Good, sabotage: Sabotage, reason: str
) -> None:
    try:
        assert_up_fails(place, good, sabotage, reason)
    finally:
        if sabotage is not a_disk_that_is_full:  # The next row needs what this row has left.
            place.up()
    assert place.await_answers(good.model) == good.predictions


@pytest.mark.matrix
def test_an_up_without_changes_fails_while_a_service_has_ended(place: Place, good: Good) -> None:
    """A Java nucleus starts it with no deployment: the last lines say what does."""
    place.up()
    place.stop_component("com.ml.xgboost")
    said = place.up(ok=False)
    assert f"deploys, as {place.thing} has com.ml.xgboost FINISHED" in said, said
    assert "com.ml.xgboost is FINISHED" in last_lines(said), said
    assert "sudo systemctl restart greengrass" in last_lines(said), said
    place.stop_device()
    place.revive()
    place.up()
    assert place.await_answers(good.model) == good.predictions
    place.pulumi("preview", "--stack", "local", "--expect-no-changes")


# -- how things are broken ------------------------------------------------------------------------


@contextmanager
def meanwhile(act: Callable[[threading.Event], None]) -> Iterator[None]:
    """Do something beside an `up`, with an event that says when that is over."""
    over, failed = threading.Event(), []

    def run() -> None:
        try:
            act(over)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    if failed:
        raise failed[0]


def deployments(place: Place) -> list[str]:
    """The device's deployments, the newest first."""
    listed = account.greengrass(place.ports).list_deployments(
        targetArn=account.thing_arn(place.ports, place.thing), historyFilter="ALL"
    )
    return [one["deploymentId"] for one in listed["deployments"]]


def await_deployment(place: Place, known: list[str], over: threading.Event) -> list[Any]:
    """The deployment of the running `up`."""
    client = account.greengrass(place.ports)
    while not (new := [one for one in deployments(place) if one not in known]):
        assert not over.wait(0.1), "the up ended without a deployment"
    return [client.get_deployment(deploymentId=one) for one in new]


def kill_containers(place: Place, memory: int, over: threading.Event) -> None:
    """SIGKILL every container of the service that has this memory, as the kernel would."""
    while not over.wait(0.1):
        if found := place.container("com.ml.xgboost"):
            shown = place.docker("inspect", "--format", "{{.HostConfig.Memory}}", found)
            if shown == str(memory):
                place.docker("kill", found)
