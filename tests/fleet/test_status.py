"""What an operator is told of the fleet, and how the commands end, behind real boto3 clients."""

# ruff: noqa: N803  # the API's own names for its parameters

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError
from rich.console import Console
from typer.testing import CliRunner

import fleet.__main__ as commands
from fleet import console
from fleet.logs import COMMAND, LOG_MANAGER, NoLog
from fleet.observe import observe, release_name
from fleet.plan import holdings, preview
from fleet.plan.plan import Gate
from fleet.plan.planned import Planned
from fleet.stacks import NoStack, places
from fleet.status import Seen, look, show
from infra.account.clients import Clients
from infra.names import CHECK, CONSUMER, SERVICE
from tests.fleet.recording import FOLDER, Recording
from tests.infra.fakes import GOOD, NAME, REGION, THING_ARN, WANTED, Account, Device, spec

AT = datetime(2026, 11, 23, 12, tzinfo=UTC)
Main = Callable[..., tuple[int, str, str]]
OURS = {name: spec(version) for name, version in WANTED.items()}


@dataclass
class Fleet(Account):
    """The account, as whoever looks at all of it sees it."""

    heard: dict[str, datetime] = field(default_factory=dict)  # of whom not just now

    def _get_core_device(self, *, coreDeviceThingName: str) -> dict[str, Any]:
        core = super()._get_core_device(coreDeviceThingName=coreDeviceThingName)
        heard = self.heard.get(coreDeviceThingName, datetime.now(UTC))
        return {**core, "lastStatusUpdateTimestamp": heard}

    def sends(self, name: str, components: dict[str, Any], status: str, reason: str = "") -> str:
        """A deployment, and how it went on press-1."""
        found = self.deploy(THING_ARN, name, components)
        self.deployments[-1]["creationTimestamp"] = AT
        self.devices["press-1"].deploys(
            found,
            status,
            deploymentName=name,
            targetArn=THING_ARN,
            reason=reason,
            creationTimestamp=AT,
            modifiedTimestamp=AT,
        )
        return found


def test_of_a_large_group_only_those_that_need_a_look_are_listed(account: Fleet) -> None:
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
    seen = Seen(fleets=[(fleet, {("dev", name): "no log" for name in names})])
    Console(file=page, width=200).print(show(seen))
    shown = page.getvalue()
    assert "47 more are well and run this release" in shown
    assert {name for name in names if name in shown} == {"press-07", "press-08", "press-09"}
    assert "silent for 20 d, HEALTHY before" in shown, "AWS repeats what it heard last, for ever"


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Fleet:
    monkeypatch.delenv(COMMAND, raising=False)
    there = Fleet.with_a_device(monkeypatch)
    assert isinstance(there, Fleet)
    there.devices["press-1"].installed = dict(GOOD)
    return there


@pytest.fixture
def fleet(account: Fleet) -> Fleet:
    account.sends(NAME, OURS, "COMPLETED")
    return account


def drift(stack: str | None = None) -> tuple[str, ...]:
    """Of the only target and of its only device."""
    [target] = observe(Clients(region=REGION, profile=None), "edge-inference", stack).targets
    [device] = target.devices
    return (*target.drift, *device.drift)


