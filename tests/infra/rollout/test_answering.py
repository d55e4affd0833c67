"""Green means that every device answers.

Time passes only when the code waits, and each moment something may happen on the devices.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from infra.account.clients import Clients
from infra.account.greengrass import FAILED
from infra.dynamic import Answering
from infra.dynamic import AnsweringProvider as Provider
from infra.names import CHECK, CONSUMER, SERVICE
from infra.policies import read_release
from infra.rollout import gate
from infra.rollout.clock import Clock, RolloutFailed
from infra.rollout.gate import StaysBroken, await_devices
from infra.rollout.restore import restore_previous
from tests.infra.fakes import (
    CONTEXT,
    DEVICE_ROLE,
    GOOD,
    NAME,
    NOON,
    OTHER,
    REGION,
    THING_ARN,
    WANTED,
    Account,
    Device,
    Time,
    component_arn,
    spec,
)

pytestmark = pytest.mark.usefixtures("account")

OLD = {SERVICE: ("1.1.1", "RUNNING"), CHECK: ("1.1.1", "FINISHED")}


@pytest.fixture
def deployment(account: Account) -> str:
    return account.deploy(THING_ARN, NAME, {name: spec(one) for name, one in WANTED.items()})


class Waiting:
    """A wait for the devices; `seconds` of patience, and what it said."""

    def __init__(self, clients: Clients, deployment: str, devices: Sequence[str]) -> None:
        self._clients, self._deployment, self._devices = clients, deployment, devices
        self.quorum = 100
        self.time = Time()
        self.said: list[str] = []

    def until(self, *events: Callable[[], object], seconds: float = 5) -> None:
        self.time = Time(*events)
        await_devices(
            self._clients.greengrass,
            deployment=self._deployment,
            components=WANTED,
            devices=self._devices,
            quorum=self.quorum,
            stack=CONTEXT.stack,
            clock=Clock(seconds=seconds, now=self.time.now, pause=self.time.pause),
            say=self.said.append,
        )

    def failure(self, *events: Callable[[], object], seconds: float = 5) -> str:
        with pytest.raises(RolloutFailed) as failed:
            self.until(*events, seconds=seconds)
        return str(failed.value)


@pytest.fixture
def waiting(account: Account, clients: Clients, deployment: str) -> Waiting:
    return Waiting(clients, deployment, sorted(account.devices))


def done(device: Device, deployment: str, word: str) -> None:
    device.deploys(deployment, word)
    device.installed.update(GOOD)


def test_a_device_that_answers_is_green_when_it_goes_on_to(
    account: Account, waiting: Waiting, deployment: str
) -> None:
    press = account.devices["press-1"]
    press.installed = {**OTHER, **GOOD}
    for word in ("SUCCEEDED", "COMPLETED"):  # a group's and a thing's
        press.deploys(deployment, word)
        waiting.until()
        assert waiting.time.passed == 5, "nothing but that was left to wait for"


def test_a_check_that_did_its_work_and_ended_is_as_good_as_one_that_runs(
    account: Account, waiting: Waiting, deployment: str
) -> None:
    account.devices["press-1"].installed = GOOD | {CHECK: ("1.4.5", "FINISHED")}
    account.devices["press-1"].deploys(deployment, "SUCCEEDED")
    waiting.until()


@pytest.mark.parametrize("name", [SERVICE, CONSUMER])
def test_a_service_or_consumer_that_has_ended_makes_room_for_what_was_there_before(
    account: Account, waiting: Waiting, deployment: str, name: str
) -> None:
    """Lite calls a deployment a success whose containers never ran (lite-ml-dam-run-ends)."""
    press = account.devices["press-1"]
    done(press, deployment, "SUCCEEDED")
    press.installed[name] = (WANTED[name], "FINISHED")
    with pytest.raises(StaysBroken, match=f"{name} is FINISHED"):
        waiting.until(seconds=100)
    assert 5 <= waiting.time.passed < 10, "two looks, and not the whole time"


def test_a_component_that_starts_as_the_deployment_ends_may_be_finished_in_one_look(
    account: Account, waiting: Waiting, deployment: str
) -> None:
    press = account.devices["press-1"]
    done(press, deployment, "SUCCEEDED")
    press.installed[SERVICE] = (WANTED[SERVICE], "FINISHED")
    waiting.until(lambda: None, lambda: press.installed.update(GOOD), seconds=100)
    assert waiting.time.passed == 7, "two moments, and the second look"


@pytest.mark.parametrize(
    ("status", "installed"),
    [
        ("QUEUED", GOOD),
        ("IN_PROGRESS", GOOD),
        ("SUCCEEDED", {}),
        ("SUCCEEDED", OLD),
        ("SUCCEEDED", {name: one for name, one in GOOD.items() if name != CHECK}),
        ("SUCCEEDED", GOOD | {CHECK: ("1.4.4", "RUNNING")}),
        ("SUCCEEDED", GOOD | {SERVICE: ("1.2.3", "ERRORED")}),
        ("SUCCEEDED", GOOD | {SERVICE: ("1.2.3", "STARTING")}),
        ("SUCCEEDED", GOOD | {SERVICE: ("1.2.3", "INSTALLED")}),
        ("SUCCEEDED", GOOD | {CHECK: ("1.4.5", "NEW")}),
        ("COMPLETED", GOOD | {CHECK: ("1.4.5", "STOPPING")}),
    ],
)
def test_status_and_versions_and_states_must_all_be_right(
    account: Account, waiting: Waiting, deployment: str, status: str, installed: Any
) -> None:
    account.devices["press-1"].deploys(deployment, status)
    account.devices["press-1"].installed = installed
    assert "not within 5 s" in waiting.failure(), "Lite says SUCCEEDED for less than that"


def test_every_device_of_a_group_has_to_answer(
    account: Account, clients: Clients, deployment: str
) -> None:
    account.devices["press-2"] = Device(installed=dict(OLD))
    account.devices["press-1"].installed = GOOD
    account.devices["press-1"].deploys(deployment, "SUCCEEDED")
    late = Waiting(clients, deployment, ["press-1", "press-2"]).failure()
    assert "press-2: deployment QUEUED" in late
    assert "press-1" not in late, "whoever answers is no part of the reason"


def test_the_wait_ends_as_soon_as_the_device_answers_and_each_change_is_said_once(
    account: Account, waiting: Waiting, deployment: str
) -> None:
    press = account.devices["press-1"]
    press.installed = dict(OLD)
    waiting.until(
        lambda: press.deploys(deployment, "IN_PROGRESS"),
        lambda: None,
        lambda: press.installed.update({SERVICE: ("1.2.3", "STARTING")}),
        lambda: None,
        lambda: done(press, deployment, "SUCCEEDED"),
        seconds=100,
    )
    assert waiting.time.passed == 10, "as many moments as it took, not the whole time"
    assert waiting.said == [
        "press-1: QUEUED",
        "press-1: IN_PROGRESS",
        f"press-1: IN_PROGRESS ({SERVICE} STARTING)",
        f"press-1: SUCCEEDED ({SERVICE} RUNNING, {CONSUMER} RUNNING, {CHECK} RUNNING)",
    ], "a log of repeated lines hides the one that matters"


@pytest.mark.parametrize("status", sorted(FAILED))
def test_a_device_that_failed_is_red_at_once_with_its_own_reason(
    account: Account, waiting: Waiting, deployment: str, status: str
) -> None:
    press = account.devices["press-1"]
    press.installed, press.status = {**OLD, **OTHER}, "UNHEALTHY"
    press.deploys(
        deployment,
        status,
        reason=f"FAILED_ROLLBACK_COMPLETE: {CHECK} is broken",
        statusDetails={"errorStack": ["DEPLOYMENT_FAILURE", "COMPONENT_BROKEN"]},
    )
    said = waiting.failure()
    assert waiting.time.passed == 0, "it won't become better by waiting"
    assert f"press-1: deployment {status}: FAILED_ROLLBACK_COMPLETE: {CHECK} is broken" in said
    assert "DEPLOYMENT_FAILURE > COMPONENT_BROKEN" in said
    assert f"runs now: {CHECK} 1.1.1 FINISHED, {SERVICE} 1.1.1 RUNNING, com.other 1.0.0" in said, (
        "a device that rolled back serves the old release: the operator has to know"
    )
    assert "UNHEALTHY, last heard of 2026-11-23 07:00" in said
    assert "mend it, then pulumi up again" in said
    assert f"/{CHECK}.log" in said, "the log of the component that the reason names"


def test_a_failure_without_a_reason_still_says_where_to_look(
    account: Account, waiting: Waiting, deployment: str
) -> None:
    account.devices["press-1"].deploys(deployment, "FAILED")
    said = waiting.failure()
    assert re.search(r"deployment FAILED\n", said)
    assert "runs now: nothing" in said
    assert "/greengrass/v2/logs/greengrass.log" in said, "what was never started has no log"


def test_what_crashes_in_a_loop_is_red_although_it_is_up_in_some_looks(
    account: Account, waiting: Waiting, deployment: str
) -> None:
    press = account.devices["press-1"]
    done(press, deployment, "SUCCEEDED")

    def consumer_is(state: str) -> Callable[[], None]:
        return lambda: press.installed.update({CONSUMER: ("1.3.4", state)})

    up, crashed, broken = (consumer_is(state) for state in ("RUNNING", "ERRORED", "BROKEN"))
    red = waiting.failure(crashed, up, broken, seconds=20)
    assert f"{CONSUMER} 1.3.4 BROKEN" in red


def test_what_went_down_and_came_back_between_two_looks_has_not_answered_twice(
    account: Account, waiting: Waiting, deployment: str
) -> None:
    """A crash in a loop may be up in each of two looks: its starts are slow on a slow device."""
    press = account.devices["press-1"]
    done(press, deployment, "SUCCEEDED")

    def started_again() -> None:
        press.since[CONSUMER] = NOON + timedelta(seconds=waiting.time.passed)

    started_again()
    waiting.until(started_again, started_again, lambda: None, seconds=100)
    assert waiting.time.passed == 15, "three looks that found it up, and the one that confirmed it"


def test_what_never_stays_up_is_red_when_the_time_is_over(
    account: Account, waiting: Waiting, deployment: str
) -> None:
    press = account.devices["press-1"]
    done(press, deployment, "SUCCEEDED")

    def started_again() -> None:
        press.since[CONSUMER] = NOON + timedelta(seconds=waiting.time.passed)

    started_again()
    said = waiting.failure(*[started_again] * 20, seconds=30)
    assert "not within 30 s" in said
    assert waiting.time.passed <= 40


BEFORE = dict.fromkeys(WANTED, "1.0.0")


def arriving(
    account: Account,
    *events: Callable[[], object],
    red: dict[str, Any] | None = None,
    devices: Sequence[str] = ("press-1",),
    before: Mapping[str, str] | None = None,
    say: Callable[[str], None] = lambda _line: None,
) -> tuple[str, str]:
    """What a release that is red says, and the name of the target's latest deployment then."""
    components = red or {name: spec(one) for name, one in WANTED.items()}
    deployment = account.deploy(THING_ARN, NAME, components)
    account.devices["press-1"].deploys(deployment, "SUCCEEDED")
    account.devices["press-1"].installed = GOOD | {CONSUMER: (WANTED[CONSUMER], "BROKEN")}
    time = Time(*events)
    with pytest.raises(RolloutFailed) as failed:
        gate.await_release(
            CONTEXT,
            deployment=deployment,
            components=WANTED,
            before=before or {},
            devices=devices,
            quorum=100,
            role=DEVICE_ROLE,
            clock=lambda: Clock(seconds=20, now=time.now, pause=time.pause),
            say=say,
        )
    return str(failed.value), account.deployments[-1]["deploymentName"]


