"""Who abandons a device has read what that means, and typed its name."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner, Result

from fleet.__main__ import app
from fleet.stacks import NoStack
from tests.infra.fakes import GOOD, Account


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Account:
    account = Account.with_a_device(monkeypatch)
    account.devices["press-1"].installed = dict(GOOD)
    return account


def abandon(device: str, *options: str, typed: str = "") -> Result:
    return CliRunner().invoke(
        app, ["abandon-device", device, "--stack", "dev", *options], input=typed
    )


def test_the_record_goes_once_its_name_was_typed(account: Account) -> None:
    done = abandon("press-1", typed="press-1\n")
    assert done.exit_code == 0, done.output
    assert "last heard of 2026-11-23 07:00, runs com.ml.check 1.4.5" in done.output
    assert "it goes on running all of this" in done.output, "the consequence comes before the name"
    assert account.devices == {}
    assert account.changes == ["DeleteCoreDevice"], "the thing, its groups and deployments stay"


@pytest.mark.parametrize("typed", ["", "\n", "y\n", "press-2\n"])
def test_anything_but_its_name_leaves_it(account: Account, typed: str) -> None:
    assert abandon("press-1", typed=typed).exit_code == 1
    assert account.changes == []


def test_a_script_says_that_it_is_sure(account: Account) -> None:
    assert abandon("press-1", "--yes").exit_code == 0
    assert account.devices == {}


def test_a_device_that_is_unknown_is_nothing_to_wait_for(account: Account) -> None:
    done = abandon("press-9", "--yes")
    assert isinstance(done.exception, NoStack)
    assert "AWS knows no core device press-9 in eu-" in str(done.exception)
    assert account.changes == []
