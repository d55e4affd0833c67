"""An account in memory in place of AWS."""

from __future__ import annotations

import sys

import pytest

from infra.account.clients import Clients
from tests.infra.fakes import REGION, Account
from tests.infra.pulumi_yaml import ROOT


@pytest.fixture(autouse=True)
def _in_the_program_s_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pulumi runs a program where its Pulumi.yaml is; the paths in its config count on that."""
    monkeypatch.chdir(ROOT)


@pytest.fixture(autouse=True)
def _a_plain_failure_ends_with_its_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """It hides the tracebacks of its whole process, and Pulumi's SDK reads its stack from these."""
    monkeypatch.setattr(sys, "tracebacklimit", 1000, raising=False)  # as it is without it


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Account:
    return Account.with_a_device(monkeypatch)


@pytest.fixture
def clients(account: Account) -> Clients:
    assert account.things, "the clients of a test ask its account"
    return Clients(region=REGION, profile=None)
