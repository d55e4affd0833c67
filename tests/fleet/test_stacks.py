"""A stack file that can't be read is named in one line, and hides no other stack."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleet.ci.stacks import committed, in_turn
from fleet.stacks import NoStack, Stack, places
from tests.fleet.hostile import NAMES, SPEAKS_TO_A_TERMINAL

BROKEN = {
    "a merge's marks": "config:\n<<<<<<< HEAD\n  a: 1\n=======\n  a: 2\n>>>>>>> theirs\n",
    "a tab": "config:\n\ta: 1\n",
    "a list": "config: [a]\n",
    "a word": "config\n",
    "no text": "config:\n  a: \udcff\n",
}
every_break = pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "Pulumi.yaml").write_text("name: edge-inference\n")
    (tmp_path / "Pulumi.dev.yaml").write_text("config:\n  aws:region: eu-west-1\n")
    return tmp_path


@every_break
def test_a_broken_file_is_named_and_the_other_stacks_are_shown(root: Path, text: str) -> None:
    (root / "Pulumi.broken.yaml").write_bytes(text.encode(errors="surrogateescape"))
    there = places(root=root)
    assert [*there.clients.values()] == [("dev",)]
    line, *_ = there.skipped
    assert line.startswith("Pulumi.broken.yaml ")
    assert not any("\n" in one for one in there.skipped)


@every_break
def test_a_broken_stack_has_a_job_that_fails_by_its_name(root: Path, text: str) -> None:
    (root / "Pulumi.broken.yaml").write_bytes(text.encode(errors="surrogateescape"))
    stacks, broken = committed(root)
    assert in_turn(stacks) == (["broken", "dev"], []), (
        "left out, the stack would look fine and be missing"
    )
    assert len(broken) == 1


@pytest.mark.parametrize("name", [one for one in NAMES if not {"/", "\0"} & set(one)], ids=ascii)
def test_a_file_whose_name_is_no_stack_s_gets_into_no_workflow(root: Path, name: str) -> None:
    (root / f"Pulumi.{name}.yaml").write_text("config:\n  aws:region: eu-west-1\n")
    with pytest.raises(NoStack, match="can't name a stack") as refused:
        committed(root)
    assert not SPEAKS_TO_A_TERMINAL & set(str(refused.value))
    assert str(refused.value).count("\n") == 2, "what, why and what to do"
    line, *_ = places(root=root).skipped
    assert "can't name a stack" in line


@pytest.mark.parametrize("name", ["dev-", "-dev", "Dev", "dev.eu", "a" * 21, ""])
def test_a_name_that_no_repository_or_bucket_takes_is_no_stack_s(root: Path, name: str) -> None:
    with pytest.raises(NoStack, match="can't name a stack"):
        Stack.read(name, root)
