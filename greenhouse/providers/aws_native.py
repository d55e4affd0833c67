"""Package `aws-native`: Greengrass components and deployments, as CloudFormation's handlers do it.

Handlers: https://github.com/aws-cloudformation/aws-cloudformation-resource-providers-greengrassv2
Two things surprise there and are kept: any change asks to delete before replacing, and everything
but the tags is a change that needs a new resource.
"""

# ruff: noqa: ARG002  # one shape of verbs for all resources; not all need every argument

from __future__ import annotations

import time
from abc import abstractmethod
from importlib import metadata
from typing import Any

from botocore.exceptions import ClientError
from pulumi_aws_native.greengrassv2 import component_version, deployment

from greenhouse.providers.account import Account
from greenhouse.providers.aws.common import fine_if
from greenhouse.providers.resource import Diff, Failure, Incomplete, Naming, Refused, Resource
from greenhouse.providers.servicer import Package
from greenhouse.providers.session import Call
from greenhouse.providers.wire import Properties

_GONE = "ResourceNotFoundException"
_STABLE_SECONDS = 20 * 60  # as long as CloudFormation's handler waits
_POLL_SECONDS = 0.5  # the handler takes 5; here it is one machine


class NativeResource(Resource):
    """A resource of Cloud Control."""

    cfn: str
    """CloudFormation's name of the type."""

    def __init__(self, account: Account) -> None:
        self.account = account

    def diff(self, olds: Properties, news: Properties) -> Diff:
        return Diff(changed=tuple(sorted(self.changes(olds, news))), opaque=True)

    def update(self, call: Call, id_: str, olds: Properties, news: Properties) -> Properties:
        fixed = {name for name in self.acted_on - {"tags"} if olds.get(name) != news.get(name)}
        if fixed:
            raise Refused(
                f"NotUpdatable: {', '.join(sorted(fixed))} of {self.cfn} can't be updated."
                " It takes a replacement: replace_on_changes on the resource"
            )
        greengrass = self.account.greengrass(self.account.region(call, {}))
        before, after = olds.get("tags") or {}, news.get("tags") or {}
        arn = self.arn(call, id_)
        if dropped := sorted(before.keys() - after.keys()):
            greengrass.untag_resource(resourceArn=arn, tagKeys=dropped)
        if added := dict(after.items() - before.items()):
            greengrass.tag_resource(resourceArn=arn, tags=added)
        return {}

    @abstractmethod
    def arn(self, call: Call, id_: str) -> str:
        """What tags are put on."""