def test_what_stays_broken_makes_room_for_the_last_release_that_was_good(account: Account) -> None:
    press = account.devices["press-1"]
    others = {"com.other": spec("1.0.0")}
    good = {name: spec(one) for name, one in BEFORE.items()} | others
    press.deploys(account.deploy(THING_ARN, NAME, good), "COMPLETED")
    failed = {name: spec("1.1.0") for name in WANTED} | others
    press.deploys(account.deploy(THING_ARN, NAME, failed), "FAILED")

    def back() -> None:
        press.deploys(account.deployments[-1]["deploymentId"], "COMPLETED")
        press.installed = {name: (version, "RUNNING") for name, version in BEFORE.items()}

    red = {name: spec(one) for name, one in WANTED.items()} | others
    said, latest = arriving(account, back, red=red)
    assert f"{CONSUMER} 1.3.4 BROKEN" in said
    assert f"put back and answers again: {SERVICE} 1.0.0" in said
    assert account.deployments[-1]["components"] == good, "others' stay as they were"
    assert latest.startswith(f"{NAME} (after "), "this stack's own, and none that is made again"


def test_a_release_that_a_device_was_off_for_was_good_on_the_others(account: Account) -> None:
    """It is CANCELED there as soon as the next one comes."""
    good = account.deploy(THING_ARN, NAME, {name: spec(one) for name, one in BEFORE.items()})
    account.devices["press-1"].deploys(good, "COMPLETED")
    account.devices["press-2"] = Device()
    account.devices["press-2"].deploys(good, "CANCELED")
    arriving(account, devices=["press-1", "press-2"])
    assert account.deployments[-1]["components"] == account.deployments[0]["components"]


