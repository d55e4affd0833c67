"""Rules for steps, and for how they succeed and fail."""

from __future__ import annotations

import re

from recipes.document import Recipe, as_map, get
from recipes.rules.register import (
    BOTH,
    ERROR,
    GUIDE,
    INFO,
    LITE,
    LITE_CHANGES,
    TRIED,
    WARNING,
    Found,
    rule,
    steps_named,
)


@rule("global-lifecycle", ERROR, LITE, LITE_CHANGES)
def _global_lifecycle(recipe: Recipe) -> Found:
    """Lite takes a global lifecycle only under the key `all`."""
    everywhere = as_map(get(recipe.given, "Lifecycle"))
    if everywhere and "all" not in everywhere:
        yield "Lifecycle", "move the steps into the manifest's own Lifecycle"


@rule("startup-or-run", ERROR, BOTH, f"{GUIDE}, component recipe reference")
def _startup_or_run(recipe: Recipe) -> Found:
    """a component has either a startup or a run."""
    for place, names in _steps_by_place(recipe).items():
        if {"startup", "run"} <= names:
            yield place, "keep one (startup if it has to succeed)"


def _steps_by_place(recipe: Recipe) -> dict[str, set[str]]:
    """The names of the steps of each lifecycle, a manifest's and the global one."""
    found: dict[str, set[str]] = {}
    for step in recipe.steps:
        found.setdefault(step.where.rpartition(".")[0], set()).add(step.name)
    return found


@rule("component-type", ERROR, LITE, LITE_CHANGES)
def _component_type(recipe: Recipe) -> Found:
    """Lite runs generic components only."""
    kind = recipe.text("ComponentType")
    if kind and kind != "aws.greengrass.generic":
        yield "ComponentType", f"{kind} has no portable form: make it a generic component"


@rule("lite-has-none", INFO, LITE, LITE_CHANGES)
def _lite_has_none(recipe: Recipe) -> Found:
    """Lite ignores it, so the SIGTERM handler has to do what must happen at a stop."""
    for step in recipe.steps:
        if step.name in ("shutdown", "recover", "uninstall"):
            yield step.where, "keep it for Java, and let the program clean up on SIGTERM"
        if get(step.settings, "Skipif") is not None:
            yield (
                f"{step.where}.Skipif",
                "let the script itself check whether it has to do anything",
            )


@rule("startup-leaves-early", ERROR, LITE, f"{TRIED} (lite-startup-exit0)")
def _startup_leaves_early(recipe: Recipe) -> Found:
    """Lite adds a notification to the script's end, so a shell that exits before it has failed."""
    for step in steps_named(recipe, "startup"):
        if any(
            command.replaces_shell
            or command.words == ("exit", "0")
            or (command.after != "||" and command.words in (("exit",), ("exit", "$?")))
            for command in step.commands
        ):
            yield step.where, "let a good start reach the end of the script"


@rule("startup-gate", ERROR, LITE, f"{TRIED} (lite-startup-ok, lite-startup-exit1)")
def _startup_gate(recipe: Recipe) -> Found:
    """Lite's added line hides the script's exit code, so a failed start counts as a success."""
    for step in steps_named(recipe, "startup"):
        ends = step.commands[-1:]
        # The good case exits early: see startup-leaves-early.
        guarded = any(end.words[0] == "exit" for end in ends)
        strict = any(
            command.words[0] == "set" and re.match(r"-\w*e", "".join(command.words[1:2]))
            for command in step.commands
        )
        if ends and not guarded and not strict:
            yield step.where, "end the script with: || exit 1"


@rule("install-timeout", WARNING, BOTH, f"{GUIDE}, component recipe reference")
def _install_timeout(recipe: Recipe) -> Found:
    """an install is killed after 120 seconds, and a slow network easily takes longer."""
    for step in steps_named(recipe, "install"):
        fetches = any(
            {"install", "pull", "build"} & set(command.words) for command in step.commands
        )
        if fetches and get(step.settings, "Timeout") is None:
            yield step.where, "give the step a Timeout in seconds"


# Options with a value: https://pip.pypa.io/en/stable/cli/pip_install/
_PIP_OPTIONS = frozenset(
    {
        *("-C", "-c", "-d", "-e", "-f", "-i", "-r", "-t", "--abi", "--cache-dir"),
        *("--cert", "--client-cert", "--config-settings", "--constraint", "--editable"),
        *("--exists-action", "--extra-index-url", "--find-links", "--implementation"),
        *("--index-url", "--log", "--no-binary", "--only-binary", "--platform", "--prefix"),
        *("--progress-bar", "--proxy", "--python", "--python-version", "--report"),
        *("--requirement", "--retries", "--root", "--src", "--target", "--timeout"),
        *("--trusted-host", "--upgrade-strategy", "--use-feature"),
    }
)


@rule("pip-unpinned", WARNING, BOTH, "pip.pypa.io/en/stable/topics/repeatable-installs")
def _pip_unpinned(recipe: Recipe) -> Found:
    """the next device, or the next day, gets another version under the same component version."""
    for step in recipe.steps:
        for command in step.commands:
            for package in _pip_packages(list(command.words)):
                if package != "." and not re.search(r"==|@|[/\\$]|\.whl$", package):
                    yield step.where, f"write {re.split('[<>=~!;]', package)[0]}==VERSION"


def _pip_packages(words: list[str]) -> list[str]:
    """The names that `pip install` is given."""
    at = next(
        (
            number
            for number, word in enumerate(words[:-1])
            if re.fullmatch(r"(.*/)?pip[\d.]*", word) and words[number + 1] == "install"
        ),
        None,
    )
    if at is None:
        return []
    packages, rest = [], words[at + 2 :]
    while rest:
        word = rest.pop(0)
        if word in _PIP_OPTIONS:
            rest = rest[1:]
        elif not word.startswith(("-", "{")):
            packages.append(word)
    return packages


@rule("sudo", WARNING, BOTH, f"{GUIDE}, component recipe reference")
def _sudo(recipe: Recipe) -> Found:
    """the user that runs components is usually no sudoer, and nobody types its password."""
    for step in recipe.steps:
        if any(command.name == "sudo" for command in step.commands):
            yield step.where, "drop sudo and write RequiresPrivilege: true"
