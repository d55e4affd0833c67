"""The inline policies of a role that belongs to somebody else."""

# ruff: noqa: ARG002  # one shape of verbs for all resources; not all need every argument

from __future__ import annotations

import json
from typing import Any, ClassVar

from pulumi_aws.iam import role_policy

from greenhouse.providers.aws.common import AwsResource, aws_error, fine_if
from greenhouse.providers.aws.policies import MAX_INLINE, refuse_malformed_role_policy
from greenhouse.providers.protocol.resource import Failure, Naming
from greenhouse.providers.protocol.session import Call
from greenhouse.providers.protocol.wire import Properties


class RolePolicy(AwsResource):
    """A policy inside a role. The role has to exist."""

    kind = "aws:iam/rolePolicy:RolePolicy"
    args = role_policy.RolePolicyArgs
    acted_on = frozenset({"name", "policy", "role"})
    documents: ClassVar = {"policy": role_policy.PolicyDocumentArgs}
    replaced_by = frozenset({"name", "role"})

    def check(
        self, call: Call, news: Properties, olds: Properties, naming: Naming
    ) -> tuple[Properties, list[Failure]]:
        inputs, failures = super().check(call, news, olds, naming)
        return inputs, failures + self.name_itself("name", inputs, olds, naming, longest=128)

    def create(self, call: Call, inputs: Properties) -> tuple[str, Properties]:
        self._put(call, inputs)
        return f"{inputs['role']}:{inputs['name']}", {}

    def read(self, call: Call, id_: str, olds: Properties) -> Properties | None:
        role, _, name = id_.partition(":")
        iam = self.clients.iam(self.region(call, olds))
        with fine_if("NoSuchEntity"):
            found: Any = iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
            policy = found if isinstance(found, str) else json.dumps(found, separators=(",", ":"))
            return {"name": name, "policy": policy, "role": role}
        return None

    def update(self, call: Call, id_: str, olds: Properties, news: Properties) -> Properties:
        self._put(call, news)
        return {}

    def delete(self, call: Call, id_: str, olds: Properties) -> None:
        role, _, name = id_.partition(":")
        with fine_if("NoSuchEntity"):
            self.clients.iam(self.region(call, olds)).delete_role_policy(
                RoleName=role, PolicyName=name
            )

    def _put(self, call: Call, inputs: Properties) -> None:
        role, name, policy = inputs["role"], inputs["name"], inputs["policy"]
        refuse_malformed_role_policy(policy)
        iam = self.clients.iam(self.region(call, inputs))
        others = [
            iam.get_role_policy(RoleName=role, PolicyName=other)["PolicyDocument"]
            for page in iam.get_paginator("list_role_policies").paginate(RoleName=role)
            for other in page["PolicyNames"]
            if other != name
        ]
        if sum(map(_characters, [*others, json.loads(policy)])) > MAX_INLINE:
            raise aws_error(
                "LimitExceeded",
                f"Maximum policy size of {MAX_INLINE} bytes exceeded for role {role}",
                operation="PutRolePolicy",
            )
        iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=policy)


def _characters(document: Any) -> int:
    """The size that IAM counts: without white space."""
    return len(json.dumps(document, separators=(",", ":"), ensure_ascii=False))


RESOURCES = (RolePolicy,)