def test_however_long_the_history_each_device_is_asked_once_for_it(
    account: Account, clients: Clients
) -> None:
    press = account.devices["press-1"]
    for number in range(5):
        red = account.deploy(THING_ARN, NAME, {SERVICE: spec(f"0.0.{number}")})
        press.deploys(red, "FAILED")
    deployment = account.deploy(THING_ARN, NAME, {name: spec(one) for name, one in WANTED.items()})
    restore_previous(
        CONTEXT,
        red=clients.greengrass.get_deployment(deploymentId=deployment),
        before={},
        devices=["press-1"],
        role=DEVICE_ROLE,
    )
    asked = [name for name, _ in account.asked].count("ListEffectiveDeployments")
    assert asked == len(press.executions), "each page once, and not once for each deployment"


def test_the_release_of_the_last_green_update_is_the_way_back_whatever_else_is_on_record(
    account: Account,
) -> None:
    """Pulumi has deleted its deployment, say; and Lite has called others a success too easily."""
    said, latest = arriving(account, before=BEFORE)
    assert account.deployments[-1]["components"] == {
        name: spec(one) for name, one in BEFORE.items()
    }
    assert latest.startswith(f"{NAME} (after ")
    assert "taken off" not in said


def test_a_red_release_that_was_tried_before_is_no_way_back_from_itself(account: Account) -> None:
    old = {name: spec(one) for name, one in BEFORE.items()}
    account.devices["press-1"].deploys(account.deploy(THING_ARN, NAME, old), "SUCCEEDED")
    red = {name: spec(one) for name, one in WANTED.items()}
    account.devices["press-1"].deploys(account.deploy(THING_ARN, NAME, red), "SUCCEEDED")
    arriving(account)
    assert account.deployments[-1]["components"] == old, "Lite calls a success what doesn't run"


