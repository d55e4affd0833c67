"""What is wrong, how much it matters, what to type: one shape for linter and preflight."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How much a finding matters."""

    ERROR = "error"  # on at least one of the runtimes it won't do what it says
    WARNING = "warning"  # it works, and will hurt some day
    INFO = "info"  # it works, but less of it happens than the text says


class Bites(StrEnum):
    """Where it matters: Nucleus Lite, the Java nucleus, or both."""

    LITE = "Lite"
    JAVA = "Java"
    BOTH = "both"


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A rule with its reason, and where to read or see that the reason is true."""

    name: str
    severity: Severity
    bites: Bites
    reason: str
    source: str


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A rule that is broken somewhere."""

    rule: Rule
    where: str  # a path in the recipe, or a device, or a role
    fix: str

    @property
    def line(self) -> str:
        """All of it in one line, the place first."""
        rule = self.rule
        return f"{self.where}: {rule.severity} {rule.name}: {rule.reason} → {self.fix}"
