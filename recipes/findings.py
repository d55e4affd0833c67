"""The shape of a finding: what is wrong, how much it matters, what to type.

The linter and the preflight share it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How much a finding matters."""

    ERROR = "error"  # On at least one of the runtimes the recipe fails.
    WARNING = "warning"  # It works now, and will fail later.
    INFO = "info"  # It works, but it does less than the text says.


class Bites(StrEnum):
    """The runtimes on which it matters: Nucleus Lite, the Java nucleus, or both."""

    LITE = "Lite"
    JAVA = "Java"
    BOTH = "both"


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A rule with its reason, and the source of the reason."""

    name: str
    severity: Severity
    bites: Bites
    reason: str
    source: str


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A place where a rule is broken."""

    rule: Rule
    where: str  # A path in the recipe, or a device, or a role.
    fix: str = ""
    commands: tuple[str, ...] = ()  # The commands of the fix, where there are any.

    @property
    def line(self) -> str:
        """The finding in one line, the place first."""
        rule, fix = self.rule, "; ".join(filter(None, [self.fix, *self.commands]))
        return f"{self.where}: {rule.severity} {rule.name}: {rule.reason} → {fix}"

    @property
    def text(self) -> str:
        """The place, the reason and the fix, with each command on a line of its own."""
        lines = [f"{self.where} ({self.rule.name})", self.rule.reason, self.fix]
        return "\n".join([*filter(None, lines), *(f"    {one}" for one in self.commands)])
