"""How a `pulumi` that did not end well reaches a person."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import typer
from rich.console import Console

from greenhouse.processes import ProcessFailed
from greenhouse.updates.run import change, pulumi


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
