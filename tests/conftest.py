"""The tools that the expensive tests share, which the project obtains for itself."""

from __future__ import annotations

import os
from collections import Counter

import pytest
from rich.console import Console

from greenhouse import toolchain


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the longest files first: short tests then fill the gaps at the end."""
    steps = Counter(item.path for item in items if "whole" in item.keywords)
    items.sort(key=lambda item: -steps[item.path])


@pytest.fixture(scope="session")
def tools() -> toolchain.Toolchain:
    """Pulumi's CLI, a Docker engine and the base images. They come first on PATH from here on."""
    found = toolchain.prepare(Console(stderr=True))
    os.environ["PATH"] = os.pathsep.join([*map(str, found.path), os.environ["PATH"]])
    if found.docker_host:
        os.environ["DOCKER_HOST"] = found.docker_host
    return found
