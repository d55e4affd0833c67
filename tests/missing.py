"""What to do if this machine lacks something that a test needs."""

from __future__ import annotations

import os
from typing import Never

import pytest


def missing(why: str) -> Never:
    """These tests are skipped without it, but never in CI."""
    if os.environ.get("CI") == "true":
        pytest.fail(why)
    pytest.skip(why)


def needs_root(what: str) -> None:
    """Skip the test for another user, also in CI: the runners of GitHub aren't root."""
    if os.geteuid():
        pytest.skip(f"only root can {what}")
