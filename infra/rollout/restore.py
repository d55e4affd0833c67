"""Restores the last good release on devices where a failed release stays broken.

A Java nucleus rolls a failed deployment back. It rolls nothing back after it called a deployment a
success, and Nucleus Lite never does. One more deployment is enough: both runtimes then try again
what has failed, and start what is BROKEN or has ended (lite-ml-broken-again).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from infra import policies
from infra.account.context import Context
from infra.account.devices import execution_states
from infra.account.greengrass import deployments, versions_of, was_good

if TYPE_CHECKING:
    from mypy_boto3_greengrassv2.type_defs import GetDeploymentResponseTypeDef


def restore_previous(
    context: Context,
    *,
    red: GetDeploymentResponseTypeDef,
    before: Mapping[str, str],
    devices: Sequence[str],
    role: str,
    say: Callable[[str], None] = print,
) -> GetDeploymentResponseTypeDef:
    """Deploy to the red deployment's target what was there before; what isn't ours stays.

    What was there is `before`, the versions that the last green update has seen answering; where
    this stack has none, those of the last deployment that was good; where there is none either,
    ours are taken off. The new one has the tags of this stack and a name by which the next update
    knows it as its own and, as the name is another one, deploys again. It goes to all devices at
    once: those that never had the red one have nothing to do.
    """
    client, name = context.clients.greengrass, context.deployment_name
    if good := before or _last_good(context, red, devices):
        listed = ", ".join(f"{component} {version}" for component, version in good.items())
        say(f"puts back what was good here before: {listed}")
        _may_read(context, role, good, say)
    else:
        say("takes our components off again: no release of before was good")
    components: Any = {
        component: {**spec, "componentVersion": good.get(component, spec["componentVersion"])}
        for component, spec in red["components"].items()
        if component not in context.names.components or component in good
    }
    made = client.create_deployment(
        targetArn=red["targetArn"],
        deploymentName=str(name.after(red["deploymentId"]) if good else name.without),
        components=components,
        deploymentPolicies=red.get("deploymentPolicies", {}),
        tags=context.tags,
    )
    return client.get_deployment(deploymentId=made["deploymentId"])


def _last_good(
    context: Context, red: GetDeploymentResponseTypeDef, devices: Sequence[str]
) -> dict[str, str]:
    """Our versions in the newest older deployment that was good, and is none of the red release.

    The red release may have been called a success, and have broken later. Nobody goes back past a
    deployment without ours.
    """
    client, ours = context.clients.greengrass, context.names.components
    states = execution_states(client, devices)
    for older in deployments(client, red["targetArn"]):
        if older["creationTimestamp"] >= red["creationTimestamp"]:
            continue
        found = client.get_deployment(deploymentId=older["deploymentId"])
        had = versions_of(found.get("components", {}), ours)
        if not had:
            break
        other = had != versions_of(red["components"], ours)
        if other and had.keys() == set(ours) and was_good(states[older["deploymentId"]]):
            return had
    return {}


def _may_read(
    context: Context,
    role: str,
    versions: Mapping[str, str],
    say: Callable[[str], None],
) -> None:
    """Add the files of these component versions to what the devices may read.

    The update has limited that to the red release, and a device that called it a success has tidied
    away what it ran before. The next release's update limits it again.
    """
    clients = context.clients
    try:
        files = [
            file for name, version in versions.items() for file in _files(context, name, version)
        ]
        named = {"RoleName": role, "PolicyName": context.policy}
        readable: Any = clients.iam.get_role_policy(**named)["PolicyDocument"]
        allowed = policies.with_objects(readable, files)
        clients.iam.put_role_policy(**named, PolicyDocument=json.dumps(allowed))
    except ClientError as error:  # a device that has the files yet needs no rights
        say(f"warning: the devices' role is not given what was there before to read: {error}")


def keep_rights(
    context: Context, role: str, policy: str, say: Callable[[str], None] = print
) -> None:
    """Leave the devices' role what Pulumi's state says (a JSON document), once a release answers.

    A restore has added to it, and an update that has the same document again changes nothing.
    """
    iam, named = context.clients.iam, {"RoleName": role, "PolicyName": context.policy}
    try:
        if iam.get_role_policy(**named)["PolicyDocument"] != json.loads(policy):
            iam.put_role_policy(**named, PolicyDocument=policy)
    except ClientError as error:
        say(
            f"warning: whether role {role} may read more than this release needs, AWS doesn't tell:"
            f" {error}"
        )


def _files(context: Context, component: str, version: str) -> Iterator[str]:
    """The ARNs of the objects that a component version's recipe names."""
    arn = context.component_arn(component, version)
    recipe = json.loads(context.clients.greengrass.get_component(arn=arn)["recipe"])
    for manifest in recipe["Manifests"]:
        for artifact in manifest.get("Artifacts", []):
            kind, _, path = artifact["Uri"].partition("://")
            if kind == "s3":
                yield context.arn("s3", path)
