"""What a person sees of the toolchain as a whole."""

from __future__ import annotations

import sys

import pytest

from greenhouse import toolchain
from greenhouse.toolchain import progress
from tests.greenhouse.toolchain.machine import Machine


def test_a_machine_that_is_not_linux_is_refused_at_once(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(toolchain.ToolchainFailed, match=r"needs Linux \(this is darwin\)"):
        toolchain.prepare(machine.console)


def test_a_long_step_in_a_piped_log_says_that_it_goes_on(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "STILL_SECONDS", 0.001)
    with machine.progress.step("compiling: six minutes"):
        machine.until("… 0 s")
    lines = machine.said().splitlines()
    assert lines[0] == "  compiling: six minutes …"
    assert lines[-1].startswith("  … took "), "each step says what it cost"
