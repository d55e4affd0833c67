"""The rules for recipes that both runtimes run, as functions from a recipe to findings.

Greengrass takes almost any recipe. What a device then does with it differs between the Java nucleus
and Nucleus Lite. Neither runtime reports what it doesn't do. Lite skips a `Run` or loses the exit
code of a `startup`, and calls both a success. Each rule has a source: the public code or
documentation of Greengrass, or a trial on the two runtimes (Java nucleus 2.18, Nucleus Lite 2.6,
November 2026). A chapter of rules is a module. Its import registers its rules.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from recipes.document import Recipe
from recipes.findings import Finding, Rule, Severity
from recipes.rules import (  # noqa: F401  # each registers its rules
    containers,
    dependencies,
    images,
    lifecycle,
    platforms,
    required,
    rights,
    spelling,
    variables,
)
from recipes.rules.register import BOTH, CHECKS, ERROR

READABLE = Rule(  # For human readers.
    name="readable",
    severity=ERROR,
    bites=BOTH,
    reason="the cloud takes JSON, which begins with {, and YAML",
    source="nx-plugin-for-aws #1265",
)

RULES: tuple[Rule, ...] = (READABLE, *(rule for rule, _ in CHECKS))


def findings(recipe: Mapping[str, Any], *, size: int | None = None) -> list[Finding]:
    """What is wrong with a recipe, errors first.

    `size` is the size of its text in bytes, by default that of compact JSON.
    """
    if size is None:
        size = len(json.dumps(recipe, separators=(",", ":"), default=str).encode())
    read = Recipe(given=recipe, bytes=size)
    found = [
        Finding(rule=rule, where=where, fix=fix)
        for rule, check in CHECKS
        for where, fix in check(read)
    ]
    return sorted(found, key=lambda one: list(Severity).index(one.rule.severity))
