"""Commands that look at the fleet: their output and their exit codes."""

# The API's own names for its parameters.

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

import fleet.__main__ as commands
from fleet import pulumi_cli
from fleet.logs import COMMAND
from fleet.observe import complete_release
from fleet.plan import account_facts, preview
from fleet.plan.plan import FailOn
from fleet.plan.stack_change import StackChange
from fleet.stacks import places
from infra.account.clients import Clients
from infra.names import CHECK, CONSUMER, SERVICE
from tests.fleet.recording import FOLDER, Recording
from tests.fleet.status.fleet import AT, OURS, Fleet, Main, run
from tests.infra.fakes import NAME, THING_ARN, WANTED


@pytest.mark.parametrize("terminal", [True, False])
def test_a_watch_shows_what_changed_since_the_last_look_until_ctrl_c(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    looks = []

    def pause(seconds: float) -> None:
        """A pause without a clock: the device changes at the first pause, the second is Ctrl-C."""
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
    """`plan` looks at a record instead of an account."""

    def look(_clients: Clients, stack_change: StackChange, _root: Any) -> tuple[Any, Any]:
        recording = next(
            one
            for one in (Recording.read(path.stem) for path in FOLDER.glob("*.json"))
            if StackChange.of(preview.read(one.preview)) == stack_change
        )
        return recording.targets, recording.account_facts

    monkeypatch.setattr(account_facts, "read_facts", look)


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
        pytest.param(
            lambda there: there.devices["press-1"].installed.update(
                {SERVICE: (WANTED[SERVICE], "FINISHED")}
            ),
            id="ended",
        ),
        pytest.param(lambda there: there.devices["press-1"].installed.pop(CHECK), id="drift"),
        pytest.param(lambda there: there.sends("by hand", OURS, "COMPLETED"), id="replaced"),
        pytest.param(fails, id="failed"),
        pytest.param(cancels_a_group_s, id="a group's deployment was cancelled"),
    ],
)
def test_a_fleet_that_needs_a_look_has_an_exit_code_of_its_own(
    fleet: Fleet, ails: Callable[[Fleet], object]
) -> None:
    run("status", "--fail")
    ails(fleet)
    for options in ((), ("--json",)):
        done = CliRunner().invoke(commands.app, ["status", "--fail", *options])
        assert done.exit_code == 3, done.output
        assert "press-1" in done.stdout, "a reader who asks why sees all of it"


@pytest.mark.parametrize(
    ("has", "code"),
    [
        pytest.param({"release": complete_release(WANTED)}, 0, id="the same"),
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
        said = " ".join(done.stdout.split())
        assert "Pulumi's state says release r0ld0ne00" in said
        likely = "the last update failed or was interrupted: pulumi up --stack dev"
        assert said.index(likely) < said.index("an older one"), "the usual cause comes first"


@pytest.mark.parametrize(
    ("command", "form"),
    [("new-device", "make new-device NAME=press-3"), ("model", "make model FILE=model.json")],
)
def test_a_command_without_its_argument_is_told_as_make_takes_it(command: str, form: str) -> None:
    done = CliRunner().invoke(commands.app, [command], env={"COLUMNS": "200"})
    assert done.exit_code == 2
    assert form in done.output
    assert f"{command} [OPTIONS] [{form.split()[-1].partition('=')[0]}]" in done.output


@pytest.mark.usefixtures("fleet")
def test_pulumi_is_asked_about_no_stack_that_has_never_deployed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A fresh clone has Pulumi.dev.yaml and Pulumi.local.yaml; Pulumi's backend knows one stack."""
    asked: list[str] = []

    def released(stack: str) -> str:
        asked.append(stack)
        return ""

    monkeypatch.setattr(pulumi_cli, "released", released)
    assert CliRunner().invoke(commands.app, ["status", "--fail"]).exit_code == 0
    assert {"dev", "local"} <= {name for names in places().clients.values() for name in names}
    assert asked == ["dev"], "about the others it would print an error"


ANSWER = json.dumps({"event": "answer", "time": "AT", "rows": 1, "ms": 1.5, "model": "abc"})
WAITS = (
    "2026-11-30T11:40:12.322Z [INFO] (Copier) com.ml.consumer: stdout. waiting for docker, or for"
    " it to remove com.ml.consumer.press-01: Cannot connect. {scriptName=services.com.ml.consumer}"
)
ASKS = '{"time": "2026-11-30T11:40:12.721+00:00", "event": "asking", "interval": 2.0}'


@pytest.mark.parametrize(
    ("said", "code"),
    [
        pytest.param(timedelta(hours=30), 0, id="a consumer asks once a day at least"),
        pytest.param(timedelta(days=3), 3, id="no answer for days"),
        pytest.param("started", 3, id="no answer at all"),
        pytest.param(f"{ANSWER}\n{WAITS}", 3, id="the engine is away"),
        pytest.param(f"{ANSWER}\n{WAITS}\n{ASKS}", 0, id="the engine is back"),
        pytest.param(None, 0, id="a log that can't be read from here"),
    ],
)
@pytest.mark.usefixtures("fleet")
def test_a_device_that_answers_no_more_needs_a_look(
    said: timedelta | str | None, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if isinstance(said, timedelta):
        at = (datetime.now(UTC) - said).isoformat()
        said = ANSWER.replace("AT", at)
    if said:
        said = said.replace("AT", datetime.now(UTC).isoformat())
        (tmp_path / "log").write_text(said)
        monkeypatch.setenv(COMMAND, f"cat {tmp_path}/log")
    done = CliRunner().invoke(commands.app, ["status", "--fail"])
    assert done.exit_code == code, done.output


def test_a_watch_has_no_end_to_fail_at() -> None:
    assert CliRunner().invoke(commands.app, ["status", "--watch", "--fail"]).exit_code == 2


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize(
    ("name", "fail_on", "code"),
    [
        ("nothing", ",".join(FailOn), 0),
        ("drift", "", 0),
        ("drift", "downgrade,rights", 0),
        ("drift", "removed", 3),
        ("drift", "downgrade, drift", 3),
        ("first", "rights", 3),
        ("first", "right", 2),
    ],
)
def test_a_reason_to_fail_is_an_exit_code_of_its_own(
    name: str, fail_on: str, code: int, tmp_path: Any
) -> None:
    saved = tmp_path / "preview.json"
    saved.write_text(Recording.read(name).preview)
    done = CliRunner().invoke(
        commands.app, ["plan", "--stack", "local", "--preview", str(saved), "--fail-on", fail_on]
    )
    assert done.exit_code == code, done.output
    assert ("## Device plan" in done.stdout) is (code != 2), "a refused command shows why"


def test_an_invalid_preview_is_neither_an_open_nor_a_closed_gate(
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
    errors = (words, f"{preview.EXITED}: 1")
    said_by_pulumi = [{"severity": "error", "message": one} for one in errors]
    saved.write_text(json.dumps({"diagnostics": said_by_pulumi}))
    code, page, said = main("plan", "--stack", "local", "--preview", str(saved))
    assert code == 1, "a missing plan must not pass the check"
    assert page == (
        "## Device plan: stack `local`\n\n**No plan: the preview is refused.**\n\n"
        "    nothing was changed:\n    - set `thing`: pulumi config set thing <NAME>\n"
    ), "in a comment, the program's words are text, never markup"
    assert said == "there is no plan: the preview of stack local is refused, the page says why\n"


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
