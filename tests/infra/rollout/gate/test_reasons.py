"""A failed update says which device, why, and what to type."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from infra.account.clients import Clients
from infra.errors import RolloutFailed
from infra.names import CHECK, CONSUMER, SERVICE
from infra.rollout.gate import StaysBroken
from tests.infra.fakes import (
    GOOD,
    REGION,
    THING_ARN,
    WANTED,
    Account,
)
from tests.infra.rollout.gate.waiting import OLD, Waiting, arriving, done

pytestmark = pytest.mark.usefixtures("account")


@pytest.mark.parametrize("broken", [SERVICE, CHECK])
def test_a_break_after_the_success_fails_the_update_at_once(
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
    assert f"another deployment has replaced {deployment}" in said
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
    """The job's end and the component's state reach the cloud by different ways."""
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


def test_a_failed_device_is_shown_with_the_components_own_reason_and_where_lite_logs(
    account: Account, waiting: Waiting, deployment: str
) -> None:
    press = account.devices["press-1"]
    press.runtime = "aws_nucleus_lite"
    press.installed = GOOD | {CONSUMER: (WANTED[CONSUMER], "BROKEN")}
    press.details = {CONSUMER: "the exit code was 70, three times"}
    press.deploys(deployment, "SUCCEEDED")
    said = waiting.failure()
    assert f"  {CONSUMER}: the exit code was 70, three times\n" in said
    assert f"\n    sudo journalctl -u ggl.{CONSUMER}.service  # on the device" in said
    assert said.startswith(f"press-1: deployment SUCCEEDED: {CONSUMER} is BROKEN\n")
    assert f"make logs STACK=dev DEVICE=press-1 COMPONENT={CONSUMER}" in said


@pytest.mark.parametrize("days", [0, 1])
def test_a_failed_device_is_shown_with_its_last_lines_if_it_uploads_them(
    account: Account, days: int
) -> None:
    day = datetime.now(UTC) - timedelta(days=days)
    group = f"/aws/greengrass/UserComponent/{REGION}/{CONSUMER}"
    lines = ["starting", "asking", "no answer", "giving up: the socket is gone"]
    account.logs[group, f"/{day:%Y/%m/%d}/thing/press-1"] = lines
    said, _ = arriving(account, before=WANTED)
    assert "\n  | asking\n  | no answer\n  | giving up: the socket is gone\n" in said
    assert "starting" not in said
    assert f"{CONSUMER} is BROKEN" in "\n".join(said.splitlines()[-12:]), "without scrolling"


@pytest.mark.parametrize("denied", ["", "GetLogEvents"])
def test_the_rest_is_told_if_no_log_can_be_read(account: Account, denied: str) -> None:
    account.denied.add(denied)
    said, _ = arriving(account, before=WANTED)
    assert f"{CONSUMER} is BROKEN" in said
    assert "  | " not in said


def test_a_device_whose_record_was_deleted_is_named_with_what_to_type(
    account: Account, waiting: Waiting
) -> None:
    said = waiting.failure(lambda: account.devices.clear(), seconds=1000)
    assert "press-1 is no core device any more" in said
    assert "If it is, set another thing (a group goes on without it)" in said
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
    assert said.endswith("\n    pulumi up")
