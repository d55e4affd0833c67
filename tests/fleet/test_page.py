"""The page of a plan, from previews that a real engine made on greenhouse (see recording.py)."""

from __future__ import annotations

import pytest

from tests.fleet.recording import FOLDER, Recording

NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))


@pytest.mark.parametrize("name", NAMES)
def test_the_page_is_as_it_was_looked_at(name: str) -> None:
    wanted = (FOLDER / f"{name}.md").read_text()
    assert Recording.read(name).page() == wanted, (
        "if the new page is better: python -m tests.fleet.recording, and look at all of them"
    )


def test_there_are_recordings_to_look_at() -> None:
    assert len(NAMES) >= 5