def test_nobody_goes_back_past_what_took_ours_off(account: Account) -> None:
    """The first release was red on Lite, so it was taken off again; and so is the second."""
    first = {name: spec(one) for name, one in BEFORE.items()}
    account.devices["press-1"].deploys(account.deploy(THING_ARN, NAME, first), "SUCCEEDED")
    account.deploy(THING_ARN, f"without {NAME}", {})
    _, latest = arriving(account)
    assert latest == f"without {NAME}"


def test_what_is_put_back_may_be_read_again_file_by_file(account: Account) -> None:
    """Who joined the group with the red release has never had them."""
    good = account.deploy(THING_ARN, NAME, {name: spec(one) for name, one in BEFORE.items()})
    account.devices["press-1"].deploys(good, "COMPLETED")
    for name, version in BEFORE.items():
        arn = component_arn(name, version)
        uris = ["docker:registry/image", f"s3://bucket/{name}/model.bz2"]
        account.components[arn] = {}
        account.recipes[arn] = {"Manifests": [{"Artifacts": [{"Uri": uri} for uri in uris]}]}
    red = read_release(objects=["arn:aws:s3:::bucket/red"], repository="arn:repository")
    account.policies[DEVICE_ROLE, CONTEXT.policy] = red
    arriving(account)
    back = {f"arn:aws:s3:::bucket/{name}/model.bz2" for name in BEFORE}
    assert account.policies[DEVICE_ROLE, CONTEXT.policy] == read_release(
        objects=["arn:aws:s3:::bucket/red", *back], repository="arn:repository"
    )
    assert account.changes.index("PutRolePolicy") < account.changes.index("CreateDeployment")


def test_who_may_not_change_the_rights_still_puts_back_what_the_devices_have(
    account: Account,
) -> None:
    good = account.deploy(THING_ARN, NAME, {name: spec(one) for name, one in BEFORE.items()})
    account.devices["press-1"].deploys(good, "COMPLETED")
    account.denied.add("GetComponent")
    arriving(account)
    assert account.deployments[-1]["components"] == {
        name: spec(one) for name, one in BEFORE.items()
    }


