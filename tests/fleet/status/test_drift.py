"""What status and drift print of the fleet, and their exit codes, behind real boto3 clients."""

# The API's own names for its parameters.

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from rich.console import Console
from typer.testing import CliRunner

import fleet.__main__ as commands
from fleet.console import server
from fleet.logs import COMMAND, LOG_MANAGER, NoLog
from fleet.observe import complete_release, observe
from fleet.stacks import NoStack, places
from fleet.status import FleetStatus, read_fleet, show
from infra.account.clients import Clients
from infra.names import CHECK, SERVICE, Names
from tests.fleet.status.fleet import AT, OURS, Fleet, Main, drift, run
from tests.infra.fakes import GOOD, NAME, REGION, THING_ARN, WANTED, Device, spec


def test_a_large_group_lists_only_the_devices_that_need_a_look(account: Fleet) -> None:
    names = [f"press-{number:02}" for number in range(50)]
    group = THING_ARN.replace("thing/press-1", "thinggroup/presses")
    account.groups = {"presses": names}
    account.devices = {name: Device(installed=dict(GOOD)) for name in names}
    account.devices["press-07"].status = "UNHEALTHY"
    account.devices["press-08"].installed = GOOD | {CHECK: ("1.0.0", "RUNNING")}
    account.heard = {
        "press-09": datetime.now(UTC) - timedelta(days=20),
        "press-10": datetime.now(UTC) - timedelta(hours=30),
    }
    account.deploy(group, NAME, OURS)
    account.deployments[-1]["creationTimestamp"] = AT
    fleet = observe(Clients(region=REGION, profile=None), "edge-inference")
    page = io.StringIO()
    seen = FleetStatus(fleets=[(fleet, {("dev", name): "no log" for name in names})])
    Console(file=page, width=200).print(show(seen))
    shown = page.getvalue()
    assert "47 more are well and run this release" in shown
    assert {name for name in names if name in shown} == {"press-07", "press-08", "press-09"}
    assert "silent for 20 d, HEALTHY before" in shown, "AWS repeats the last report without end"


def test_a_device_that_runs_what_was_deployed_has_no_drift(fleet: Fleet) -> None:
    assert fleet.devices["press-1"].installed
    assert drift() == ()


def test_the_replacement_of_a_deployment_is_named_with_its_author_day_and_id(fleet: Fleet) -> None:
    theirs = fleet.sends("by hand", {SERVICE: spec("9.9.9")}, "IN_PROGRESS")
    assert drift() == (f"replaced by 'by hand' on 2026-11-23 12:00, deployment {theirs}",)
    assert f"! replaced by 'by hand' on 2026-11-23 12:00, deployment {theirs}" in run("status")


def test_another_stack_of_the_project_is_named_as_such(fleet: Fleet) -> None:
    fleet.sends("edge-inference/press-2 (after 1a2b)", OURS, "COMPLETED")
    assert [line.partition(" on ")[0] for line in drift("dev")] == ["replaced by stack press-2"]


def test_a_difference_on_a_finished_device_is_drift(fleet: Fleet) -> None:
    installed = fleet.devices["press-1"].installed
    installed[SERVICE] = ("0.9.0", "RUNNING")
    del installed[CHECK]
    assert drift() == (
        f"{SERVICE} runs in 0.9.0, not {WANTED[SERVICE]}",
        f"{CHECK} is missing",
    )


def test_a_service_that_has_ended_is_drift_and_another_stack_s_is_that_stack_s(
    fleet: Fleet,
) -> None:
    installed = fleet.devices["press-1"].installed
    others = Names(prefix="com.other").components
    installed |= dict.fromkeys(others, ("1.0.0", "FINISHED"))
    installed[CHECK] = (WANTED[CHECK], "FINISHED")
    assert drift() == (), "a check may end"
    installed[SERVICE] = (WANTED[SERVICE], "FINISHED")
    assert drift() == (f"{SERVICE} has ended, and has to run: pulumi up deploys it again",)


