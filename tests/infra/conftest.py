"""An account in memory in place of AWS."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.clients import Clients
from tests.infra.fakes import REGION, THING_ARN, Account, Device


@pytest.fixture(autouse=True)
def _in_the_program_s_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pulumi runs a program where its Pulumi.yaml is; the paths in its config count on that."""
    monkeypatch.chdir(Path(__file__).resolve().parents[2])


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Account:
    """One thing, press-1, that is a core device with nothing on it; every client asks here."""
    account = Account(devices={"press-1": Device()}, things={"press-1": THING_ARN})
    session = account.session()
    monkeypatch.setattr(Clients, "_session", property(lambda _: session))
    return account


@pytest.fixture
def clients(account: Account) -> Clients:
    assert account.things, "the clients of a test ask its account"
    return Clients(region=REGION, profile=None)
