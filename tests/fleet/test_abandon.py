"""`abandon` says what it means, and asks for the device's name before it goes on."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner, Result

from fleet.__main__ import app
from fleet.stacks import NoStack
from tests.infra.fakes import GOOD, NAME, THING_ARN, Account, Device


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Account:
    account = Account.with_a_device(monkeypatch)
    account.devices["press-1"].installed = dict(GOOD)
    account.deploy(THING_ARN, NAME, {})
    return account


def abandon(device: str, *options: str, typed: str = "") -> Result:
    return CliRunner().invoke(
        app, ["abandon-device", device, "--stack", "dev", *options], input=typed
    )


def test_the_record_goes_once_its_name_was_typed(account: Account) -> None:
    done = abandon("press-1", typed="press-1\n")
    assert done.exit_code == 0, done.output
    assert "last heard of 2026-11-23 07:00, runs com.ml.check 1.4.5" in done.output
    assert "it keeps running these components" in done.output, "said before the name is asked"
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


def test_a_device_of_others_is_left_to_them(account: Account) -> None:
    account.devices["press-2"] = Device()
    account.devices["press-2"].deploys("theirs", "COMPLETED", deploymentName=f"{NAME}2")
    done = abandon("press-2", "--yes")
    assert isinstance(done.exception, NoStack)
    assert "press-2 is no device of stack dev" in str(done.exception)
    assert "delete-core-device --core-device-thing-name press-2" in str(done.exception), "the way"
    assert account.changes == []


def test_a_device_that_has_left_the_group_is_still_waited_for_and_may_be_abandoned(
    account: Account,
) -> None:
    account.deploy(THING_ARN.replace("thing/press-1", "thinggroup/gone"), NAME, {})
    account.devices["press-2"] = Device()
    account.devices["press-2"].deploys("ours", "COMPLETED", deploymentName=NAME)
    assert abandon("press-2", "--yes").exit_code == 0
    assert "press-2" not in account.devices


def test_a_device_of_a_group_that_never_heard_of_the_stack_may_be_abandoned(
    account: Account,
) -> None:
    account.groups = {"presses": ["press-2"]}
    account.devices["press-2"] = Device()
    account.deploy(THING_ARN.replace("thing/press-1", "thinggroup/presses"), NAME, {})
    assert abandon("press-2", "--yes").exit_code == 0