def test_a_stack_that_can_t_be_asked_is_told_and_hides_no_other(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_REGION", raising=False)
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    there = {"aws:region": REGION}
    stacks = {"dev": there, "nowhere": {}, "theirs": {**there, "aws:profile": "theirs"}}
    (tmp_path / "Pulumi.yaml").write_text("name: edge-inference\n")
    for name, config in stacks.items():
        (tmp_path / f"Pulumi.{name}.yaml").write_text(json.dumps({"config": config}))
    seen = read_fleet(places(root=tmp_path))
    assert [one.region for one, _ in seen.fleets] == [REGION]
    assert fleet.devices.keys() == {device for _, answers in seen.fleets for _, device in answers}
    assert seen.skipped == (
        "stack nowhere names no region.",
        "    pulumi config set --stack nowhere aws:region REGION",
        "stack theirs uses the AWS profile theirs, which is unknown here.",
        "    aws configure --profile theirs",
    )
    page = io.StringIO()
    Console(file=page, width=200).print(show(seen))
    assert "! stack nowhere names no region" in page.getvalue()
    with pytest.raises(NoStack, match="stack nowhere names no region"):
        places("nowhere", tmp_path)


@pytest.fixture
def expired(fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files of two stacks.

    In us-east-1, the region of press-9's stack, the credentials are too old.
    """
    session = fleet.session()

    def session_of(clients: Clients) -> Any:
        if clients.region == REGION:
            return session
        raise ClientError({"Error": {"Code": "ExpiredTokenException"}}, "ListDeployments")

    monkeypatch.setattr(Clients, "_session", property(session_of))
    (tmp_path / "Pulumi.yaml").write_text("name: edge-inference\n")
    for name, region in (("dev", REGION), ("press-9", "us-east-1")):
        config = {"config": {"aws:region": region}}
        (tmp_path / f"Pulumi.{name}.yaml").write_text(json.dumps(config))
    monkeypatch.setattr(commands, "places", partial(places, root=tmp_path))
    return tmp_path


@pytest.mark.usefixtures("expired")
def test_a_region_that_aws_doesn_t_tell_of_is_named_with_the_reason_and_hides_no_other() -> None:
    why = "stack press-9 can't be asked in us-east-1: An error occurred (ExpiredTokenException)"
    shown = run("status")
    assert f"! {why}" in shown
    assert f"thing press-1, com.ml.*, release {complete_release(WANTED)}" in shown
    assert CliRunner().invoke(commands.app, ["status", "--fail"]).exit_code == 3
    done = CliRunner().invoke(commands.app, ["logs"])
    assert why in " ".join(done.stderr.split()), "press-1's log is read all the same"
    assert isinstance(done.exception, NoLog)


@pytest.mark.usefixtures("expired")
def test_a_status_that_aws_can_t_tell_ends_like_a_failed_one(main: Main) -> None:
    code, shown, said = main("status", "--stack", "press-9")
    assert (code, shown) == (1, "")
    assert "stack press-9 can't be asked in us-east-1: An error occurred (Expired" in said


@pytest.mark.parametrize(("options", "seen"), [(("--stack", "dev"), 1), ((), 2)])
def test_a_console_shows_the_stack_it_was_asked_for(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], seen: int
) -> None:
    fleet.sends("edge-inference/press-2", OURS, "COMPLETED")
    served: list[FleetStatus] = []
    monkeypatch.setattr(server, "application", lambda look, every: look)  # noqa: ARG005
    monkeypatch.setattr("uvicorn.Server.run", lambda at, _: served.append(at.config.app()))
    run("console", "--port", "0", *options)
    assert [len(found.targets) for one in served for found, _ in one.fleets] == [seen]


def test_the_devices_logs_are_asked_at_the_same_time(
    account: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["press-1", "press-2", "press-3"]
    account.groups = {"presses": names}
    account.devices = {name: Device(installed=dict(GOOD)) for name in names}
    account.deploy(THING_ARN.replace("thing/press-1", "thinggroup/presses"), NAME, OURS)
    account.deployments[-1]["creationTimestamp"] = AT
    (tmp_path / "asked").mkdir()
    waits = tmp_path / "log"  # Like a device that is out of reach, until all were asked.
    waits.write_text(
        f"#!/bin/sh\ncd {tmp_path}/asked && touch $1\nfor n in $(seq 100); do\n"
        f"[ $(ls | wc -l) = {len(names)} ] && exit 0; sleep 0.1; done; exit 1\n"
    )
    waits.chmod(0o755)
    monkeypatch.setenv(COMMAND, f"{waits} {{device}}")
    [(_, answers)] = read_fleet(places("dev")).fleets
    assert answers == {("dev", name): "no answer in its log" for name in names}


def test_a_log_that_may_not_be_read_leaves_the_rest_of_the_picture(fleet: Fleet) -> None:
    fleet.devices["press-1"].installed[LOG_MANAGER] = ("2.3.0", "RUNNING")
    fleet.denied = {"GetLogEvents"}
    shown = run("status")
    assert (
        "press-1's last answer: CloudWatch doesn't tell: An error occurred (AccessDenied" in shown
    )
    assert "RUNNING" in shown


def test_a_thing_group_that_is_gone_is_told_and_hides_no_other_target(fleet: Fleet) -> None:
    fleet.deploy(THING_ARN.replace("thing/press-1", "thinggroup/presses"), NAME, OURS)
    fleet.deployments[-1]["creationTimestamp"] = AT
    shown = run("status")
    assert "thing group presses" in shown
    assert "! the thing group is gone: make it again, or pulumi config set --stack dev" in shown
    assert "RUNNING" in shown, "press-1 is there as ever"


def test_a_device_that_is_still_at_it_has_no_drift(fleet: Fleet) -> None:
    fleet.devices["press-1"].installed.clear()
    fleet.sends(NAME, OURS, "IN_PROGRESS")
    assert drift() == (), "the missing part is on its way"


def test_a_deployment_that_failed_says_why_and_that_something_else_runs(fleet: Fleet) -> None:
    newer = {**OURS, SERVICE: spec("2.0.0")}
    fleet.sends(NAME, newer, "FAILED", f"FAILED_ROLLBACK_COMPLETE: {SERVICE} is broken")
    shown = run("status")
    assert f"press-1: FAILED, FAILED_ROLLBACK_COMPLETE: {SERVICE} is broken; it runs" in shown, (
        "the versions alone don't say that they aren't the release of the line above"
    )


def test_a_deployment_has_the_name_of_the_release_that_it_brought(fleet: Fleet) -> None:
    newer = {**OURS, SERVICE: spec("2.0.0"), "com.site.log": spec("1.0.0")}
    fleet.sends(f"{NAME} (after 1a2b)", newer, "COMPLETED")
    fleet.sends("by hand", {SERVICE: spec("9.9.9")}, "COMPLETED")
    del fleet.deployments[0]
    clients = Clients(region=REGION, profile=None)

    def releases() -> list[str]:
        [target] = observe(clients, "edge-inference").targets
        return [one.release for one in target.devices[0].timeline]

    brought = ["", complete_release({**WANTED, SERVICE: "2.0.0"}), ""]
    assert releases() == brought
    asked = len(fleet.asked)
    assert releases() == brought
    again = [operation for operation, _ in fleet.asked[asked:]]
    assert again.count("GetDeployment") == 2, (
        "the latest, and dev's newest: components of a deployment stay"
    )


@pytest.mark.parametrize(
    ("stored", "told"),
    [
        (["mine", "r0ddba11"], "dev has published release r0ddba11 on 2026-"),
        (["r0ddba11", "mine"], ""),
        ([], ""),
    ],
    ids=["a newer one", "its own is the newest", "none"],
)
def test_a_follower_is_told_of_its_publisher_s_newer_release(
    account: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stored: list[str], told: str
) -> None:
    account.sends("edge-inference/press-2", OURS, "COMPLETED")
    bucket = f"edge-inference-dev-{THING_ARN.split(':')[4]}-{REGION}"
    names = [complete_release(WANTED) if name == "mine" else name for name in stored]
    account.buckets[bucket] = {}
    account.objects[bucket] = {f"releases/{name}.json": b"{}" for name in names}
    (tmp_path / "Pulumi.yaml").write_text("name: edge-inference\n")
    config = {"aws:region": REGION, "edge-inference:release-from": "dev"}
    (tmp_path / "Pulumi.press-2.yaml").write_text(json.dumps({"config": config}))
    monkeypatch.setattr(commands, "places", partial(places, root=tmp_path))
    shown = " ".join(run("status", "--stack", "press-2").split())
    assert told in shown
    assert ("pulumi up --stack press-2 deploys it" in shown) is bool(told)
    assert read_fleet(places("press-2", tmp_path)).well is True, "to be behind is no failure"


def test_programs_read_devices_states_drift_and_answers(fleet: Fleet) -> None:
    theirs = fleet.sends("by hand", {SERVICE: spec("9.9.9")}, "IN_PROGRESS")
    [region] = json.loads(run("status", "--json"))
    [target] = region["targets"]
    [device] = target["devices"]
    assert (target["arn"], target["stack"], target["latest"]["id"]) == (THING_ARN, "dev", theirs)
    assert target["drift"]
    assert {one["name"]: (one["version"], one["state"]) for one in device["components"]} == GOOD
    assert datetime.fromisoformat(target["latest"]["created"]) == AT
    unread = "its log can't be read from here (make logs DEVICE=… says why)"
    assert region["answers"] == [{"stack": "dev", "device": "press-1", "unknown": unread}]
