"""An update stores what it makes once and completely, or gives the reason in one line."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from infra.publish.build_folder import BUILD, made_once
from infra.settings import Misconfigured


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_file_that_exists_is_not_made_again() -> None:
    made: list[Path] = []

    def make(draft: Path) -> None:
        made.append(draft)
        draft.write_text("content")

    assert made_once("a", make) == made_once("a", make) == (path := BUILD / "a")
    assert (path.read_text(), len(made)) == ("content", 1)
    assert [*BUILD.iterdir()] == [path], "no draft is left"


def full(draft: Path) -> None:
    draft.write_text("half of it")
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("taken", [False, True], ids=["a full disk", "a file in its place"])
def test_a_folder_that_keeps_nothing_is_told_and_holds_no_draft(taken: bool) -> None:
    if taken:
        BUILD.write_text("no folder")
    with pytest.raises(Misconfigured) as refused:
        made_once("a", full)
    said = str(refused.value)
    assert f"{BUILD.absolute()} can't keep what an update makes:" in said
    assert ("File exists" if taken else "No space left on device") in said
    assert said.count("\n") == 2
    if not taken:
        assert [*BUILD.iterdir()] == [], "otherwise a full disk gets fuller at each preview"


def test_a_making_that_is_interrupted_leaves_nothing() -> None:
    def interrupted(draft: Path) -> None:
        draft.mkdir()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made_once("a", interrupted)
    assert [*BUILD.iterdir()] == []


def test_things_that_another_update_has_made_meanwhile_are_used() -> None:
    def slower(draft: Path) -> None:
        (BUILD / "a").mkdir()
        ((BUILD / "a") / "theirs").touch()
        draft.mkdir()

    assert [one.name for one in made_once("a", slower).iterdir()] == ["theirs"]
