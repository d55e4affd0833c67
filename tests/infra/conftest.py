"""An account in memory in place of AWS."""

from __future__ import annotations

import pytest

from infra.account.clients import Clients
from tests.infra.fakes import REGION, Account
from tests.infra.pulumi_yaml import ROOT


@pytest.fixture(autouse=True)
def _in_the_program_s_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pulumi runs a program in the folder of its Pulumi.yaml, on which its config's paths rely."""
    monkeypatch.chdir(ROOT)


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Account:
    return Account.with_a_device(monkeypatch)


@pytest.fixture
def clients(account: Account) -> Clients:
    assert account.things, "the clients of a test ask its account"
    return Clients(region=REGION, profile=None)
