"""The warning for what a check can't read."""

from __future__ import annotations

from botocore.exceptions import ClientError

from infra.account.clients import error_code
from recipes.findings import Bites, Finding, Rule, Severity

NOT_READABLE = Rule(
    name="not-readable",
    severity=Severity.WARNING,
    bites=Bites.BOTH,
    reason="what can't be read isn't checked, so an error shows only on the device",
    source="IAM, Greengrass",
)


def withheld(where: str, error: ClientError) -> Finding:
    """AWS refuses to show it."""
    asked, code = error.operation_name, error_code(error)
    return Finding(
        rule=NOT_READABLE,
        where=where,
        fix=f"allow {asked} to whoever runs this, or ignore it ({code})",
    )


def unparsed(where: str, why: str) -> Finding:
    """A recipe has a form that this program doesn't know."""
    return Finding(
        rule=NOT_READABLE,
        where=where,
        fix=f"compare its topics and its memory with this stack's yourself ({why})",
    )
