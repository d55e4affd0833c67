"""The device's token exchange role: may it fetch this object, may it pull that image?

MiniStack answers everybody, so the device makes AWS' check itself. It reads the role's own
policies, inline and attached. An explicit Deny wins, then any Allow counts, else the answer is no.
Conditions are not evaluated: an Allow with a condition doesn't count, a Deny with one does, and the
log says so. So no condition makes a download work that would fail on AWS.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from greenhouse.device.errors import AWS_ERRORS, DeploymentFailed, ErrorCode, aws_code

if TYPE_CHECKING:
    from mypy_boto3_iam import IAMClient

log = logging.getLogger(__name__)


class Role:
    """A role. Its policies are read when they are first needed."""

    def __init__(self, iam: IAMClient, name: str) -> None:
        self._iam, self._name = iam, name
        self._statements: list[Mapping[str, Any]] | None = None

    def allows(self, action: str, resource: str) -> bool:
        """Whether the role may do this. A missing role may do nothing. Raises DeploymentFailed."""
        if self._statements is None:
            self._statements = self._read()
        return evaluate(self._statements, action, resource)

    def _read(self) -> list[Mapping[str, Any]]:
        try:
            return [
                statement
                for policy in _policies(self._iam, self._name)
                for statement in _listed(policy, "Statement")
            ]
        except AWS_ERRORS as error:
            if aws_code(error) == "NoSuchEntity":
                log.warning("role %s does not exist: the device may fetch nothing", self._name)
                return []
            raise DeploymentFailed(
                f"The policies of the device's role {self._name} can't be read: {error}",
                ErrorCode.NETWORK_ERROR,
            ) from error


def _policies(iam: IAMClient, role: str) -> Iterator[Mapping[str, Any]]:
    for page in iam.get_paginator("list_role_policies").paginate(RoleName=role):
        for name in page["PolicyNames"]:
            inline: Any = iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
            yield inline
    for attached in iam.get_paginator("list_attached_role_policies").paginate(RoleName=role):
        for policy in attached["AttachedPolicies"]:
            arn = policy["PolicyArn"]
            version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
            found = iam.get_policy_version(PolicyArn=arn, VersionId=version)
            document: Any = found["PolicyVersion"]["Document"]
            yield document


def evaluate(statements: list[Mapping[str, Any]], action: str, resource: str) -> bool:
    """IAM's decision for one identity: https://docs.aws.amazon.com/IAM/latest/UserGuide/
    reference_policies_evaluation-logic.html"""
    effects = {
        statement["Effect"]
        for statement in statements
        if _covers(statement, "Action", action.lower(), fold=True)
        and _covers(statement, "Resource", resource, fold=False)
        and (not _conditional(statement) or statement["Effect"] == "Deny")
    }
    return effects == {"Allow"}


def _conditional(statement: Mapping[str, Any]) -> bool:
    if statement.get("Condition"):
        log.warning("statement %s has a Condition: not evaluated", statement.get("Sid", "(no Sid)"))
        return True
    return False


def _covers(statement: Mapping[str, Any], kind: str, value: str, *, fold: bool) -> bool:
    """Whether Action or Resource covers the value.

    For NotAction and NotResource: whether it doesn't.
    """
    name = kind if kind in statement else f"Not{kind}"
    matched = any(
        re.fullmatch(_pattern(text.lower() if fold else text), value)
        for text in _listed(statement, name)
    )
    return matched is (name == kind)


def _pattern(text: str) -> str:
    return re.escape(text).replace(r"\*", ".*").replace(r"\?", ".")


def _listed(document: Mapping[str, Any], key: str) -> list[Any]:
    value = document.get(key, [])
    return value if isinstance(value, list) else [value]
