"""How a `pulumi` that did not end well reaches a person."""

from __future__ import annotations

import io
import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.console import Console

from greenhouse.processes import ProcessFailed
from greenhouse.updates import run
from greenhouse.updates.run import change, pulumi, show


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The script that is run as `pulumi`."""
    script = tmp_path / "pulumi"
    script.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return script


def test_a_killed_pulumi_is_named_with_what_to_type(ends: Path) -> None:
    """It could say nothing itself. `make` alone would say Error 247."""
    ends.write_text("#!/bin/sh\nkill -9 $$\n")
    with pytest.raises(ProcessFailed) as changing:
        change(Console(file=io.StringIO()), "up", "local")
    with pytest.raises(ProcessFailed) as asking:
        pulumi("stack", "ls")
    for said in (str(changing.value), str(asking.value)):
        assert said.startswith("pulumi was killed (signal 9).\n")
        assert said.endswith("    make up\n    make down")


def test_a_failed_pulumi_has_said_why_and_ends_us_with_its_code(ends: Path) -> None:
    ends.write_text("#!/bin/sh\nexit 3\n")
    with pytest.raises(typer.Exit) as changing:
        change(Console(file=io.StringIO()), "up", "local")
    with pytest.raises(typer.Exit) as asking:
        pulumi("stack", "ls")
    assert changing.value.exit_code == asking.value.exit_code == 3


def events(*, done: int, result: str = "failed") -> str:
    """What `pulumi up` was seen to print of a preview and an update that ^C ended (3.276)."""
    of = {"maybeCorrupt": False, "durationSeconds": 7, "PolicyPacks": {}}
    planned = {**of, "resourceChanges": {"create": 2, "same": 1}, "isPreview": True}
    ended = {**of, "resourceChanges": {"create": done - 1, "same": 1}, "isPreview": False}
    said = [
        {"severity": "error", "prefix": "error: ", "message": message, "color": "never"}
        for message in (
            "update canceled\n",
            "Traceback (most recent call last):\n  …\nKeyboardInterrupt\n",
            "Resource monitor has terminated, shutting down\n",
        )
    ]
    return "\n".join(
        json.dumps(event)
        for event in (
            {"summaryEvent": {**planned, "result": "succeeded"}},
            *({"diagnosticEvent": one} for one in said),
            {"summaryEvent": {**ended, "result": result}},
        )
    )


@pytest.mark.parametrize(
    ("command", "done", "words", "commands"),
    [
        ("up", 2, "2 of 3 resources are done", ["make up", "make down"]),
        ("up", 3, "all 3 resources are done", ["make up", "make down"]),
        ("destroy", 2, "2 of 3 resources are done", ["make down"]),
    ],
)
def test_an_interrupted_pulumi_says_what_it_has_done_and_what_to_type(
    ends: Path, command: str, done: int, words: str, commands: list[str]
) -> None:
    ends.write_text(f"#!/bin/sh\ncat <<'END'\n{events(done=done)}\nEND\nexit 1\n")
    shown = io.StringIO()
    with pytest.raises(ProcessFailed) as changing:
        change(Console(file=shown), command, "local")
    first, why, *typed = str(changing.value).splitlines()
    assert first == f"pulumi {command} was interrupted: {words}."
    assert ("answers are missing" in why) == (done == 3)
    assert [line.strip() for line in typed] == commands
    assert "error" not in shown.getvalue(), "what follows from ^C tells nothing more"


def press(monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """Ctrl-C before the first event, and so often."""
    pressed = iter(range(times))

    def pressing(*arguments: Any) -> None:
        if next(pressed, None) is not None:
            raise KeyboardInterrupt
        show(*arguments)

    monkeypatch.setattr(run, "show", pressing)


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_is_heard_and_pulumi_s_last_words_are_shown(
    ends: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """Once, Pulumi finishes what it has begun. Twice, it ends, and its summary comes as well."""
    press(monkeypatch, times)
    ends.write_text(f"#!/bin/sh\ncat <<'END'\n{events(done=2, result='canceled')}\nEND\nexit 8\n")
    shown = io.StringIO()
    with pytest.raises(ProcessFailed, match="2 of 3 resources are done"):
        change(Console(file=shown), "up", "local")
    assert "Ctrl-C again ends it at once" in shown.getvalue()


def test_without_a_summary_the_resources_are_counted_by_their_events(
    ends: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So it was seen after ^C twice. Before the update, nothing can have changed."""
    urn = "urn:pulumi:local::p::aws:s3/bucket:Bucket::b"
    previewed, *_ = events(done=1).splitlines()
    ended = json.dumps({"resOutputsEvent": {"metadata": {"op": "create", "urn": urn}}})
    failed = json.dumps({"diagnosticEvent": {"severity": "error", "message": "update failed\n"}})
    begun = ended.replace("resOutputsEvent", "resourcePreEvent")
    for lines, words in (
        ([failed], "nothing was changed"),
        ([previewed, failed], "nothing was changed"),
        ([previewed, begun, failed], "at least 0 of 3 resources are done"),
        ([previewed, ended, failed], "at least 1 of 3 resources are done"),
    ):
        press(monkeypatch, 2)
        said = "\n".join(lines)
        ends.write_text(f"#!/bin/sh\ncat <<'END'\n{said}\nEND\nexit 8\n")
        shown = io.StringIO()
        with pytest.raises(ProcessFailed, match=f"interrupted: {words}"):
            change(Console(file=shown), "up", "local")
        assert "failed" not in shown.getvalue()


@pytest.mark.parametrize("command", ["up", "destroy"])
def test_after_ctrl_c_an_exit_code_0_counts_only_if_all_is_done(
    ends: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """`pulumi destroy` was seen to end with 0 after one of three resources (3.276)."""
    for done in (3, 2):
        press(monkeypatch, 1)
        said = events(done=done, result="succeeded")
        ends.write_text(f"#!/bin/sh\ncat <<'END'\n{said}\nEND\n")
        with pytest.raises(ProcessFailed, match="2 of 3") if done < 3 else nullcontext():
            change(Console(file=io.StringIO()), command, "local")


@pytest.mark.parametrize("terminal", [True, False])
def test_what_pulumi_says_as_an_error_stands_above_the_spinner(
    ends: Path, capfd: pytest.CaptureFixture[str], terminal: bool
) -> None:
    """On Ctrl-C it says there that it is cancelling. Without a spinner, errors stay errors."""
    ends.write_text("#!/bin/sh\necho cancelling >&2\n")
    console = Console(file=io.StringIO(), force_terminal=terminal)
    with console.capture() as shown:
        change(console, "up", "local")
    assert ("  cancelling\n" in shown.get()) is terminal
    assert ("cancelling" in capfd.readouterr().err) is not terminal
