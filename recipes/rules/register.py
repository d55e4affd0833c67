"""Registers the rules, and names the sources that several rules cite."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from recipes.document import Recipe, Step
from recipes.findings import Bites, Rule, Severity

ERROR, WARNING, INFO = Severity.ERROR, Severity.WARNING, Severity.INFO
LITE, JAVA, BOTH = Bites.LITE, Bites.JAVA, Bites.BOTH

TRIED = "tried on the runtimes"
GUIDE = "Greengrass developer guide"
LITE_CHANGES = "aws-greengrass-lite docs/RECIPE_SUPPORT_CHANGES.md"
COMMON = "aws-greengrass-component-common"
NUCLEUS = "aws-greengrass-nucleus"

VARIABLE = re.compile(r"\{([\w.-]+:)?(configuration|artifacts|work|kernel|iot):([^:{}]*)\}")

Found = Iterable[tuple[str, str]]  # Where, and what to write instead.
# Those of the chapters that were imported.
CHECKS: list[tuple[Rule, Callable[[Recipe], Found]]] = []


def rule(
    name: str, severity: Severity, bites: Bites, source: str
) -> Callable[[Callable[[Recipe], Found]], Callable[[Recipe], Found]]:
    """Make a rule of a function. Its docstring, in one line, is the reason."""

    def register(check: Callable[[Recipe], Found]) -> Callable[[Recipe], Found]:
        reason = " ".join((check.__doc__ or "").split()).rstrip(".")
        made = Rule(name=name, severity=severity, bites=bites, reason=reason, source=source)
        CHECKS.append((made, check))
        return check

    return register


def steps_named(recipe: Recipe, name: str) -> Iterator[Step]:
    """The steps of this name in every manifest."""
    return (step for step in recipe.steps if step.name == name)