def run(*arguments: str) -> str:
    done = CliRunner().invoke(commands.app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_a_device_that_runs_what_was_deployed_has_no_drift(fleet: Fleet) -> None:
    assert fleet.devices["press-1"].installed
    assert drift() == ()


def test_who_replaced_the_deployment_is_named_with_the_day_and_its_id(fleet: Fleet) -> None:
    theirs = fleet.sends("by hand", {SERVICE: spec("9.9.9")}, "IN_PROGRESS")
    assert drift() == (f"replaced by 'by hand' on 2026-11-23 12:00, deployment {theirs}",)
    assert f"! replaced by 'by hand' on 2026-11-23 12:00, deployment {theirs}" in run("status")


def test_another_stack_of_the_project_is_named_as_such(fleet: Fleet) -> None:
    fleet.sends("edge-inference/press-2 (after 1a2b)", OURS, "COMPLETED")
    assert [line.partition(" on ")[0] for line in drift("dev")] == ["replaced by stack press-2"]


def test_what_differs_on_a_device_that_is_through_is_drift(fleet: Fleet) -> None:
    installed = fleet.devices["press-1"].installed
    installed[SERVICE] = ("0.9.0", "RUNNING")
    del installed[CHECK]
    assert drift() == (
        f"{SERVICE} runs in 0.9.0, not {WANTED[SERVICE]}",
        f"{CHECK} is missing",
    )


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
    seen = look(places(root=tmp_path))
    assert [one.region for one, _ in seen.fleets] == [REGION]
    assert fleet.devices.keys() == {device for _, answers in seen.fleets for _, device in answers}
    assert seen.skipped == (
        "stack nowhere names no region: pulumi config set --stack nowhere aws:region REGION",
        "stack theirs uses the AWS profile theirs, which is unknown here:"
        " aws configure --profile theirs",
    )
    page = io.StringIO()
    Console(file=page, width=200).print(show(seen))
    assert "! stack nowhere names no region" in page.getvalue()
    with pytest.raises(NoStack, match="stack nowhere names no region"):
        places("nowhere", tmp_path)


@pytest.fixture
def expired(fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files of two stacks; in us-east-1, where press-9's is, the credentials are too old."""
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
    assert f"thing press-1, com.ml.*, release {release_name(WANTED)}" in shown
    assert CliRunner().invoke(commands.app, ["status", "--fail"]).exit_code == 3
    done = CliRunner().invoke(commands.app, ["logs"])
    assert why in " ".join(done.stderr.split()), "press-1's log is read all the same"
    assert isinstance(done.exception, NoLog)


@pytest.mark.usefixtures("expired")
def test_where_aws_tells_of_none_a_status_ends_as_one_that_failed(main: Main) -> None:
    code, shown, said = main("status", "--stack", "press-9")
    assert (code, shown) == (1, "")
    assert "stack press-9 can't be asked in us-east-1: An error occurred (Expired" in said


@pytest.mark.parametrize(("options", "seen"), [(("--stack", "dev"), 1), ((), 2)])
def test_a_console_shows_the_stack_it_was_asked_for(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], seen: int
) -> None:
    fleet.sends("edge-inference/press-2", OURS, "COMPLETED")
    served: list[Seen] = []
    monkeypatch.setattr(console, "application", lambda look, every: look)  # noqa: ARG005
    monkeypatch.setattr("uvicorn.run", lambda look, **_: served.append(look()))
    run("console", *options)
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
    waits = tmp_path / "log"  # as a device that is out of reach does, until all were asked
    waits.write_text(
        f"#!/bin/sh\ncd {tmp_path}/asked && touch $1\nfor n in $(seq 100); do\n"
        f"[ $(ls | wc -l) = {len(names)} ] && exit 0; sleep 0.1; done; exit 1\n"
    )
    waits.chmod(0o755)
    monkeypatch.setenv(COMMAND, f"{waits} {{device}}")
    [(_, answers)] = look(places("dev")).fleets
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
    assert drift() == (), "what it lacks is on its way"


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

    brought = ["", release_name({**WANTED, SERVICE: "2.0.0"}), ""]
    assert releases() == brought
    asked = len(fleet.asked)
    assert releases() == brought
    again = [operation for operation, _ in fleet.asked[asked:]]
    assert again.count("GetDeployment") == 2, "the latest, and dev's newest: what one brought stays"


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
    names = [release_name(WANTED) if name == "mine" else name for name in stored]
    account.buckets[bucket] = {}
    account.objects[bucket] = {f"releases/{name}.json": b"{}" for name in names}
    (tmp_path / "Pulumi.yaml").write_text("name: edge-inference\n")
    config = {"aws:region": REGION, "edge-inference:release-from": "dev"}
    (tmp_path / "Pulumi.press-2.yaml").write_text(json.dumps({"config": config}))
    monkeypatch.setattr(commands, "places", partial(places, root=tmp_path))
    shown = " ".join(run("status", "--stack", "press-2").split())
    assert told in shown
    assert ("pulumi up --stack press-2 deploys it" in shown) is bool(told)
    assert look(places("press-2", tmp_path)).well is True, "to be behind is no failure"


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


@pytest.mark.parametrize("terminal", [True, False])
def test_a_watch_shows_what_changed_since_the_last_look_until_ctrl_c(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    looks = []

    def pause(seconds: float) -> None:
        """In place of the clock: the device changes at the first pause, Ctrl-C is the second."""
        looks.append(seconds)
        if len(looks) > 1:
            raise KeyboardInterrupt
        fleet.devices["press-1"].installed[CONSUMER] = ("1.3.4", "BROKEN")

    screen = io.StringIO()
    shown = Console(file=screen, force_terminal=terminal, width=160)
    monkeypatch.setattr(commands, "console", shown)
    monkeypatch.setattr(commands, "time", SimpleNamespace(sleep=pause))
    run("status", "--watch")
    first, second = screen.getvalue().split("deployment", 2)[1:]
    assert "BROKEN" not in first
    assert "BROKEN" in second
    assert len(looks) == 2


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """`plan` looks at what was recorded in place of an account."""

    def look(_clients: Clients, planned: Planned, _root: Any) -> tuple[Any, Any]:
        recording = next(
            one
            for one in (Recording.read(path.stem) for path in FOLDER.glob("*.json"))
            if Planned.of(preview.read(one.preview)) == planned
        )
        return recording.targets, recording.holdings

    monkeypatch.setattr(holdings, "look", look)


def fails(account: Fleet) -> None:
    account.devices["press-1"].executions.clear()
    account.sends(NAME, OURS, "FAILED")


def cancels_a_group_s(account: Fleet) -> None:
    account.groups = {"presses": []}
    account.deploy(THING_ARN.replace("thing/press-1", "thinggroup/presses"), NAME, OURS)
    account.deployments[-1] |= {"creationTimestamp": AT, "deploymentStatus": "CANCELED"}


@pytest.mark.parametrize(
    "ails",
    [
        pytest.param(
            lambda there: vars(there.devices["press-1"]).update(status="UNHEALTHY"), id="unhealthy"
        ),
        pytest.param(
            lambda there: there.heard.update({"press-1": AT - timedelta(days=3)}), id="silent"
        ),
        pytest.param(
            lambda there: there.devices["press-1"].installed.update(
                {SERVICE: (WANTED[SERVICE], "BROKEN")}
            ),
            id="broken",
        ),
        pytest.param(lambda there: there.devices["press-1"].installed.pop(CHECK), id="drift"),
        pytest.param(lambda there: there.sends("by hand", OURS, "COMPLETED"), id="replaced"),
        pytest.param(fails, id="failed"),
        pytest.param(cancels_a_group_s, id="a group's deployment was cancelled"),
    ],
)
def test_what_needs_a_look_is_an_exit_code_of_its_own(
    fleet: Fleet, ails: Callable[[Fleet], object]
) -> None:
    run("status", "--fail")
    ails(fleet)
    for options in ((), ("--json",)):
        done = CliRunner().invoke(commands.app, ["status", "--fail", *options])
        assert done.exit_code == 3, done.output
        assert "press-1" in done.stdout, "who looks why sees all of it"


@pytest.mark.parametrize(
    ("has", "code"),
    [
        pytest.param({"release": release_name(WANTED)}, 0, id="the same"),
        pytest.param({"release": "r0ld0ne00"}, 3, id="an older one, as from a backup"),
        pytest.param({}, 0, id="none: it has failed or only follows"),
    ],
)
@pytest.mark.usefixtures("fleet")
def test_another_release_in_pulumi_s_state_than_on_the_device_needs_a_look(
    has: dict[str, str], code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli = tmp_path / "pulumi"
    cli.write_text(
        f"#!/bin/sh\ncase \"$*\" in *dev*) echo '{json.dumps(has)}' ;; *) exit 1 ;; esac\n"
    )
    cli.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    done = CliRunner().invoke(commands.app, ["status", "--fail"])
    assert done.exit_code == code, done.output
    if code:
        assert "Pulumi's state says release r0ld0ne00" in " ".join(done.stdout.split())
        assert "pulumi up --stack dev" in done.stdout


@pytest.mark.parametrize(
    ("said", "code"),
    [
        pytest.param(timedelta(hours=30), 0, id="a consumer asks once a day at least"),
        pytest.param(timedelta(days=3), 3, id="no answer for days"),
        pytest.param("started", 3, id="no answer at all"),
        pytest.param(None, 0, id="a log that can't be read from here"),
    ],
)
@pytest.mark.usefixtures("fleet")
def test_a_device_that_answers_no_more_needs_a_look(
    said: timedelta | str | None, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if isinstance(said, timedelta):
        at = (datetime.now(UTC) - said).isoformat()
        said = json.dumps({"event": "answer", "time": at, "rows": 1, "ms": 1.5, "model": "abc"})
    if said:
        (tmp_path / "log").write_text(said)
        monkeypatch.setenv(COMMAND, f"cat {tmp_path}/log")
    done = CliRunner().invoke(commands.app, ["status", "--fail"])
    assert done.exit_code == code, done.output


def test_a_watch_has_no_end_to_fail_at() -> None:
    assert CliRunner().invoke(commands.app, ["status", "--watch", "--fail"]).exit_code == 2


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize(
    ("name", "gates", "code"),
    [
        ("nothing", ",".join(Gate), 0),
        ("drift", "", 0),
        ("drift", "downgrade,rights", 0),
        ("drift", "removed", 3),
        ("drift", "downgrade, drift", 3),
        ("first", "rights", 3),
        ("first", "right", 2),
    ],
)
def test_a_gate_is_an_exit_code_of_its_own(name: str, gates: str, code: int, tmp_path: Any) -> None:
    saved = tmp_path / "preview.json"
    saved.write_text(Recording.read(name).preview)
    done = CliRunner().invoke(
        commands.app, ["plan", "--stack", "local", "--preview", str(saved), "--fail-on", gates]
    )
    assert done.exit_code == code, done.output
    assert ("## Device plan" in done.stdout) is (code != 2), "a closed gate shows what closed it"


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Main:
    """The program as a shell starts it: its exit code, stdout and stderr."""

    def run_main(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["fleet", *arguments])
        try:
            code = commands.main()
        except SystemExit as end:
            code = int(str(end.code))
        said = capsys.readouterr()
        assert "Traceback" not in said.out + said.err
        return code, said.out, said.err

    return run_main


def test_a_preview_that_is_none_is_neither_an_open_nor_a_closed_gate(
    main: Main, tmp_path: Path
) -> None:
    saved = tmp_path / "preview.json"
    saved.write_text("error: no stack named 'dev' found")
    code, page, said = main("plan", "--stack", "local", "--preview", str(saved))
    assert (code, page) == (1, "")
    assert "not what pulumi preview --json prints" in said


def test_a_preview_that_the_program_refuses_is_a_page_that_says_why(
    main: Main, tmp_path: Path
) -> None:
    saved = tmp_path / "preview.json"
    words = "nothing was changed:\n- set `thing`: pulumi config set thing <NAME>"
    saved.write_text(json.dumps({"diagnostics": [{"severity": "error", "message": words}]}))
    code, page, said = main("plan", "--stack", "local", "--preview", str(saved))
    assert code == 1, "no plan is no green check"
    assert page == (
        "## Device plan: stack `local`\n\n**No plan: the preview is refused.**\n\n"
        "    nothing was changed:\n    - set `thing`: pulumi config set thing <NAME>\n"
    ), "in a comment, the program's words are text, never markup"
    assert words in said


def test_a_preview_that_isn_t_there_is_a_wrong_usage(main: Main, tmp_path: Path) -> None:
    code, _, said = main("plan", "--stack", "local", "--preview", str(tmp_path / "none.json"))
    assert code == 2
    assert "does not exist" in said


@pytest.mark.parametrize("command", ["plan", "rollback"])
def test_without_pulumi_the_way_to_it_is_told(
    command: str, main: Main, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    code, _, said = main(command, "--stack", "dev")
    assert code == 1
    assert "no pulumi on PATH" in said
    assert "pulumi.com/docs" in said
