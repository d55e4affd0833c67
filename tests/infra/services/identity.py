"""IoT, IAM, STS and CloudWatch, answered from what the account holds."""

# ruff: noqa: N803  # the API's own names for its parameters

from __future__ import annotations

import json
from typing import Any

from tests.infra.services.contents import ACCOUNT, REGION, Contents, Refused


class Identity(Contents):
    """Who and what there is: things, thing groups, roles, the caller, and uploaded logs."""

    def _describe_thing(self, *, thingName: str) -> dict[str, Any]:
        if thingName not in self.things:
            raise Refused("ResourceNotFoundException")
        return {"thingArn": self.things[thingName]}

    def _describe_thing_group(self, *, thingGroupName: str) -> dict[str, Any]:
        if thingGroupName not in self.groups:
            raise Refused("ResourceNotFoundException")
        return {"thingGroupArn": f"arn:aws:iot:{REGION}:{ACCOUNT}:thinggroup/{thingGroupName}"}

    def _list_things_in_thing_group(
        self,
        *,
        thingGroupName: str,
        recursive: bool,
        nextToken: str = "",
        maxResults: int = 0,  # noqa: ARG002  # AWS may return fewer
    ) -> dict[str, Any]:
        assert recursive, "a deployment also reaches the groups inside of a group"
        self._describe_thing_group(thingGroupName=thingGroupName)  # Raises if there is none.
        return self._page("things", self.groups[thingGroupName], nextToken)

    def _get_role(self, *, RoleName: str) -> dict[str, Any]:
        if RoleName not in self.roles:
            raise Refused("NoSuchEntity")
        arn = f"arn:aws:iam::{ACCOUNT}:role/{RoleName}"
        trust = json.dumps(self.roles[RoleName])  # boto3 reads it.
        return {"Role": {"Arn": arn, "AssumeRolePolicyDocument": trust}}

    def _list_role_policies(self, *, RoleName: str, Marker: str = "") -> dict[str, Any]:
        page = self._page(
            "PolicyNames", [one for role, one in self.policies if role == RoleName], Marker
        )
        if token := page.pop("nextToken", None):
            page |= {"IsTruncated": True, "Marker": token}
        return page

    def _get_role_policy(self, *, RoleName: str, PolicyName: str) -> dict[str, Any]:
        if (RoleName, PolicyName) not in self.policies:
            raise Refused("NoSuchEntity")
        document = json.dumps(self.policies[RoleName, PolicyName])  # boto3 reads it.
        return {"RoleName": RoleName, "PolicyName": PolicyName, "PolicyDocument": document}

    def _put_role_policy(self, *, RoleName: str, PolicyName: str, PolicyDocument: str) -> Any:
        self.policies[RoleName, PolicyName] = json.loads(PolicyDocument)
        return {}

    def _simulate_principal_policy(
        self,
        *,
        PolicySourceArn: str,
        ActionNames: list[str],
        ResourceArns: list[str],
        PolicyInputList: list[str],
    ) -> dict[str, Any]:
        assert PolicySourceArn.rpartition("/")[2] in self.roles
        assert PolicyInputList, "the role's rights of today say nothing of those to come"
        return {
            "EvaluationResults": [
                {"EvalActionName": action, "EvalResourceName": resource, "EvalDecision": "allowed"}
                | self.decisions.get(action, {})
                for action in ActionNames
                for resource in ResourceArns
            ]
        }

    def _get_caller_identity(self) -> dict[str, Any]:
        return {"Account": self.account, "Arn": f"arn:aws:iam::{self.account}:user/nobody"}

    def _get_log_events(
        self, *, logGroupName: str, logStreamName: str, limit: int, startFromHead: bool
    ) -> dict[str, Any]:
        assert not startFromHead, "the last lines say why"
        if (logGroupName, logStreamName) not in self.logs:
            raise Refused("ResourceNotFoundException")
        lines = self.logs[logGroupName, logStreamName][-limit:]
        return {"events": [{"timestamp": 0, "message": f"{line}\n"} for line in lines]}
