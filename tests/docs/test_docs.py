"""The documents name only commands, config keys, files and links that exist."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from fleet.__main__ import app as fleet
from greenhouse.__main__ import app as greenhouse

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
COMMAND = re.compile(
    r"(?:^ {4,}|`|&& |\$\()(make|pulumi|python -m) ([^`#]+?)(?=`|  +#| &&|$)", re.M
)

PROGRAMS = {"fleet": fleet, "greenhouse": greenhouse}

every_document = pytest.mark.parametrize(
    "document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT))
)


def commands(program: str) -> set[str]:
    """The arguments that any document gives to a program, on a line of its own or in backticks."""
    return {
        arguments.strip()
        for document in DOCUMENTS
        for name, arguments in COMMAND.findall(document.read_text())
        if name == program
    }


@every_document
def test_a_link_leads_to_a_file_that_is_there(document: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text()):
        if not link.startswith("http"):
            assert (document.parent / link).exists(), link


def test_the_table_of_where_things_are_names_files_that_are_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    table = re.findall(r"^\|.*\|$", text, re.M)
    found = {name for row in table for name in re.findall(r"`([\w.]+/[\w./]*)`", row)}
    assert len(found) > 20, "the pattern finds no paths any more"
    assert [name for name in sorted(found) if not (ROOT / name).exists()] == []


def test_every_make_command_is_a_target() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.M))
    found = {word for line in commands("make") for word in line.split()[:1] if word != "-s"}
    assert found, "the pattern finds no command any more"
    assert found <= targets


def test_every_config_key_that_a_document_sets_is_one_of_the_program_s() -> None:
    known = set(yaml.safe_load((ROOT / "Pulumi.yaml").read_text())["config"])
    known |= {"aws:region", "aws:profile", "aws:assumeRoles", "aws:defaultTags.tags.team"}
    found = set()
    for line in commands("pulumi"):
        words = [word for word in line.split() if not word.startswith("-")]
        if words[:2] == ["config", "set"]:
            rest = words[2:]
            key = rest[1] if line.split()[2] == "--stack" else rest[0]
            found.add(key.strip("'").partition("[")[0])  # 'architectures[0]'
    assert found, "the pattern finds no command any more"
    assert found <= known


@pytest.mark.parametrize("line", sorted(commands("python -m")))
def test_every_module_that_a_document_runs_explains_itself(line: str) -> None:
    module, *rest = line.split()
    command = [word for word in rest[:1] if re.fullmatch(r"[a-z][a-z-]*", word)]
    done = subprocess.run(
        [sys.executable, "-m", module, *command, "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_make_help_names_every_target_that_a_person_calls() -> None:
    makefile = (ROOT / "Makefile").read_text()
    phony = set(re.findall(r"^\.PHONY: (.+)$", makefile, re.M)[0].split())
    shown = subprocess.run(
        ["make", "--no-print-directory", "help"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert phony == set(re.findall(r"^  make ([a-z-]+) ", shown, re.M))


@pytest.fixture
def typed(tmp_path: Path) -> Callable[..., list[str]]:
    """Type a make command, and return the arguments that reach our own programs."""
    bin_, stamp, said = tmp_path / "bin", tmp_path / "stamp", tmp_path / "said"
    bin_.mkdir()
    for name in ("python", "pulumi"):
        (bin_ / name).write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >> {said}\n')
        (bin_ / name).chmod(0o755)

    def run(*words: str, **environment: str) -> list[str]:
        stamp.touch()
        said.write_text("")
        subprocess.run(
            ["make", "--silent", f"BIN={bin_}", f"STAMP={stamp}", *words],
            cwd=ROOT,
            env={**os.environ, "PATH": f"{bin_}:{os.environ['PATH']}", **environment},
            check=True,
            capture_output=True,
        )
        return said.read_text().splitlines()

    return run


def test_a_target_that_takes_a_stack_hands_it_on(typed: Callable[..., list[str]]) -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = re.findall(r"^([a-z-]+):.*##.*\bSTACK=", makefile, re.M)
    assert "console" in targets, "the pattern finds no target any more"
    for target in targets:
        words = " ".join(typed(target, "STACK=somewhere")).replace("=", " ")
        assert "--stack somewhere" in words, f"make {target} looks at every stack"


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("rollback", "RELEASE"),
        ("abandon-device", "YES"),
        ("logs", "DEVICE"),
        ("new-device", "NAME"),
    ],
)
def test_what_a_command_does_is_typed_with_it_and_not_left_in_a_shell(
    typed: Callable[..., list[str]], target: str, name: str
) -> None:
    """WSL exports NAME by itself, and a release script may well export RELEASE."""
    exported = {name: "exported"}
    nothing = typed(target, "STACK=somewhere", **exported)
    assert nothing == typed(target, "STACK=somewhere", f"{name}=")
    assert nothing != typed(target, "STACK=somewhere", f"{name}=typed", **exported)


def parsed(program: str, words: list[str]) -> set[str]:
    """The values with which a program's command would be called. Raises click's errors of usage."""
    group: Any = typer.main.get_command(PROGRAMS[program])
    name, command, rest = group.resolve_command(group.make_context(program, [*words]), words)
    given = command.make_context(name, rest).params.values()
    return {str(one) for value in given for one in (value if isinstance(value, list) else [value])}


def table_of_commands() -> list[str]:
    """The make commands in README's table, each as it is typed."""
    table = (ROOT / "README.md").read_text().partition("\n## Commands\n")[2].partition("\n## ")[0]
    return re.findall(r"`make ([^`]+)`", table)


@pytest.mark.parametrize("line", [one for one in table_of_commands() if one != "help"])
def test_a_command_of_the_readme_s_table_is_one_that_its_program_takes(
    typed: Callable[..., list[str]], line: str
) -> None:
    words = shlex.split(line)
    calls = " ".join(f"\n{word}" for word in typed(*words)).split("\n-m \n")[1:]
    program, *arguments = (word.strip() for word in calls[-1].split("\n"))
    given = parsed(program, arguments)
    for word in words[1:]:
        name, _, value = word.partition("=")
        assert value in given, f"{program} isn't told {name}"


def test_the_readme_has_a_table_of_commands() -> None:
    assert {"plan", "status", "rollback", "model", "lint", "help"} <= {
        line.split()[0] for line in table_of_commands()
    }
