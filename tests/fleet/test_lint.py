"""The linter as people and CI call it, on the shapes of real recipes.

The recipes beside this file are rewritten after public ones. Two are of an AWS CDK sample, one is a
project template of the Greengrass Development Kit, and one is a Docker Compose component. The
others are a community component, an inference component, and a sample for Nucleus Lite.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner, Result

from fleet import lint
from fleet import terminal as terminal_
from recipes import rules
from recipes.findings import Severity

RECIPES = Path(__file__).with_name("recipes_of_others")
FINE = RECIPES / "lite-sample.yaml"

FOUND = {
    "cdk-container.json": {
        "error": {"step-case", "key-case", "runtime-missing", "docker-option-late", "socket-path"},
        "warning": {
            *("platform-legacy", "docker-secret-in-argv", "docker-name", "rights-any-topic"),
            *("docker-log", "hard-dependency"),
        },
        "info": {"image-tag", "docker-init"},
    },
    "cdk-script.json": {
        "error": {"step-case", "key-case", "runtime-missing", "rights-mqtt-wildcard"},
        "warning": {"install-timeout", "path-unquoted", "pip-unpinned"},
    },
    "docker-compose.yaml": {
        "error": {"step-case", "key-case", "runtime-missing", "startup-gate", "ecr-dependency"},
        "warning": {"platform-legacy", "image-latest", "hard-dependency", "path-unquoted"},
        "info": {"lite-has-none", "image-tag", "rights-policy-id"},
    },
    "gdk-template.yaml": {
        "error": {"step-case", "key-case", "runtime-missing"},
        "warning": {"platform-legacy", "path-unquoted"},
        "info": {"variable-quoting"},
    },
    "labs-dashboard.yaml": {
        "error": {
            *("step-case", "key-case", "runtime-missing", "architecture-name", "platform-regex"),
            *("script-brace", "artifact-owner"),
        },
        "warning": {
            *("sudo", "variable-in-default", "docker-detached", "docker-rm", "hard-dependency"),
            *("docker-log", "path-unquoted"),
        },
        "info": {
            *("lite-has-none", "variable-quoting", "image-tag", "docker-init", "dependency-range"),
        },
    },
    "lite-sample.yaml": {},
    "ml-inference.json": {
        "error": {
            *("version-digits", "key-case", "runtime-missing", "architecture-name"),
            *("artifacts-key", "startup-or-run", "startup-leaves-early"),
            *("script-brace", "variable-of-another"),
        },
        "warning": {"install-timeout", "hard-dependency", "path-unquoted"},
        "info": {"variable-quoting", "artifact-digest", "dependency-range"},
    },
}

app = typer.Typer()
app.command()(lint.lint)


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_every_recipe_here_has_its_expectation() -> None:
    assert {file.name for file in RECIPES.iterdir()} == set(FOUND)


@pytest.mark.parametrize("name", FOUND)
def test_a_recipe_of_the_wild_has_the_findings_that_a_reader_would_have(name: str) -> None:
    found: dict[str, set[str]] = {}
    for one in lint.check(RECIPES / name):
        found.setdefault(one.rule.severity, set()).add(one.rule.name)
    assert found == FOUND[name]


def test_a_line_has_the_file_the_place_the_reason_and_the_remedy() -> None:
    done = run(RECIPES / "cdk-container.json")
    assert done.exit_code == 1, "an error is for a pipeline to stop at"
    line = next(one for one in done.stdout.splitlines() if "docker-option-late" in one)
    assert line.startswith(f"{RECIPES / 'cdk-container.json'}:Manifests[0].Lifecycle.Run: error ")
    assert ": an option after the image is an argument to the program in it" in line
    assert " → move --network=host before " in line


def test_a_recipe_without_an_error_ends_with_0() -> None:
    done = run(FINE)
    assert (done.exit_code, done.stdout) == (0, "")


def test_warnings_do_not_stop_a_pipeline(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(FINE.read_text().replace("--name publisher\n", "\n"))
    done = run(recipe)
    assert done.exit_code == 0
    assert "warning docker-name" in done.stdout


def test_a_recipe_s_spaces_count(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(FINE.read_text() + " \n" * 4_000)
    assert "error recipe-size" in run(recipe).stdout, "Lite reads the text as it is"


def test_a_folder_is_searched_for_recipes(tmp_path: Path) -> None:
    (tmp_path / "a" / ".hidden").mkdir(parents=True)
    (tmp_path / "a" / "b.yml").write_text("RecipeFormatVersion: '2020-01-25'\n")
    (tmp_path / "a" / "c.json").write_text('{"recipeFormatVersion": "2020-01-25"')
    (tmp_path / "a" / ".hidden" / "d.json").write_text('{"RecipeFormatVersion": "2020-01-25"}')
    (tmp_path / "package.json").write_text('{"name": "something else"}')
    done = run(tmp_path)
    files = Counter(line.split(":")[0] for line in done.stdout.splitlines())
    assert set(files) == {str(tmp_path / "a" / "b.yml"), str(tmp_path / "a" / "c.json")}
    assert files[str(tmp_path / "a" / "c.json")] == 1, "an unreadable file is named once"


@pytest.mark.parametrize("text", ["{", "- a\n- b\n", "a: [", "just text", ""])
def test_a_file_that_is_no_recipe_is_an_error_that_says_why(tmp_path: Path, text: str) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(text)
    done = run(recipe)
    assert done.exit_code == 1
    [line] = done.stdout.splitlines()
    assert f":file: error {rules.READABLE.name}: " in line


@pytest.mark.parametrize("arguments", [[], ["nothing.json"], ["."]])
def test_nothing_to_check_is_a_wrong_usage(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*arguments).exit_code == 2, "a pipeline that checks nothing must fail"


def test_a_development_kit_s_placeholders_are_filled_in() -> None:
    text = (
        "ComponentName: {COMPONENT_NAME}\nComponentVersion: '{COMPONENT_VERSION}'\n"
        "Uri: s3://BUCKET_NAME/COMPONENT_NAME/COMPONENT_VERSION/a.zip\n"
        "Script: echo $COMPONENT_NAME ${COMPONENT_NAME} MY_COMPONENT_NAME\n"
    )
    assert lint.read(text) == {
        "ComponentName": "com.example.Component",
        "ComponentVersion": "1.0.0",
        "Uri": "s3://bucket/com.example.Component/1.0.0/a.zip",
        "Script": "echo $COMPONENT_NAME ${COMPONENT_NAME} MY_COMPONENT_NAME",
    }, "gdk fills in its own, not a script's variables"


def test_broken_yaml_is_told_with_its_place_and_no_picture() -> None:
    with pytest.raises(ValueError, match=r"^correct its syntax: [^<]+: line 2 column 6$"):
        lint.read("Manifests: [\n  a: }\n")


def test_yaml_s_dates_and_numbers_stay_what_was_written() -> None:
    read = lint.read("RecipeFormatVersion: 2020-01-25\nComponentVersion: 1.10\n")
    assert read == {"RecipeFormatVersion": "2020-01-25", "ComponentVersion": "1.10"}


def test_the_rules_are_listed_with_their_reasons() -> None:
    done = run("--rules")
    assert done.exit_code == 0
    for rule in rules.RULES:
        assert re.search(rf"^{rule.name}: {rule.severity}, {rule.bites}: ", done.stdout, re.M)
        assert rule.reason in done.stdout


@pytest.mark.parametrize("arguments", [["--rules"], [str(RECIPES / "cdk-container.json")]])
def test_a_terminal_gets_a_table_with_every_word_of_it(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = Console(force_terminal=True, width=400, color_system=None)
    monkeypatch.setattr(terminal_, "console", lambda: wide)
    with wide.capture() as shown:
        run(*arguments)
    assert "docker-option-late" in shown.get()
    assert "an option after the image" in shown.get()
    if "--rules" not in arguments:
        assert "Manifests[0].Lifecycle.Run" in shown.get(), "brackets are no markup"
        assert Severity.ERROR in shown.get()


@pytest.mark.parametrize("terminal", [True, False])
def test_names_in_a_recipe_are_text_on_a_terminal_and_in_a_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    wide = Console(force_terminal=terminal, width=400, color_system=None, markup=False)
    monkeypatch.setattr(terminal_, "console", lambda: wide)
    folder = tmp_path / "[red]\x1b]0;title\x07"
    folder.mkdir()
    recipe = {"RecipeFormatVersion": "2020-01-25", "\x1b[2Jkey\u202e": 1, "ComponentName": "a\rb"}
    (folder / "recipe.json").write_text(json.dumps(recipe))
    with wide.capture() as shown:
        piped = run(folder).output
    said = shown.get() if terminal else piped
    assert "recipe.json" in said
    assert not {"\x1b", "\r", "\u202e", "\x07"} & set(said)
    assert "[red]" in said
