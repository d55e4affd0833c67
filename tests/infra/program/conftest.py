"""Fixtures of these tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.infra.fakes import Account
from tests.infra.program.registered import BOTH, Program
from tests.infra.pulumi_engine import Engine
from tests.infra.pulumi_yaml import ROOT


@pytest.fixture
def program(account: Account, monkeypatch: pytest.MonkeyPatch) -> Program:
    assert account.devices, "the program asks its test's account"
    return Program(monkeypatch)


@pytest.fixture(scope="module")
def deployed() -> Iterator[Engine]:
    """One run that the tests below only look at."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(ROOT)
        Account.with_a_device(monkeypatch)
        yield Program(monkeypatch).run(thing="press-1", architectures=BOTH)
