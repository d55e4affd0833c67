"""What to do where this machine lacks something that a test needs."""

from __future__ import annotations

import os
from typing import Never

import pytest


def missing(why: str) -> Never:
    """Without it these tests are skipped, but never in CI."""
    if os.environ.get("CI") == "true":
        pytest.fail(why)
    pytest.skip(why)
