"""The bench, for all tests of the device."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.greenhouse.device.workbench import Bench


@pytest.fixture
def bench(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Bench:
    return Bench(tmp_path / "gg", caplog)