def test_what_somebody_has_deployed_meanwhile_is_never_overwritten(account: Account) -> None:
    mended = {name: spec("2.0.0") for name in WANTED} | {"com.theirs": spec("1.0.0")}

    def by_hand(line: str) -> None:
        if "BROKEN" in line:
            account.deploy(THING_ARN, "by hand", mended)

    said, latest = arriving(account, before=BEFORE, say=by_hand)
    assert latest == "by hand"
    assert f"{CONSUMER} is BROKEN" in said
    assert "replaced by another one on the same target while we waited: 'by hand'" in said


def test_a_deployment_that_aws_has_cancelled_as_too_many_failed_is_followed_by_what_was_before(
    account: Account,
) -> None:
    def cancel(_line: str) -> None:
        for one in account.deployments:
            one["deploymentStatus"] = "CANCELED"

    arriving(account, before=BEFORE, say=cancel)
    assert account.deployments[-1]["components"] == {
        name: spec(one) for name, one in BEFORE.items()
    }


@pytest.mark.parametrize("denied", ["CreateDeployment", "GetDeployment"])
def test_the_reason_is_told_also_where_nothing_can_be_put_back(
    account: Account, denied: str
) -> None:
    account.denied.add(denied)
    said, _ = arriving(account, before=BEFORE)
    reason, _, why = said.partition("it stays so, as nothing can be put back:")
    assert f"{CONSUMER} is BROKEN" in reason
    assert f"when calling the {denied} operation" in why


def test_the_reason_is_told_also_where_aws_can_be_asked_no_more(account: Account) -> None:
    said, _ = arriving(
        account, lambda: account.denied.add("ListEffectiveDeployments"), before=BEFORE
    )
    assert f"{CONSUMER} is BROKEN" in said
    assert "AccessDenied" in said


def test_where_no_release_was_good_before_ours_is_taken_off_again(account: Account) -> None:
    """Left there, Lite would start what is broken with every deployment, also of others."""
    others = {"com.other": spec("1.0.0")}
    account.deploy(THING_ARN, "by hand", others)

    def gone() -> None:
        account.devices["press-1"].deploys(account.deployments[-1]["deploymentId"], "COMPLETED")
        account.devices["press-1"].installed = dict(OTHER)

    red = {name: spec(one) for name, one in WANTED.items()} | others
    said, latest = arriving(account, gone, red=red)
    assert "no release of before" in said
    assert "taken off again" in said
    assert latest == f"without {NAME}", "this stack's own, and none that is made again"
    assert account.deployments[-1]["components"] == others


def test_others_stay_as_they_are_now_and_not_as_they_were_then(account: Account) -> None:
    press = account.devices["press-1"]
    old = {name: spec(one) for name, one in BEFORE.items()}
    good = account.deploy(THING_ARN, NAME, old | {"com.other": spec("1.0.0")})
    press.deploys(good, "COMPLETED")
    red = {name: spec(one) for name, one in WANTED.items()} | {"com.other": spec("2.0.0")}
    arriving(account, red=red)
    assert account.deployments[-1]["components"] == old | {"com.other": spec("2.0.0")}


def test_a_release_of_before_that_does_not_answer_either_is_said_with_both_reasons(
    account: Account,
) -> None:
    good = account.deploy(THING_ARN, NAME, {name: spec(one) for name, one in BEFORE.items()})
    account.devices["press-1"].deploys(good, "COMPLETED")
    said, _ = arriving(account)
    assert f"{CONSUMER} 1.3.4 BROKEN" in said
    assert "put back, doesn't answer" in said
    assert "not within 20 s" in said


@pytest.mark.parametrize("broken", [SERVICE, CHECK])
def test_what_broke_after_the_success_is_red_at_once(
    account: Account, waiting: Waiting, deployment: str, broken: str
) -> None:
    press = account.devices["press-1"]
    press.installed = GOOD | {broken: (WANTED[broken], "BROKEN")}
    press.deploys(deployment, "SUCCEEDED")
    assert f"{broken} {WANTED[broken]} BROKEN" in waiting.failure()
    assert waiting.time.passed == 0, "the nucleus has given it up after three starts"


