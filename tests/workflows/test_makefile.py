"""Values that are given to make reach the commands unchanged: no name is ever code."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.fleet.hostile import NAMES

ROOT = Path(__file__).parents[2]
REMEMBER = """#!/bin/sh
for one in "$0" "$@"; do printf '%s\\0' "$one"; done >> "$ASKED"
printf '\\036' >> "$ASKED"
"""
# target → the given value, and the words of the command that name it
GIVEN = {
    "plan": {"STACK": "--stack=", "PREVIEW": "--preview=", "FAIL_ON": "--fail-on="},
    "status": {"STACK": "--stack="},
    "console": {"STACK": "--stack=", "PORT": "--port="},
    "logs": {"STACK": "--stack=", "DEVICE": "", "COMPONENT": "--component="},
    "rollback": {"STACK": "--stack=", "RELEASE": "--release="},
    "prune": {"STACK": "--stack="},
    "new-device": {
        "NAME": "",
        "FROM": "--from=",
        "GROUP": "--group=",
        "ARCH": "--arch=",
        "REGION": "--region=",
    },
    "abandon-device": {"STACK": "--stack=", "DEVICE": ""},
    "deploy": {"STACK": "--stack="},
    "drift": {"STACK": "--stack="},
    "images": {
        "BUILD_IMAGE": "--build-arg=BUILD_IMAGE=",
        "RUNTIME_IMAGE": "--build-arg=RUNTIME_IMAGE=",
    },
    "ci-roles": {
        "REPOSITORY": "--repository=",
        "ACCOUNT": "--account=",
        "STATE_BUCKET": "--state-bucket=",
        "STATE_KEY": "--state-key=",
    },
    "sbom": {"STACK": "--stack=", "RELEASE": "--release="},
    "ci-stacks": {"SINCE": "--since="},
    "train": {"DATA": "--data="},
    "model": {"FILE": "", "DATA": "--data="},
    "ask": {"STACK": "--stack=", "ROWS": "--rows="},
}
ONLY_TYPED = {"RELEASE", "DEVICE", "NAME", "YES"}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The Makefile over commands that remember their arguments."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("requirements.txt", "requirements-dev.txt", "pyproject.toml"):
        (tmp_path / name).touch()
    for command in (".venv/bin/python", "bin/pulumi"):
        (tmp_path / command).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / command).write_text(REMEMBER)
        (tmp_path / command).chmod(0o755)
    (tmp_path / ".venv/.installed").touch()
    return tmp_path


def make(tree: Path, target: str, *typed: str, **exported: str) -> list[list[str]]:
    """The commands that one target ran, each with its words."""
    asked = tree / "asked"
    asked.unlink(missing_ok=True)
    done = subprocess.run(
        ["make", "--silent", target, *typed],
        cwd=tree,
        env={
            "PATH": f"{tree / 'bin'}:{os.environ['PATH']}",
            "ASKED": str(asked),
            **exported,
        },
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    commands = asked.read_bytes().decode(errors="surrogateescape").split("\x1e")
    return [one.split("\0")[:-1] for one in commands if one]


@pytest.mark.parametrize("target", GIVEN)
def test_a_name_that_is_typed_or_exported_is_one_word_and_runs_nothing(
    tree: Path, target: str
) -> None:
    for name in NAMES:
        if "\0" in name:
            continue  # No program can get one.
        given = dict.fromkeys(GIVEN[target], name)
        exported = {key: one for key, one in given.items() if key not in ONLY_TYPED}
        for typed, env in (
            ([f"{key}={one}" for key, one in given.items()], {}),
            ([f"{key}={one}" for key, one in given.items() if key in ONLY_TYPED], exported),
        ):
            for command in make(tree, target, *typed, **env):
                for word in GIVEN[target].values():
                    assert f"{word}{name}" in command, f"{name!a} in {command!a}"
        assert not [*tree.rglob("*PWNED*")], f"{name!a} was run"


@pytest.mark.parametrize("command", ["fleet", "greenhouse"])
@pytest.mark.parametrize("target", ["setup", "up", "start", "env"])
def test_the_commands_are_beside_python_whatever_a_user_types_first(
    tree: Path, target: str, command: str
) -> None:
    asked = tree / "asked"
    asked.touch()  # `make setup` runs no python.
    env = {"PATH": os.environ["PATH"], "ASKED": str(asked)}
    subprocess.run(["make", "--silent", target], cwd=tree, env=env, check=True)
    asked.unlink()
    subprocess.run(
        [tree / ".venv/bin" / command, "status", "a b; touch PWNED"],
        cwd="/",
        env=env,
        check=True,
    )
    words = asked.read_bytes().decode().rstrip("\x1e").split("\0")
    assert words[1:-1] == ["-m", command, "status", "a b; touch PWNED"]


@pytest.mark.parametrize("target", ["status", "console", "logs", "sbom", "abandon-device"])
def test_who_only_asks_aws_waits_for_no_tool_of_greenhouse(tree: Path, target: str) -> None:
    env, command = make(tree, target)
    assert env[1:] == ["-m", "greenhouse", "env", "--no-tools"]
    assert command[1:4] == ["-m", "fleet", target]


@pytest.mark.parametrize("target", ["plan", "rollback", "prune", "deploy"])
def test_who_runs_pulumi_has_it_ready_before(tree: Path, target: str) -> None:
    env, _ = make(tree, target)
    assert env[1:] == ["-m", "greenhouse", "env"]


@pytest.mark.parametrize("target", ["plan", "preview", "deploy"])
def test_without_a_greenhouse_no_pulumi_runs(tree: Path, target: str) -> None:
    """It would ask the backend and the account of the shell."""
    python = tree / ".venv/bin/python"
    python.write_text("#!/bin/sh\nexit 1\n")
    (tree / "bin/pulumi").write_text('#!/bin/sh\ntouch "$ASKED"\n')
    with pytest.raises(AssertionError):
        make(tree, target)
    assert not (tree / "asked").exists()


def test_an_exported_fail_makes_status_fail(tree: Path) -> None:
    [command] = make(tree, "status", STACK="dev", FAIL="1")
    assert command[-2:] == ["--stack=dev", "--fail"], "the drift workflow gives it so"


@pytest.mark.parametrize("key", sorted(ONLY_TYPED))
def test_what_changes_something_is_typed_and_never_left_over_in_a_shell(
    tree: Path, key: str
) -> None:
    [target] = {"RELEASE": ["rollback"], "NAME": ["new-device"]}.get(key, ["abandon-device"])
    [command] = make(tree, target, "STACK=dev", **{key: "left-over"})
    assert not [word for word in command if "left-over" in word or word == "--yes"]


def test_a_list_of_recipes_and_of_options_is_several_words(tree: Path) -> None:
    assert make(tree, "lint", "RECIPE=a.yaml b/")[0][-2:] == ["a.yaml", "b/"]
    assert make(tree, "bench", "ARGS=--only fleets")[0][-2:] == ["--only", "fleets"]
    for name in NAMES:
        if "\0" not in name:
            make(tree, "lint", f"RECIPE={name}")
            make(tree, "bench", f"ARGS={name}")
    assert not [*tree.rglob("*PWNED*")]


def test_no_recipe_lets_make_paste_what_was_given_into_the_shell() -> None:
    text = (ROOT / "Makefile").read_text()
    [given] = re.findall(r"^GIVEN := ((?:.*\\\n)*.*)$", text, re.MULTILINE)
    names = set(given.replace("\\", "").split())
    recipes = [line for line in text.splitlines() if line.startswith("\t")]
    pasted = {name for line in recipes for name in re.findall(r"\$\((\w+)\)", line)}
    assert not pasted & names
    read = {name for line in recipes for name in re.findall(r"\$\$\{?([A-Z_]+)", line)}
    assert read - names <= {"PULL_REQUEST"}, "it would be expanded by make where it is exported"
