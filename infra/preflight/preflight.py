"""Runs the checks of a release and its target before anything is made.

They find out whether the target's devices can run the release, whether their role may read it, and
whether the recipes are portable. Settings are checked before, and the model and its samples after.
If AWS refuses an answer here, that is a warning: a person who may deploy need not have the right to
read everything. The target itself must be readable (`Target.find`).
"""

from __future__ import annotations

from dataclasses import replace

import pulumi

from infra.account.context import Context
from infra.account.target import Target
from infra.preflight import device, neighbours, role, unread
from infra.preflight import target as targets
from infra.preflight.release_needs import Wanted
from infra.publish.release_records import Record
from infra.settings import Misconfigured, Settings
from recipes import rules
from recipes.findings import Finding, Severity

RULES = (*targets.RULES, *neighbours.RULES, *device.RULES, *role.RULES, unread.NOT_READABLE)


def check(
    settings: Settings,
    context: Context,
    target: Target | None,
    pinned: Record | None = None,
) -> None:
    """Print findings and warnings. Raises Misconfigured with all errors at once."""
    found = findings(settings, context, target, pinned)
    for one in found:
        if one.rule.severity is Severity.WARNING:
            pulumi.log.warn(one.text)
        # `make lint` shows the recipes' findings.
        if one.rule.severity is Severity.INFO and one.rule in RULES:
            pulumi.log.info(one.text)
    if errors := [one.text for one in found if one.rule.severity is Severity.ERROR]:
        raise Misconfigured("\n".join(["nothing was changed:", *errors]))


def findings(
    settings: Settings,
    context: Context,
    target: Target | None,
    pinned: Record | None = None,
) -> list[Finding]:
    """All findings that a preview can know. It only reads."""
    wanted = Wanted.of(settings, context, pinned)
    found = [
        replace(one, where=f"{given['ComponentName']}: {one.where}")
        for given in wanted.recipes
        for one in rules.findings(given)
    ]
    if target:
        found += targets.findings(settings, context, target, wanted)
        found += neighbours.findings(settings, context, target, wanted)
        found += device.findings(settings, target, wanted)
        found += role.findings(settings, context, wanted)
    return found
