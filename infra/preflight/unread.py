"""The warning for what AWS refuses to show in a check."""

from __future__ import annotations

from botocore.exceptions import ClientError

from infra.account.clients import error_code
from recipes.findings import Bites, Finding, Rule, Severity

NOT_READABLE = Rule(
    name="not-readable",
    severity=Severity.WARNING,
    bites=Bites.BOTH,
    reason="what AWS refuses to show isn't checked, so an error shows only on the device",
    source="IAM, Greengrass",
)


def withheld(where: str, error: ClientError) -> Finding:
    asked, code = error.operation_name, error_code(error)
    return Finding(
        rule=NOT_READABLE,
        where=where,
        fix=f"allow {asked} to whoever runs this, or ignore it ({code})",
    )
