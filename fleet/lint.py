"""Checks whether recipes run on both runtimes: the preflight's rules for any file or folder."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fleet import terminal
from fleet.terminal import words
from infra.errors import told
from infra.printable import printable
from recipes.findings import Finding, Rule, Severity
from recipes.rules import READABLE, RULES, findings

_COLOURS = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.INFO: "cyan"}
_COMMAND = "make lint RECIPE=recipe.yaml"
_ENDINGS = (".json", ".yaml", ".yml")
# The documentation of `gdk component build` says that it replaces these placeholders.
_PLACEHOLDERS = {
    "COMPONENT_NAME": "com.example.Component",
    "COMPONENT_VERSION": "1.0.0",
    "COMPONENT_AUTHOR": "somebody",
    "BUCKET_NAME": "bucket",
}
_PLACEHOLDER = re.compile(rf"(?<![$\w{{])(\{{)?({'|'.join(_PLACEHOLDERS)})(?(1)\}})(?!\w)")


def lint(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="PATH", help="Recipe files (JSON or YAML), or folders to look for them in."
        ),
    ] = None,
    rules: Annotated[
        bool, typer.Option("--rules", help="List the rules and their reasons.")
    ] = False,
) -> None:
    """Check recipes against what the Java nucleus and Nucleus Lite really do.

    Exits with 1 after an error, and with 2 if there was nothing to check.
    """
    console = terminal.console()
    if rules:
        _show_rules(console, RULES)
        return
    if not paths:
        raise typer.BadParameter(
            told(
                "no recipe is named.",
                "Name files or folders, or list the rules:",
                _COMMAND,
                "make lint",
            )
        )
    found = [(file, finding) for path in paths for file in recipes(path) for finding in check(file)]
    if console.is_terminal:
        _show(console, found)
    else:
        for file, finding in found:
            typer.echo(printable(f"{file}:{finding.line}"))
    if any(finding.rule.severity is Severity.ERROR for _, finding in found):
        raise typer.Exit(1)


def recipes(path: Path) -> list[Path]:
    """The file itself, or every recipe below a folder. Raises BadParameter if there is none."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise typer.BadParameter(
            told(f"{path} is neither a file nor a folder.", "Name one that is:", _COMMAND)
        )
    if found := sorted(_below(path)):
        return found
    raise typer.BadParameter(
        told(
            f"no file below {path} has a RecipeFormatVersion.", "Name the recipe itself:", _COMMAND
        )
    )


def _below(folder: Path) -> Iterator[Path]:
    for file in folder.rglob("*"):
        inside = file.relative_to(folder).parts
        hidden = any(part.startswith(".") or part == "node_modules" for part in inside)
        if not hidden and file.suffix in _ENDINGS and file.is_file():
            head = file.read_text(errors="replace").lower()
            if "recipeformatversion" in head:
                yield file


def check(file: Path) -> list[Finding]:
    """The findings of one file."""
    text = file.read_text(errors="replace")
    try:
        recipe = read(text)
    except ValueError as error:
        return [Finding(rule=READABLE, where="file", fix=str(error))]
    return findings(recipe, size=len(text.encode()))


def read(text: str) -> dict[str, Any]:
    """A recipe, with gdk's placeholders replaced. Raises ValueError with the place of an error."""
    filled = _PLACEHOLDER.sub(lambda match: _PLACEHOLDERS[match[2]], text)
    try:
        # The cloud also tells JSON from YAML by the first byte. BaseLoader keeps 2020-01-25 and
        # 1.10 the words they are, and makes nothing but strings, lists and mappings.
        recipe = (
            json.loads(filled)
            if filled.startswith("{")
            else yaml.load(filled, Loader=yaml.BaseLoader)  # noqa: S506
        )
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f": line {mark.line + 1} column {mark.column + 1}" if mark else ""
        raise ValueError(f"correct its syntax: {error.problem or error.context}{where}") from error
    except (ValueError, yaml.YAMLError) as error:
        raise ValueError(f"correct its syntax: {' '.join(str(error).split())}") from error
    if not isinstance(recipe, dict):
        kind = type(recipe).__name__
        raise ValueError(f"a recipe is a mapping of keys, this is a {kind}")  # noqa: TRY004  # text
    return recipe


def _show(console: Console, found: Sequence[tuple[Path, Finding]]) -> None:
    table = Table(box=None, pad_edge=False)
    for heading in ("where", "rule", "why, and what to write"):
        # The whole text is shown, so that it can be typed.
        table.add_column(heading, overflow="fold")
    shown: Path | None = None
    for file, finding in found:
        if file != shown:
            table.add_row(words(str(file), "bold"))
            shown = file
        rule = finding.rule
        table.add_row(
            words(f"  {finding.where}"),
            Text(f"{rule.severity} {rule.name}", _COLOURS[rule.severity]),
            Text.assemble(rule.reason, "\n→ ", words(finding.fix, "bold")),
        )
    console.print(table if found else "nothing to correct")


def _show_rules(console: Console, rules: Sequence[Rule]) -> None:
    if not console.is_terminal:
        for rule in rules:
            typer.echo(f"{rule.name}: {rule.severity}, {rule.bites}: {rule.reason} ({rule.source})")
        return
    table = Table("rule", "severity", "bites on", "why", "source", box=None, pad_edge=False)
    for rule in rules:
        table.add_row(
            rule.name,
            Text(rule.severity, _COLOURS[rule.severity]),
            rule.bites,
            Text(rule.reason),
            Text(rule.source, "dim"),
        )
    console.print(table)
