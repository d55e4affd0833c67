"""Lists what a destroyed stack has left, and why. It asks the account, not Pulumi's state.

It makes one call for each version of our components in the account, for each deployment of ours on
the target, and for each device. A few more calls find the rest. Things that should be gone are
looked up twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from botocore.exceptions import ClientError

from infra.account.clients import unless_gone
from infra.account.context import Context
from infra.account.followers import also_deployed
from infra.account.greengrass import (
    component_versions,
    deployments,
    has_tags,
    installed,
    versions_of,
)
from infra.account.many_devices import each_device
from infra.account.target import things_of
from infra.errors import told

# S3 and IAM may show a thing shortly after its deletion:
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/Welcome.html#ConsistencyModel
# https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html
_LATER = 5.0  # In seconds, until a second look.


@dataclass(frozen=True, kw_only=True)
class Destroyed:
    """A destroyed stack, with its account, target and role."""

    context: Context
    target: str  # An ARN. Empty for a stack that only publishes.
    role: str  # The role of the devices.


_Check = Callable[[Destroyed], Iterable[str]]


def list_residue(stack: Destroyed, pause: Callable[[float], None] = time.sleep) -> list[str]:
    """A text for each thing that is left, with the reason or the command; empty if none is."""
    gone: dict[str, _Check] = {
        "component versions": _versions,
        "the bucket": _bucket,
        "the repository": _repository,
        "the devices' rights": _policy,
    }
    may_stay: dict[str, _Check] = {"deployments": _deployments, "devices": _on_devices}
    found = list(_told(stack, gone))
    if found:
        pause(_LATER)
        found = list(_told(stack, gone))
    return found + list(_told(stack, may_stay))


def _told(stack: Destroyed, checks: Mapping[str, _Check]) -> Iterator[str]:
    for what, check in checks.items():
        try:
            yield from check(stack)
        except ClientError as error:
            yield f"{what}: AWS doesn't tell ({error})"


def _versions(stack: Destroyed) -> Iterator[str]:
    client, context = stack.context.clients.greengrass, stack.context
    for component in context.names.components:
        for arn in component_versions(client, context.component_arn(component)):
            if has_tags(client, arn, context.tags):
                yield told(
                    arn,
                    "",
                    f"aws greengrassv2 delete-component --arn {arn} --region {context.region}",
                )


def _bucket(stack: Destroyed) -> Iterator[str]:
    context, bucket = stack.context, stack.context.bucket
    with unless_gone():
        context.clients.s3.head_bucket(Bucket=bucket, ExpectedBucketOwner=context.account)
        yield told(f"bucket {bucket} with its objects", "", f"aws s3 rb --force s3://{bucket}")


def _repository(stack: Destroyed) -> Iterator[str]:
    repository = stack.context.repository
    with unless_gone():
        stack.context.clients.ecr.describe_repositories(repositoryNames=[repository])
        yield told(
            f"repository {repository} with its images",
            "",
            f"aws ecr delete-repository --force --repository-name {repository}"
            f" --region {stack.context.region}",
        )


def _policy(stack: Destroyed) -> Iterator[str]:
    client, policy = stack.context.clients.iam, stack.context.policy
    try:
        client.get_role_policy(RoleName=stack.role, PolicyName=policy)
    except client.exceptions.NoSuchEntityException:
        return
    yield told(
        f"policy {policy} of role {stack.role}",
        "",
        f"aws iam delete-role-policy --role-name {stack.role} --policy-name {policy}",
    )


def _deployments(stack: Destroyed) -> Iterator[str]:
    client, own = stack.context.clients.greengrass, stack.context.deployment_name
    ours, region = stack.context.names.components, stack.context.region
    for one in deployments(client, stack.target) if stack.target else []:
        found, called = one["deploymentId"], one.get("deploymentName", "")
        if not own.is_own(called):
            continue
        components = client.get_deployment(deploymentId=found).get("components", {})
        others = sorted(components.keys() - versions_of(components, ours).keys())
        deployment = f"deployment '{called}' ({found})"
        if others:
            yield f"{deployment} keeps {', '.join(others)} on the target, until another replaces it"
        else:
            yield told(
                deployment,
                "",
                f"aws greengrassv2 cancel-deployment --region {region} --deployment-id {found}",
                f"aws greengrassv2 delete-deployment --region {region} --deployment-id {found}",
            )


def _on_devices(stack: Destroyed) -> Iterator[str]:
    if not stack.target:
        return
    client, own = stack.context.clients.greengrass, stack.context.deployment_name
    latest = next(iter(deployments(client, stack.target)), None)
    other = own.another_stack(latest.get("deploymentName", "")) if latest else ""
    things: list[str] = []
    with unless_gone():  # AWS doesn't say who was in a deleted group.
        things = things_of(stack.context.clients, stack.target)
    for lines in each_device(things, partial(_on_device, stack, other)):
        yield from lines


def _on_device(stack: Destroyed, other: str, device: str) -> list[str]:
    """A line for each of our components there. `other` is the stack that owns them now, if any."""
    client, names = stack.context.clients.greengrass, stack.context.names.components
    try:
        there = installed(client, device)
    except client.exceptions.ResourceNotFoundException:
        gone = f"{device}: AWS has no record of it; if it comes back, it may still run ours"
        return [gone] if ":thing/" in stack.target else []
    ours = {component: one for component, one in there.items() if component in names}
    elsewhere = also_deployed(client, device, stack.target) if ours else {}
    found = []
    for component, (version, state) in ours.items():
        what = f"{component} {version} on {device} ({state})"
        if other:
            found.append(f"{what}: it is stack {other}'s by now")
        elif component in elsewhere:
            found.append(f"{what}: {elsewhere[component]} deploys it too")
        else:
            found.append(told(what, "", "pulumi up", "pulumi destroy"))
    return found
