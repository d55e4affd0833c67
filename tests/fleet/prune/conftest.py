"""Fixtures of these tests."""

from __future__ import annotations

import pytest

from tests.fleet.prune.releases import MIDDLE, NEW, OLD, Published
from tests.infra.fakes import (
    Account,
)


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Account:
    return Account.with_a_device(monkeypatch)


@pytest.fixture
def published(account: Account) -> Published:
    found = Published(account)
    for content in (OLD, MIDDLE, NEW):
        found.add(content)
    return found