def test_an_old_version_that_is_broken_is_what_the_new_one_is_for(
    account: Account, waiting: Waiting, deployment: str
) -> None:
    press = account.devices["press-1"]
    press.installed = {SERVICE: ("1.1.1", "BROKEN")}
    press.deploys(deployment, "IN_PROGRESS")
    waiting.until(lambda: done(press, deployment, "COMPLETED"))


def test_a_version_that_is_broken_while_the_device_still_works_at_it_may_recover(
    account: Account, waiting: Waiting, deployment: str
) -> None:
    press = account.devices["press-1"]
    press.installed = GOOD | {CHECK: ("1.4.5", "BROKEN")}
    press.deploys(deployment, "IN_PROGRESS")
    waiting.until(lambda: done(press, deployment, "COMPLETED"))


def test_a_deployment_that_was_replaced_meanwhile_is_not_waited_for(
    account: Account, waiting: Waiting, deployment: str
) -> None:
    said = waiting.failure(lambda: account.deploy(THING_ARN, "by hand", {}), seconds=1000)
    assert f"deployment {deployment} was replaced by another one" in said
    assert "'by hand' (00000002-of-by-hand, 2026-11-23 12:00:01" in said
    assert "aws greengrassv2 list-deployments" in said
    assert waiting.time.passed == 1, "it will never be done: the device does the other one"


def test_a_device_that_is_off_is_named_with_what_to_type(waiting: Waiting) -> None:
    said = waiting.failure(seconds=120)
    assert waiting.time.passed == 120, "the whole patience, and no more"
    assert "press-1: deployment QUEUED" in said
    assert "last heard of 2026-11-23 07:00" in said
    assert "not within 120 s" in said
    assert "pulumi config set rollout-timeout SECONDS" in said


def test_a_component_that_still_moves_after_the_failure_is_judged_when_it_rests(
    account: Account, waiting: Waiting, deployment: str
) -> None:
    """The job's end and the component's state reach the cloud by ways of their own."""
    press = account.devices["press-1"]
    press.installed = GOOD | {CHECK: (WANTED[CHECK], "ERRORED")}
    press.deploys(deployment, "FAILED")
    broken = GOOD | {CHECK: (WANTED[CHECK], "BROKEN")}
    with pytest.raises(StaysBroken):
        waiting.until(lambda: setattr(press, "installed", broken))
    press.installed = GOOD | {CHECK: (WANTED[CHECK], "ERRORED")}
    with pytest.raises(RolloutFailed) as gone_back:
        waiting.until(lambda: setattr(press, "installed", dict(OLD)))
    assert not isinstance(gone_back.value, StaysBroken), "it went back by itself"


def test_a_red_device_is_told_with_the_components_own_reason_and_where_lite_logs(
    account: Account, waiting: Waiting, deployment: str
) -> None:
    press = account.devices["press-1"]
    press.runtime = "aws_nucleus_lite"
    press.installed = GOOD | {CONSUMER: (WANTED[CONSUMER], "BROKEN")}
    press.details = {CONSUMER: "the exit code was 70, three times"}
    press.deploys(deployment, "SUCCEEDED")
    said = waiting.failure()
    assert f"  {CONSUMER}: the exit code was 70, three times\n" in said
    assert f"sudo journalctl -u ggl.{CONSUMER}.service on the device" in said
    assert said.startswith(f"press-1: deployment SUCCEEDED: {CONSUMER} is BROKEN\n")
    assert f"make logs STACK=dev DEVICE=press-1 COMPONENT={CONSUMER}" in said


@pytest.mark.parametrize("days", [0, 1])
def test_a_red_device_is_told_with_its_last_words_where_it_uploads_them(
    account: Account, days: int
) -> None:
    day = datetime.now(UTC) - timedelta(days=days)
    group = f"/aws/greengrass/UserComponent/{REGION}/{CONSUMER}"
    lines = ["starting", "asking", "no answer", "giving up: the socket is gone"]
    account.logs[group, f"/{day:%Y/%m/%d}/thing/press-1"] = lines
    said, _ = arriving(account, before=WANTED)
    assert "\n  | asking\n  | no answer\n  | giving up: the socket is gone\n" in said
    assert "starting" not in said
    assert f"{CONSUMER} is BROKEN" in "\n".join(said.splitlines()[-10:]), "without scrolling"


