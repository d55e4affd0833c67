"""What a destroyed stack has left, and why: the account is asked, not Pulumi's state.

One call for each version of our components in the account, for each deployment of ours on the
target and for each of its devices; a handful for everything else. What should be gone is looked
for twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from botocore.exceptions import ClientError

from infra.account.clients import Clients
from infra.account.followers import also_deployed
from infra.account.target import (
    another_stack,
    deployments,
    installed,
    is_own,
    things_of,
    versions_of,
)
from infra.names import COMPONENTS
from infra.publish.leftovers import all_versions, has_tags, unless_gone

# S3 and IAM may show for a moment what was deleted a moment ago:
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/Welcome.html#ConsistencyModel
# https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html (eventual consistency)
_LATER = 5.0  # seconds until a second look


@dataclass(frozen=True, kw_only=True)
class Stack:
    """What a stack's things are called; all of it follows from its settings."""

    name: str  # project/stack
    tags: Mapping[str, str]
    target: str  # ARN, empty for a stack that only publishes
    role: str
    policy: str
    bucket: str
    account: str
    repository: str
    arns: str  # what every ARN of Greengrass in this account and region begins with


_Look = Callable[[Clients, Stack], Iterable[str]]


def residue(
    clients: Clients, stack: Stack, pause: Callable[[float], None] = time.sleep
) -> list[str]:
    """A line for each thing that is left, with why or what to type; empty where nothing is."""
    gone: dict[str, _Look] = {
        "component versions": _versions,
        "the bucket": _bucket,
        "the repository": _repository,
        "the devices' rights": _policy,
    }
    may_stay: dict[str, _Look] = {"deployments": _deployments, "devices": _devices}
    found = list(_told(clients, stack, gone))
    if found:
        pause(_LATER)
        found = list(_told(clients, stack, gone))
    return found + list(_told(clients, stack, may_stay))


def _told(clients: Clients, stack: Stack, looks: Mapping[str, _Look]) -> Iterator[str]:
    for what, look in looks.items():
        try:
            yield from look(clients, stack)
        except ClientError as error:
            yield f"{what}: AWS doesn't tell ({error})"


def _versions(clients: Clients, stack: Stack) -> Iterator[str]:
    for component in COMPONENTS:
        for arn in all_versions(clients, f"{stack.arns}:components:{component}"):
            if has_tags(clients, arn, stack.tags):
                yield f"{arn} → aws greengrassv2 delete-component --arn {arn}"


def _bucket(clients: Clients, stack: Stack) -> Iterator[str]:
    with unless_gone():
        clients.s3.head_bucket(Bucket=stack.bucket, ExpectedBucketOwner=stack.account)
        yield f"bucket {stack.bucket} with its objects → aws s3 rb --force s3://{stack.bucket}"


def _repository(clients: Clients, stack: Stack) -> Iterator[str]:
    with unless_gone():
        clients.ecr.describe_repositories(repositoryNames=[stack.repository])
        yield (
            f"repository {stack.repository} with its images → aws ecr delete-repository --force"
            f" --repository-name {stack.repository}"
        )


def _policy(clients: Clients, stack: Stack) -> Iterator[str]:
    client = clients.iam
    try:
        client.get_role_policy(RoleName=stack.role, PolicyName=stack.policy)
    except client.exceptions.NoSuchEntityException:
        return
    yield (
        f"policy {stack.policy} of role {stack.role} → aws iam delete-role-policy"
        f" --role-name {stack.role} --policy-name {stack.policy}"
    )


def _deployments(clients: Clients, stack: Stack) -> Iterator[str]:
    client = clients.greengrass
    for one in deployments(client, stack.target) if stack.target else []:
        found, called = one["deploymentId"], one.get("deploymentName", "")
        if not is_own(stack.name, called):
            continue
        components = client.get_deployment(deploymentId=found).get("components", {})
        others = sorted(components.keys() - versions_of(components).keys())
        yield f"deployment '{called}' ({found}): " + (
            f"it keeps {', '.join(others)} on the target, until another replaces it"
            if others
            else f"aws greengrassv2 cancel-deployment --deployment-id {found}, then"
            f" delete-deployment --deployment-id {found}"
        )


def _devices(clients: Clients, stack: Stack) -> Iterator[str]:
    if not stack.target:
        return
    client = clients.greengrass
    latest = next(iter(deployments(client, stack.target)), None)
    other = another_stack(stack.name, latest.get("deploymentName", "")) if latest else ""
    things: list[str] = []
    with unless_gone():  # who was in a group that was deleted, nobody knows any more
        things = things_of(clients, stack.target)
    for device in things:
        try:
            there = installed(client, device)
        except client.exceptions.ResourceNotFoundException:
            if ":thing/" in stack.target:
                yield f"{device}: AWS has no record of it; if it comes back, it may still run ours"
            continue
        ours = {component: one for component, one in there.items() if component in COMPONENTS}
        elsewhere = also_deployed(client, device, stack.target) if ours else {}
        for component, (version, state) in ours.items():
            yield f"{component} {version} on {device} ({state}): " + (
                f"it is stack {other}'s by now"
                if other
                else f"{elsewhere[component]} deploys it too"
                if component in elsewhere
                else "pulumi up, then pulumi destroy"
            )
