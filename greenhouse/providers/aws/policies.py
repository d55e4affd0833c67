"""The rules for policy documents that AWS checks when they are stored, and MiniStack doesn't.

The messages are those of S3 and IAM.
"""

from __future__ import annotations

import json
import re
from typing import Any

from greenhouse.providers.aws.common import aws_error

MAX_INLINE = 10_240  # Characters of all inline policies of a role: "IAM and STS quotas".


def refuse_malformed_bucket_policy(bucket: str, text: str) -> None:
    """Raise S3's MalformedPolicy for a policy that PutBucketPolicy doesn't take."""

    def refused(message: str) -> Exception:
        return aws_error("MalformedPolicy", message, operation="PutBucketPolicy")

    if not (statements := _statements(text)):
        raise refused("Could not parse the policy: Statement is empty!")
    for statement in statements:
        for field in ("Principal", "Action", "Resource"):
            if not (statement.get(field) or statement.get(f"Not{field}")):
                raise refused(f"Missing required field {field}")
        for resource in _listed(statement.get("Resource") or statement["NotResource"]):
            if not re.fullmatch(rf"arn:aws:s3:::{re.escape(bucket)}(/.*)?", str(resource)):
                raise refused("Policy has invalid resource")


def refuse_malformed_role_policy(text: str) -> None:
    """Raise IAM's MalformedPolicyDocument for a policy that PutRolePolicy doesn't take."""

    def refused(message: str) -> Exception:
        return aws_error("MalformedPolicyDocument", message, operation="PutRolePolicy")

    if not (statements := _statements(text)):
        raise refused("Syntax errors in policy.")
    for statement in statements:
        if statement.get("Principal") or statement.get("NotPrincipal"):
            raise refused("Policy document should not specify a principal.")
        for field in ("Action", "Resource"):
            if not (statement.get(field) or statement.get(f"Not{field}")):
                raise refused(f"Policy statement must contain {field.lower()}s.")


def _statements(text: str) -> list[dict[str, Any]]:
    return _listed(json.loads(text)["Statement"])


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
