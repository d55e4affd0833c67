"""Fixtures of these tests."""

from __future__ import annotations

import pytest

from infra.account.clients import Clients
from tests.infra.fakes import (
    NAME,
    THING_ARN,
    WANTED,
    Account,
    spec,
)
from tests.infra.rollout.gate.waiting import Waiting


@pytest.fixture
def deployment(account: Account) -> str:
    return account.deploy(THING_ARN, NAME, {name: spec(one) for name, one in WANTED.items()})


@pytest.fixture
def waiting(account: Account, clients: Clients, deployment: str) -> Waiting:
    return Waiting(clients, deployment, sorted(account.devices))
