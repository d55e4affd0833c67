"""Checks whether the devices' role can read the release and has room for its policy.

It can't check whether a device really uses `device-role`, because only the device's own
configuration has the name of its role alias. With a wrong role, the device's download fails.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from infra import policies
from infra.account.context import Context
from infra.preflight.release_needs import Wanted
from infra.preflight.unread import NOT_READABLE, withheld
from infra.settings import Settings
from recipes.findings import Bites, Finding, Rule, Severity

if TYPE_CHECKING:
    from mypy_boto3_iam import IAMClient

_CREDENTIALS_SERVICE = "credentials.iot.amazonaws.com"
_MOST_INLINE = 10_240  # In characters: "IAM and STS quotas". AWS doesn't raise this limit.

ROLE_MISSING = Rule(
    name="role-missing",
    severity=Severity.ERROR,
    bites=Bites.BOTH,
    reason="the rights to read the release would go to a role that doesn't exist",
    source="IAM GetRole",
)
ROLE_TRUST = Rule(
    name="role-trust",
    severity=Severity.ERROR,
    bites=Bites.BOTH,
    reason="a device gets no credentials from a role that doesn't trust AWS IoT's credentials"
    " provider",
    source="Greengrass developer guide, token exchange role",
)
ROLE_RIGHTS = Rule(
    name="role-rights",
    severity=Severity.ERROR,
    bites=Bites.BOTH,
    reason="the device couldn't download the release, even with the rights that this update adds",
    source="IAM SimulatePrincipalPolicy",
)
ROLE_FULL = Rule(
    name="role-full",
    severity=Severity.ERROR,
    bites=Bites.BOTH,
    reason="a role's inline policies may have 10,240 characters together, and IAM would refuse"
    " ours in the middle of the update",
    source="IAM quotas, PutRolePolicy",
)
RULES = (ROLE_MISSING, ROLE_TRUST, ROLE_RIGHTS, ROLE_FULL)


def _another_role(region: str) -> tuple[str, ...]:
    return (  # The device's config.yaml names its iotRoleAlias.
        f"aws iot describe-role-alias --role-alias ALIAS --region {region}",
        "pulumi config set device-role ROLE",
    )


def findings(settings: Settings, context: Context, wanted: Wanted) -> Iterator[Finding]:
    name, client = settings.device_role, context.clients.iam
    ours = policies.read_release(objects=wanted.objects, repository=wanted.repository)
    try:
        role = client.get_role(RoleName=name)["Role"]
    except client.exceptions.NoSuchEntityException:
        yield Finding(
            rule=ROLE_MISSING,
            where=name,
            fix="set the role of the iotRoleAlias in the device's config.yaml:",
            commands=_another_role(context.region),
        )
        return
    except ClientError as error:
        yield withheld(f"role {name}", error)
        return
    if not _trusts_credentials_service(role["AssumeRolePolicyDocument"]):
        yield Finding(
            rule=ROLE_TRUST,
            where=name,
            fix=f"let {_CREDENTIALS_SERVICE} do sts:AssumeRole in its trust policy, or set the"
            " role of the iotRoleAlias in the device's config.yaml:",
            commands=_another_role(context.region),
        )
    try:
        yield from _rights(name, role["Arn"], client, ours)
    except ClientError as error:
        yield withheld(f"the rights of role {name}", error)
    try:
        yield from _room(name, client, context.policy, ours)
    except ClientError as error:
        yield withheld(f"the inline policies of role {name}", error)


def _trusts_credentials_service(document: Any) -> bool:
    """Whether a trust policy lets the credentials provider assume the role. Ignores conditions."""
    return any(
        statement["Effect"] == "Allow"
        and {"sts:AssumeRole", "sts:*", "*"} & set(_several(statement.get("Action")))
        and any(
            str(service).startswith(_CREDENTIALS_SERVICE)
            for service in _several(statement.get("Principal", {}).get("Service"))
        )
        for statement in _several(document["Statement"])
        if isinstance(statement.get("Principal"), dict)
    )


def _several(value: Any) -> list[Any]:
    """A list; IAM writes a list of one element as the element."""
    return value if isinstance(value, list) else [] if value is None else [value]


def _rights(name: str, arn: str, client: IAMClient, ours: Mapping[str, Any]) -> Iterator[Finding]:
    """Ask IAM what the role may do with our policy. Boundaries and denials count."""
    simulator = client.get_paginator("simulate_principal_policy")
    for statement in ours["Statement"]:
        pages = simulator.paginate(
            PolicySourceArn=arn,
            ActionNames=_several(statement["Action"]),
            ResourceArns=_several(statement["Resource"]),
            PolicyInputList=[json.dumps(ours)],
        )
        decided = {  # One of all resources with the same decision is enough.
            (one["EvalActionName"], one["EvalDecision"]): one
            for page in pages
            for one in page["EvaluationResults"]
        }
        for result in decided.values():
            where = f"{name} ({result['EvalActionName']}: {result['EvalDecision']})"
            if result["EvalDecision"] == "allowed":
                continue
            # They belong to conditions, so the answer may differ.
            if unknown := result.get("MissingContextValues"):
                fix = f"look at the role's conditions on {', '.join(unknown)}"
                yield Finding(rule=NOT_READABLE, where=where, fix=fix)
            else:
                yield Finding(rule=ROLE_RIGHTS, where=where, fix=_lift(result))


def _room(name: str, client: IAMClient, policy: str, ours: Mapping[str, Any]) -> Iterator[Finding]:
    """Count the role's inline policies after the update, with our new policy."""
    pages = client.get_paginator("list_role_policies").paginate(RoleName=name)
    sizes = {
        one: _size(client.get_role_policy(RoleName=name, PolicyName=one)["PolicyDocument"])
        for page in pages
        for one in page["PolicyNames"]
        if one != policy
    } | {policy: _size(ours)}
    if (total := sum(sizes.values())) > _MOST_INLINE:
        listed = ", ".join(f"{one} {size:,}" for one, size in sorted(sizes.items()))
        yield Finding(
            rule=ROLE_FULL,
            where=f"{name} ({total:,} with ours: {listed})",
            fix="destroy a stack that isn't needed any more, or give these devices a role of their"
            " own:",
            commands=("pulumi config set device-role ROLE",),
        )


def _size(document: Any) -> int:
    """The size as IAM counts it, without white space."""
    return len(json.dumps(document, separators=(",", ":"), ensure_ascii=False))


def _lift(result: Mapping[str, Any]) -> str:
    """Which kind of policy denies the action."""
    resource = result.get("EvalResourceName", "*")
    if not result.get("PermissionsBoundaryDecisionDetail", {}).get(
        "AllowedByPermissionsBoundary", True
    ):
        return f"allow it on {resource} in the role's permissions boundary"
    if not result.get("OrganizationsDecisionDetail", {}).get("AllowedByOrganizations", True):
        return f"ask who keeps the organization's policies to allow it on {resource}"
    blockers = sorted({one["SourcePolicyId"] for one in result.get("MatchedStatements", [])})
    return f"remove the denial of {resource} from {', '.join(blockers) or 'the role'}"
