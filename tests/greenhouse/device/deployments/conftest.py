"""Fixtures of these tests."""

from __future__ import annotations

import pytest

from greenhouse.device import deployments
from greenhouse.device.lifecycle import scripts


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deployments, "POLL_SECONDS", 0.2)
    monkeypatch.setattr(scripts, "GRACE_SECONDS", 1.0)
