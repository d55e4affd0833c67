"""The story of one device, from start to end."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

RUN = {"run": "echo up; exec sleep 1000"}


def run(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(story)
