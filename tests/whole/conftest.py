"""One greenhouse for the whole story. Its tests run in the order in which they are written."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from greenhouse import toolchain
from tests.whole.calls import Calls
from tests.whole.inventory import Inventory
from tests.whole.place import Place, started


@pytest.fixture(scope="module")
def place(tools: toolchain.Toolchain, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with started(tmp_path_factory.mktemp("whole"), tools) as there:
        yield there


@pytest.fixture(scope="module")
def calls() -> Calls:
    return Calls()


@pytest.fixture(scope="module")
def watched(
    tools: toolchain.Toolchain, tmp_path_factory: pytest.TempPathFactory, calls: Calls
) -> Iterator[Place]:
    """A place whose calls to the account all go through `calls`."""
    with started(tmp_path_factory.mktemp("watched"), tools, calls) as there:
        yield there


@pytest.fixture(scope="module")
def before(place: Place) -> Inventory:
    """Account and device, with the component of others running on it."""
    place.await_tenant()
    return Inventory.of(place)