class ComponentVersion(NativeResource):
    """One immutable version of a component."""

    kind = "aws-native:greengrassv2:ComponentVersion"
    cfn = "AWS::GreengrassV2::ComponentVersion"
    args = component_version.ComponentVersionArgs
    acted_on = frozenset({"inlineRecipe", "tags"})
    computed = frozenset({"arn", "componentName", "componentVersion"})

    def check(
        self, call: Call, news: Properties, olds: Properties, naming: Naming
    ) -> tuple[Properties, list[Failure]]:
        inputs, failures = super().check(call, news, olds, naming)
        if not inputs.keys() & {"inlineRecipe", "lambdaFunction"}:
            failures.append(Failure("inlineRecipe", "is required: the recipe as JSON or YAML"))
        return inputs, failures

    def instead(self, name: str) -> str:
        return "Use inlineRecipe"

    def create(self, call: Call, inputs: Properties) -> tuple[str, Properties]:
        greengrass = self.account.greengrass(self.account.region(call, inputs))
        tags: Any = {"tags": inputs["tags"]} if inputs.get("tags") else {}  # {} is refused
        try:
            made = greengrass.create_component_version(
                inlineRecipe=inputs["inlineRecipe"].encode(), **tags
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "ConflictException":
                raise
            raise Refused(
                f"AlreadyExists: {error.response['Error']['Message']}. A version never changes:"
                " give changed content a new version, or delete the old one:"
                " aws greengrassv2 delete-component --arn ARN"
            ) from error
        attributes = {
            "arn": made["arn"],
            "componentName": made["componentName"],
            "componentVersion": made["componentVersion"],
        }
        self._await_deployable(call, made["arn"], attributes)
        return made["arn"], attributes

    def read(self, call: Call, id_: str, olds: Properties) -> Properties | None:
        greengrass = self.account.greengrass(self.account.region(call, olds))
        with fine_if(_GONE):
            found = greengrass.describe_component(arn=id_)
            return {
                "arn": id_,
                "componentName": found["componentName"],
                "componentVersion": found["componentVersion"],
                "tags": found.get("tags", {}),
            }
        return None

    def delete(self, call: Call, id_: str, olds: Properties) -> None:
        with fine_if(_GONE):
            self.account.greengrass(self.account.region(call, olds)).delete_component(arn=id_)

    def arn(self, call: Call, id_: str) -> str:
        return id_

    def _await_deployable(self, call: Call, arn: str, attributes: Properties) -> None:
        greengrass = self.account.greengrass(self.account.region(call, {}))
        deadline = time.monotonic() + _STABLE_SECONDS
        while True:
            status = greengrass.describe_component(arn=arn)["status"]
            state = status.get("componentState", "REQUESTED")
            if state == "DEPLOYABLE":
                return
            told = f"{state} {status.get('message', '')} {status.get('errors', '')}".strip()
            if state in ("FAILED", "DEPRECATED"):
                raise Incomplete(arn, attributes, f"NotStabilized: {arn} is {told}")
            if call.cancelled.wait(_POLL_SECONDS) or time.monotonic() > deadline:
                raise Incomplete(arn, attributes, f"NotStabilized: {arn} is still {told}")


class Deployment(NativeResource):
    """What a thing or a group shall run; made is not rolled out: nobody waits for devices here."""

    kind = "aws-native:greengrassv2:Deployment"
    cfn = "AWS::GreengrassV2::Deployment"
    args = deployment.DeploymentArgs
    acted_on = frozenset(
        {
            "components",
            "deploymentName",
            "deploymentPolicies",
            "iotJobConfiguration",
            "parentTargetArn",
            "tags",
            "targetArn",
        }
    )
    computed = frozenset({"deploymentId"})

    def create(self, call: Call, inputs: Properties) -> tuple[str, Properties]:
        greengrass = self.account.greengrass(self.account.region(call, inputs))
        wanted: Any = {name: inputs[name] for name in self.acted_on & inputs.keys()}
        if not wanted.get("tags"):
            wanted.pop("tags", None)  # {} is refused
        made = greengrass.create_deployment(**wanted)["deploymentId"]
        return made, {"deploymentId": made}

    def read(self, call: Call, id_: str, olds: Properties) -> Properties | None:
        greengrass = self.account.greengrass(self.account.region(call, olds))
        with fine_if(_GONE):
            found: Any = greengrass.get_deployment(deploymentId=id_)
            # a deployment never changes but in its tags; the rest would only lose its spelling
            told = {"tags"} if olds else self.acted_on
            return {
                "deploymentId": id_,
                **{name: found[name] for name in told if found.get(name) is not None},
            }
        return None

    def delete(self, call: Call, id_: str, olds: Properties) -> None:
        greengrass = self.account.greengrass(self.account.region(call, olds))
        with fine_if(_GONE):
            with fine_if("ConflictException"):  # superseded or over: nothing left to cancel
                greengrass.cancel_deployment(deploymentId=id_)
            greengrass.delete_deployment(deploymentId=id_)

    def arn(self, call: Call, id_: str) -> str:
        region = self.account.region(call, {})
        account = self.account.sts(region).get_caller_identity()["Account"]
        return f"arn:aws:greengrass:{region}:{account}:deployments:{id_}"


def package(account: Account) -> Package:
    """The resources of package `aws-native` in this account."""
    resources = [ComponentVersion(account), Deployment(account)]
    return Package(
        name="aws-native",
        version=metadata.version("pulumi-aws-native"),
        resources={resource.kind: resource for resource in resources},
        config=frozenset({"region"}),
    )
