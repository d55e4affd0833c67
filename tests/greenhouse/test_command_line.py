"""`python -m greenhouse`: messages instead of tracebacks, and a `down` that keeps the evidence."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import typer
import yaml
from botocore.exceptions import ClientError, EndpointConnectionError

from fleet.stacks import NoStack, Stack
from greenhouse import __main__ as command_line
from greenhouse import account, after_up_and_down, ask_model, docker_engine, toolchain
from greenhouse.after_up_and_down import Residue
from greenhouse.home import PROJECT_DIR, Home, HomeBroken
from greenhouse.processes import ProcessFailed
from greenhouse.toolchain import ToolchainFailed

DENIED = ClientError({"Error": {"Code": "Denied", "Message": "no"}}, "ListThings")
STATUS = ".\nSee which of its processes run:\n    python -m greenhouse status"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ProcessFailed("cloud ended"), "cloud ended"),
        (ToolchainFailed("no engine"), "no engine"),
        (HomeBroken("make clean"), "make clean"),
        (DENIED, STATUS),
        (EndpointConnectionError(endpoint_url="http://127.0.0.1:1"), STATUS),
        (subprocess.CalledProcessError(1, ["docker", "ps"], stderr="gone\n"), "docker ps ended wi"),
        (OSError(28, "No space left on device", "settings.json"), "No space left on device"),
        (ValueError("Expecting value: line 1"), "Expecting value"),
        (psutil.AccessDenied(12, "python3"), "another user's process can't be"),
        (yaml.YAMLError("Pulumi.local.yaml: a tab"), "a tab"),
    ],
)
def test_a_failure_is_one_message(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    said: str,
) -> None:
    def app() -> None:
        raise error

    monkeypatch.setattr(command_line, "app", app)
    assert command_line.main() == 1
    shown = capsys.readouterr().err
    assert said in shown
    assert shown.count("\n") == said.count("\n") + 1


@pytest.mark.parametrize(
    ("config", "typed"),
    [
        # Not `pulumi config set`: before the first `make up` there is no such stack.
        (
            {"thing-group": "presses"},
            ", and take out edge-inference:thing-group:\n    edge-inference:thing: greenhouse",
        ),
        ({}, "Write below its key config:\n    edge-inference:thing: greenhouse"),
        (None, "Write below its key config:\n    edge-inference:thing: greenhouse"),
    ],
)
def test_a_stack_without_a_device_of_its_own_says_what_to_type(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, config: dict[str, str] | None, typed: str
) -> None:
    monkeypatch.setattr(command_line, "PROJECT_DIR", tmp_path)
    keys = config and {f"edge-inference:{key}": value for key, value in config.items()}
    (tmp_path / "Pulumi.local.yaml").write_text(yaml.safe_dump({"config": keys}))
    with pytest.raises(command_line.NoThing) as refused:
        command_line.our_thing()
    assert typed in str(refused.value)


@pytest.mark.parametrize("written", ["- a list", "config: [a list]", "just words"])
def test_a_stack_file_of_another_shape_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, written: str
) -> None:
    monkeypatch.setattr(command_line, "PROJECT_DIR", tmp_path)
    (tmp_path / "Pulumi.local.yaml").write_text(written)
    with pytest.raises(NoStack, match=r"Pulumi\.local\.yaml holds no `config:`"):
        command_line.our_thing()


def test_an_environment_for_who_only_asks_aws_prepares_and_says_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    home = Home(tmp_path / "home")
    home.ports()
    monkeypatch.setattr(Home, "find", lambda: home)

    def prepare(_console: object) -> None:
        raise AssertionError("base images and a CLI are for who builds")

    monkeypatch.setattr(toolchain, "prepare", prepare)
    command_line.env(tools=False)
    exports, said = capsys.readouterr()
    for name in ("AWS_ENDPOINT_URL_GREENGRASSV2", "PULUMI_BACKEND_URL", "FLEET_LOGS", "PATH"):
        assert f"export {name}=" in exports
    assert said == ""
    with pytest.raises(AssertionError):
        command_line.env(tools=True)


@pytest.mark.parametrize(
    "asked",
    [
        lambda: command_line.ask(rows=None),
        lambda: command_line.env(tools=True),
        lambda: command_line.env(tools=False),
        command_line.status,
    ],
)
def test_a_question_begins_no_greenhouse(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, asked: Callable[[], None]
) -> None:
    monkeypatch.setenv("GREENHOUSE_HOME", str(tmp_path / "home"))
    with pytest.raises(HomeBroken) as refused:
        asked()
    assert str(refused.value) == "there is no greenhouse here yet.\n    make up"
    assert not [*tmp_path.iterdir()], "the next command would take it for a greenhouse"


def test_rows_that_can_not_be_read_are_refused_in_lines(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    home = Home(tmp_path)
    home.device("greenhouse").mkdir(parents=True)
    (tmp_path / "bad.json").write_text('{"a": 1}')
    description: dict[str, Any] = {
        "model": "627219b0145e",
        "features": [{"name": "a", "type": "number"}],
        "missing_allowed": True,
        "outputs": 1,
    }
    monkeypatch.setattr(ask_model, "_describe", lambda *_: description)
    stack = Stack.read("local", PROJECT_DIR)
    with pytest.raises(ask_model.NotAsked) as refused:
        ask_model.ask(home, stack, tmp_path / "bad.json", command_line.console)
    first, *more = str(refused.value).split("\n")
    assert first.endswith("is not a list of at least one record.")
    assert more, "why, and what to type"
    assert "\\n" not in str(refused.value)


@pytest.fixture
def taken_down(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """A `down` whose every step works. A test sets what is left and the tenant's state."""
    found: dict[str, Any] = {"left": {}, "tenant": "RUNNING", "home": Home(tmp_path / "home")}
    found["home"].ports()
    (found["home"].root / "devices" / "press-1").mkdir(parents=True)
    monkeypatch.setattr(Home, "find", lambda: found["home"])
    tools = SimpleNamespace(docker=SimpleNamespace(ours=False))
    monkeypatch.setattr(command_line, "enter", lambda *_: (tools, {}))
    monkeypatch.setattr(
        command_line, "bring_up", lambda _home, _env, things: found.update(started=things)
    )
    monkeypatch.setattr(command_line, "pulumi_json", lambda *_: [])
    monkeypatch.setattr(after_up_and_down, "tenant_state", lambda *_: found["tenant"])
    monkeypatch.setattr(after_up_and_down, "residue", lambda _: Residue(found["left"]))
    monkeypatch.setattr(account, "retire_tenant", lambda _: None)
    monkeypatch.setattr(docker_engine, "remove_images", lambda _: None)
    return found


