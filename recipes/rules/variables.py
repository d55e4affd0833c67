"""Rules for recipe variables."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from recipes.document import Recipe, get, texts
from recipes.rules.register import (
    BOTH,
    ERROR,
    GUIDE,
    INFO,
    JAVA,
    LITE,
    LITE_CHANGES,
    TRIED,
    VARIABLE,
    WARNING,
    Found,
    rule,
)
from recipes.shell import unquoted

_PATH = re.compile(
    r"\{(?:artifacts|work|kernel):\w+\}|\$AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT\b"
)


@rule("script-brace", ERROR, LITE, f"{TRIED} (lite-interp-bad-*, lite-setenv-bad)")
def _script_brace(recipe: Recipe) -> Found:
    """Lite takes every { in a script for a recipe variable, and fails on any other use."""
    for where, text in _interpolated(recipe):
        if "{" in (rest := VARIABLE.sub("", text)):
            found = rest[max(rest.index("{") - 1, 0) :].split("\n")[0][:24]
            yield where, f"write it without braces ($NAME for a variable): {found}"


@rule("variable-of-another", ERROR, LITE, LITE_CHANGES)
def _variable_of_another(recipe: Recipe) -> Found:
    """Lite has no variables of other components."""
    for where, text in _interpolated(recipe):
        for match in VARIABLE.finditer(text):
            if match[1]:
                yield where, f"give the component the value itself: {match[0]}"


@rule("variable-pointer", ERROR, JAVA, f"{TRIED} (java-interp-bad)")
def _variable_pointer(recipe: Recipe) -> Found:
    """a configuration variable without its leading slash fails the whole deployment on Java."""
    for where, text in _interpolated(recipe):
        for match in VARIABLE.finditer(text):
            if match[2] == "configuration" and not match[3].startswith("/"):
                yield where, f"write {{configuration:/{match[3]}}}"


@rule("variable-missing", WARNING, BOTH, f"{TRIED} (lite-interp-bad-xbmiss, java-interp-bad-3)")
def _variable_missing(recipe: Recipe) -> Found:
    """if no deployment sets the value, Lite fails the step and Java leaves the variable as text."""
    for where, text in _interpolated(recipe):
        for match in VARIABLE.finditer(text):
            of_another, kind, pointer = match.groups()
            own = kind == "configuration" and not of_another and pointer.startswith("/")
            if own and not _has(recipe.defaults, pointer):
                yield where, f"give DefaultConfiguration a value at {pointer}, outside of any list"


def _has(value: Any, pointer: str) -> bool:
    """Whether a JSON pointer leads to a value, in exactly this spelling.

    Lite stores a list as one value, and finds nothing in it (aws-greengrass-lite, ggconfigd).
    """
    for step in pointer.strip("/").split("/"):
        key = step.replace("~1", "/").replace("~0", "~")
        if not isinstance(value, dict) or key not in value:
            return False
        value = value[key]
    return True


@rule("variable-quoting", INFO, BOTH, f"{TRIED} (lite-env-interp-exit0, java-env-interp-exit0)")
def _variable_quoting(recipe: Recipe) -> Found:
    """Lite quotes a configuration's value for the shell, and Java inserts it raw."""
    for step in recipe.steps:
        if "{configuration:" in step.script:
            yield step.where, "use only values that need no quotes, or pass them by Setenv"


@rule("path-unquoted", WARNING, BOTH, f"{TRIED}: conan-package-tools #259")
def _path_unquoted(recipe: Recipe) -> Found:
    """a space in the path of the Greengrass root would split it into two words."""
    for step in recipe.steps:
        for path in dict.fromkeys(unquoted(step.script, _PATH)):
            yield step.where, f'write it in double quotes: "{path}…"'


@rule("variable-in-default", WARNING, BOTH, f"{GUIDE}, recipe variables; {LITE_CHANGES}")
def _variable_in_default(recipe: Recipe) -> Found:
    """a variable in a default is replaced only if the Java nucleus is configured to do so."""
    for key, value in recipe.defaults.items():
        if key.lower() != "accesscontrol":
            for where, text in texts(f"DefaultConfiguration.{key}", value):
                if VARIABLE.search(text):
                    yield where, "use the variable in the script"


def _interpolated(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """The texts in which runtimes look for variables: scripts and their environments."""
    for step in recipe.steps:
        yield step.where, step.script
        yield from texts(f"{step.where}.Setenv", get(step.settings, "Setenv"))
    for manifest in recipe.manifests:
        yield from texts(f"{manifest.where}.Lifecycle.Setenv", get(manifest.lifecycle, "Setenv"))