@pytest.mark.parametrize("denied", ["", "GetLogEvents"])
def test_where_no_log_can_be_read_the_rest_is_told(account: Account, denied: str) -> None:
    account.denied.add(denied)
    said, _ = arriving(account, before=WANTED)
    assert f"{CONSUMER} is BROKEN" in said
    assert "  | " not in said


def test_a_device_whose_record_was_deleted_is_named_with_what_to_type(
    account: Account, waiting: Waiting
) -> None:
    said = waiting.failure(lambda: account.devices.clear(), seconds=1000)
    assert "press-1 is no core device any more" in said
    assert "pulumi up again goes on without it" in said
    assert waiting.time.passed == 1, "it won't come back by waiting"


def test_a_deployment_that_was_deleted_meanwhile_is_not_waited_for(
    account: Account, waiting: Waiting, deployment: str
) -> None:
    said = waiting.failure(lambda: account.deployments.clear(), seconds=1000)
    assert f"deployment {deployment} was deleted while we waited" in said
    assert "pulumi up --refresh" in said
    assert waiting.time.passed == 1


def test_a_deployment_that_was_cancelled_meanwhile_says_so_and_not_only_that_it_ended(
    account: Account, clients: Clients, waiting: Waiting, deployment: str
) -> None:
    account.devices["press-1"].deploys(deployment, "QUEUED")

    def cancel() -> None:
        clients.greengrass.cancel_deployment(deploymentId=deployment)
        account.devices["press-1"].deploys(deployment, "CANCELED")

    said = waiting.failure(cancel)
    assert f"deployment {deployment} was cancelled while we waited" in said
    assert "pulumi up again" in said


# Groups


@pytest.fixture
def presses(account: Account, clients: Clients, deployment: str) -> Waiting:
    """Ten devices, of which the last has not heard of the deployment."""
    for number in range(1, 11):
        press = account.devices[f"press-{number}"] = Device()
        if number < 10:
            done(press, deployment, "SUCCEEDED")
    return Waiting(clients, deployment, list(account.devices))


def test_who_has_answered_twice_is_asked_no_more(account: Account, presses: Waiting) -> None:
    presses.failure(seconds=600)
    asked = [
        given["coreDeviceThingName"]
        for operation, given in account.asked
        if operation == "ListEffectiveDeployments"
    ]
    assert all(asked.count(f"press-{number}") == 2 for number in range(1, 10))


def test_the_longer_it_takes_the_rarer_is_the_question(account: Account, presses: Waiting) -> None:
    presses.failure(seconds=3600)
    assert presses.time.passed == pytest.approx(3600), "the whole patience, and no more"
    looks = [name for name, _ in account.asked].count("GetDeployment")
    assert 3600 / 15 < looks < 3600 / 15 + 60, "once in 15 s, more often only at the beginning"


def test_the_quorum_is_enough_once_the_time_is_over_and_the_others_are_named(
    presses: Waiting,
) -> None:
    presses.quorum = 90
    presses.until(seconds=120)
    assert presses.time.passed == 120, "a device that is late has the whole time"
    assert presses.said[-1].startswith(
        "warning: 9 of 10 devices answer, which is the quorum of 90 %. Not yet: press-10 (QUEUED)."
    )
    assert "make status STACK=dev" in presses.said[-1]


def test_short_of_the_quorum_is_red(presses: Waiting) -> None:
    presses.quorum = 91
    assert "press-10: deployment QUEUED" in presses.failure(seconds=120)


def test_who_answers_only_as_the_time_ends_is_looked_at_again_before_it_counts(
    account: Account, presses: Waiting, deployment: str
) -> None:
    presses.quorum = 95
    last = account.devices["press-10"]
    moments: list[Callable[[], object]] = [lambda: None] * 4
    presses.until(*moments, lambda: done(last, deployment, "SUCCEEDED"), seconds=5)
    assert presses.time.passed == 10
    assert not [line for line in presses.said if "warning" in line]


@pytest.mark.parametrize("moving", [True, False])
def test_a_failed_device_is_red_whatever_the_quorum(
    account: Account, presses: Waiting, deployment: str, moving: bool
) -> None:
    presses.quorum = 1
    last = account.devices["press-10"]
    last.deploys(deployment, "FAILED")
    last.installed = GOOD | {CHECK: (WANTED[CHECK], "ERRORED")} if moving else dict(OLD)
    assert "press-10: deployment FAILED" in presses.failure()


