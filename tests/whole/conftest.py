"""One greenhouse for the whole story: its tests run in the order they are written."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from greenhouse import toolchain
from greenhouse.home import Home
from tests.whole.place import Place, copy_tree


@pytest.fixture(scope="module")
def place(tools: toolchain.Toolchain, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    root = tmp_path_factory.mktemp("whole")
    there = Place(
        tree=copy_tree(root / "tree"),
        home=Home(root / "greenhouse"),
        thing=f"whole-{secrets.token_hex(3)}",
        tools=tools,
    )
    try:
        there.start()
        yield there
    finally:
        there.stop()