def test_a_down_that_leaves_nothing_succeeds_and_removes_its_folder(
    taken_down: dict[str, Any],
) -> None:
    command_line.down()
    assert taken_down["started"] == ["press-1"]
    assert not taken_down["home"].root.exists()


def test_a_down_after_a_refused_device_needs_no_device(taken_down: dict[str, Any]) -> None:
    """Another checkout has a device of that name, and this checkout never started its device."""
    (taken_down["home"].root / "devices" / "press-1").rmdir()
    command_line.down()
    assert taken_down["started"] == [], "the name is still another's, and that would end it"
    assert not taken_down["home"].root.exists()


@pytest.mark.parametrize(
    "found", [{"left": {"components": ["com.ml.check"]}}, {"tenant": "BROKEN"}, {"tenant": "gone"}]
)
def test_a_down_that_leaves_something_or_hurt_the_tenant_fails_and_keeps_the_evidence(
    taken_down: dict[str, Any], capsys: pytest.CaptureFixture[str], found: dict[str, Any]
) -> None:
    taken_down |= found
    with pytest.raises(typer.Exit) as ended:
        command_line.down()
    assert ended.value.exit_code == 1
    assert taken_down["home"].exists(), "the next down would find nothing, and succeed"
    assert "make clean" in capsys.readouterr().out
