"""The comment on a pull request: its content, and the distrust of what it is made of."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fleet.ci.comment import MOST, Hostile, body, named
from tests.fleet.hostile import NAMES

ROOT = Path(__file__).parents[2]
RUN = "https://github.example/acme/line/actions/runs/7"


def test_a_stack_without_a_plan_is_named(tmp_path: Path) -> None:
    (tmp_path / "dev.md").write_text("# Plan of dev\n")
    (tmp_path / "press-3.md").touch()  # The shell makes the file before the plan is made.
    said = body(["dev", "press-2", "press-3"], tmp_path, RUN)
    assert "# Plan of dev" in said
    assert f"## press-2\n\nNo plan (No such file or directory): [the run]({RUN}) says why." in said
    assert f"## press-3\n\nNo plan: [the run]({RUN}) says why." in said


def test_long_plans_share_the_room_and_say_where_they_go_on(tmp_path: Path) -> None:
    for name in ("dev", "press-2", "press-3"):
        (tmp_path / f"{name}.md").write_text(f"# {name}\n" + "one more line\n" * 9000)
    said = body(["dev", "press-2", "press-3"], tmp_path, RUN)
    assert len(said) <= MOST, "GitHub refuses a longer one"
    for name in ("dev", "press-2", "press-3"):
        assert f"# {name}\n" in said, "the last stack isn't what is cut away"
        assert f"cut here: `make plan STACK={name}` prints all, [the run]({RUN}) keeps it" in said


def test_the_comment_also_says_that_no_stack_changes(tmp_path: Path) -> None:
    assert "changes no stack" in body([], tmp_path, RUN), "or the plan of an earlier push stays"


@pytest.mark.parametrize("count", [1, 3, 160, 3000])
@pytest.mark.parametrize("text", ["", "# x\n" * 50_000, "x" * 200_000, "\U0001f600" * 70_000])
def test_however_many_and_long_the_pages_are_github_takes_the_comment(
    tmp_path: Path, count: int, text: str
) -> None:
    stacks = [f"press-{number}" for number in range(count)]
    (tmp_path / "press-0.md").write_text(text)
    (tmp_path / "press-2.md").write_text(text)
    said = body(stacks, tmp_path, RUN)
    assert len(said) <= MOST
    assert "press-0" in said
    if count == 3000:
        assert said.count("\n## ") + said.startswith("## ") < count
        assert "more stacks, for which there is no room" in said


def test_a_link_in_the_artifact_is_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("token of the job")
    plans = tmp_path / "plans"
    plans.mkdir()
    (plans / "dev.md").symlink_to(secret)
    (plans / "press-2.md").symlink_to("/proc/self/environ")
    os.mkfifo(plans / "press-3.md")  # A reader would wait for it.
    (plans / "press-4.md").mkdir()
    said = body(["dev", "press-2", "press-3", "press-4"], plans, RUN)
    assert "token" not in said
    assert "PATH=" not in said
    assert said.count("No plan (") == 4


def test_a_log_that_is_not_all_text_is_shown_as_far_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "dev.md").write_bytes(b"# Plan\n\xff\xfe\x00\x1b[31m of dev\n")
    assert "# Plan\n\ufffd\ufffd\\x00\\x1b[31m of dev\n" in body(["dev"], tmp_path, RUN)


@pytest.mark.parametrize("name", [*NAMES, "", "Dev", "dev.eu", "a" * 21], ids=ascii)
def test_a_name_that_is_no_stack_s_is_refused(name: str) -> None:
    with pytest.raises(Hostile, match="can't name a stack"):
        named(json.dumps(["dev", name]))


@pytest.mark.parametrize("text", ["", "dev", '"dev"', "{}", "[1]", "null"])
def test_a_value_that_is_no_list_is_refused(text: str) -> None:
    with pytest.raises(Hostile):
        named(text)


GH = """#!/bin/sh
printf '%s\\n' "$@" > "$ASKED"
cat > "$ASKED.body"
"""


def comment(tmp_path: Path, stacks: str) -> subprocess.CompletedProcess[str]:
    """`make ci-comment` as the workflow calls it, with a gh that remembers its arguments."""
    (tmp_path / "gh").write_text(GH)
    (tmp_path / "gh").chmod(0o755)
    return subprocess.run(
        ["make", "--silent", "ci-comment", f"PYTHON={sys.executable}"],
        cwd=ROOT,
        env={
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "ASKED": str(tmp_path / "asked"),
            "GH_TOKEN": "token",
            "PULL_REQUEST": "12",
            "RUN_URL": RUN,
            "STACKS": stacks,
            "PLANS": str(tmp_path),
        },
        capture_output=True,
        text=True,
        check=False,
    )


def test_gh_writes_over_the_comment_of_the_push_before(tmp_path: Path) -> None:
    (tmp_path / "dev.md").write_text("# Plan of $(dev) `x`\n")
    done = comment(tmp_path, '["dev"]')
    assert done.returncode == 0, done.stderr
    asked = (tmp_path / "asked").read_text().split()
    assert asked == ["pr", "comment", "12", "--edit-last", "--create-if-none", "--body-file", "-"]
    assert (tmp_path / "asked.body").read_text() == body(["dev"], tmp_path, RUN)


def test_a_hostile_list_leaves_the_comment_as_it_is(tmp_path: Path) -> None:
    done = comment(tmp_path, '["../outside"]')
    assert done.returncode
    assert "can't name a stack" in done.stderr
    assert not (tmp_path / "asked").exists()


def test_the_text_is_made_by_the_standard_library_alone() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-I",
            "-S",
            "-c",
            "import sys; sys.path.insert(0, '.'); import fleet.ci.comment",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"the job installs nothing: {done.stderr}"