def test_of_a_large_fleet_the_first_failures_are_told_in_full_and_the_rest_by_name(
    account: Account, presses: Waiting, deployment: str
) -> None:
    """AWS IoT Jobs cancels it for whoever waits, once too many have failed."""
    for press in account.devices.values():
        press.deploys(deployment, "CANCELED")
    account.devices["press-8"].deploys(deployment, "FAILED", reason="FAILED_NO_STATE_CHANGE")
    said = presses.failure()
    assert said.startswith("press-8: deployment FAILED: FAILED_NO_STATE_CHANGE")
    assert said.count("runs now") == 5
    assert "and 5 more: press-5 CANCELED, press-6 CANCELED, press-7 CANCELED" in said


# Between Pulumi and the wait


PROPS: dict[str, Any] = {
    **CONTEXT.props,
    "target": THING_ARN,
    "devices": ["press-1"],
    "components": WANTED,
    "quorum": 100,
    "role": DEVICE_ROLE,
    "rights": "{}",
    "latest": "1",
    "timeout": 0,
}


def test_a_red_rollout_stores_nothing_so_the_next_up_waits_again(
    account: Account, deployment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "_STEADY_SECONDS", 0)
    props = PROPS | {"deployment": deployment}
    with pytest.raises(RolloutFailed, match="not within 0 s"):
        Provider().create(props)
    with pytest.raises(RolloutFailed):
        Provider().update("id", props, props)
    account.devices["press-1"].installed = GOOD
    account.devices["press-1"].deploys(deployment, "COMPLETED")
    assert Provider().create(props).outs == props
    assert Provider().update("id", {}, props).outs == props


@pytest.mark.parametrize("news", [{"devices": ["press-1", "press-2"]}, {"deployment": "anew"}])
def test_a_device_that_breaks_long_after_takes_its_good_release_from_nobody(
    account: Account, deployment: str, news: dict[str, Any]
) -> None:
    """Waited for again as a device joined, or deployed again; Pulumi has deleted the one before."""
    press = account.devices["press-1"]
    account.devices["press-2"] = Device()
    press.installed = GOOD | {CONSUMER: (WANTED[CONSUMER], "BROKEN")}
    for one in (deployment, "anew"):
        press.deploys(one, "COMPLETED")
    olds = PROPS | {"deployment": deployment}
    with pytest.raises(RolloutFailed) as red:
        Provider().update("id", olds, olds | news)
    assert f"{CONSUMER} is BROKEN" in str(red.value)
    assert "nothing is put in its place. Mend the device, then pulumi up" in str(red.value)
    assert account.changes == []


@pytest.mark.parametrize("target", [THING_ARN, "another"])
def test_a_release_goes_back_to_what_the_last_green_update_left_on_the_same_target(
    account: Account, deployment: str, target: str
) -> None:
    account.devices["press-1"].installed = GOOD | {CONSUMER: (WANTED[CONSUMER], "BROKEN")}
    account.devices["press-1"].deploys(deployment, "COMPLETED")
    olds = PROPS | {"deployment": "deleted", "components": BEFORE, "target": target}
    with pytest.raises(RolloutFailed):
        Provider().update("id", olds, PROPS | {"deployment": deployment})
    back = {name: spec(one) for name, one in BEFORE.items()} if target == THING_ARN else {}
    assert account.deployments[-1]["components"] == back


@pytest.mark.parametrize("key", ["deployment", "components", "target", "devices", "timeout"])
def test_what_the_devices_have_to_do_anew_is_waited_for_in_place(key: str) -> None:
    olds = PROPS | {"deployment": "1", "__provider": "an older Python's bytes"}
    diff = Provider().diff("id", olds, olds | {key: "another", "__provider": "new bytes"})
    assert diff.changes
    assert not diff.replaces


def test_how_the_provider_is_stored_and_what_a_run_has_looked_up_are_no_change() -> None:
    olds = PROPS | {"deployment": "1", "__provider": "an older Python's bytes"}
    news = olds | {"__provider": "new bytes", "latest": "2"}
    assert not Provider().diff("id", olds, news).changes


def test_its_place_in_the_state_does_not_move() -> None:
    assert Answering._resource_type_name == "dynamic/edge:Answering", (
        "a stack of today would wait for its devices anew"
    )
