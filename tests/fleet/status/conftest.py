"""Fixtures of these tests."""

# The API's own names for its parameters.

from __future__ import annotations

import pytest

import fleet.__main__ as commands
from fleet.logs import COMMAND
from tests.fleet.status.fleet import OURS, Fleet, Main
from tests.infra.fakes import GOOD, NAME


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
