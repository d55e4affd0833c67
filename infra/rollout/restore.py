"""Restores the last good release on devices where a failed release stays broken.

A Java nucleus rolls a failed deployment back, but not a deployment that it called successful.
Nucleus Lite never rolls back. One more deployment starts components that are BROKEN, on both
runtimes (record lite-ml-broken-again). It also starts a component whose version changes. A Java
nucleus doesn't start one that is FINISHED and keeps its version (record java-ml-docker-stop). Then
the wait for the restored release fails, and its error names the command for the device.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from infra import policies
from infra.account.context import Context
from infra.account.greengrass import deployments, versions_of, was_good
from infra.account.many_devices import execution_states

if TYPE_CHECKING:
    from mypy_boto3_greengrassv2.type_defs import GetDeploymentResponseTypeDef


def restore_previous(
    context: Context,
    *,
    failed: GetDeploymentResponseTypeDef,
    before: Mapping[str, str],
    devices: Sequence[str],
    role: str,
    say: Callable[[str], None] = print,
) -> GetDeploymentResponseTypeDef:
    """Deploy the earlier release to the failed deployment's target. Others' components stay.

    `before` has the versions that answered after the last successful update. If it is empty, the
    versions of the last good deployment are used. If there is none either, our components are
    removed. The new deployment has this stack's tags and a name that the next update recognises.
    The name differs from the planned name, so that update deploys again. The deployment goes to all
    devices at once. Devices that never had the failed release have nothing to do.
    """
    client, name = context.clients.greengrass, context.deployment_name
    if good := before or _last_good(context, failed, devices):
        listed = ", ".join(f"{component} {version}" for component, version in good.items())
        say(f"restores the last good release: {listed}")
        _may_read(context, role, good, say)
    else:
        say("removes our components: no earlier release was good")
    components: Any = {
        component: {**spec, "componentVersion": good.get(component, spec["componentVersion"])}
        for component, spec in failed["components"].items()
        if component not in context.names.components or component in good
    }
    made = client.create_deployment(
        targetArn=failed["targetArn"],
        deploymentName=str(name.after(failed["deploymentId"]) if good else name.without),
        components=components,
        deploymentPolicies=failed.get("deploymentPolicies", {}),
        tags=context.deployment_tags,
    )
    return client.get_deployment(deploymentId=made["deploymentId"])


def _last_good(
    context: Context, failed: GetDeploymentResponseTypeDef, devices: Sequence[str]
) -> dict[str, str]:
    """Our versions in the newest older deployment that was good, except the failed release.

    The failed release may have been called a success and broken later. The search stops at a
    deployment without our components.
    """
    client, ours = context.clients.greengrass, context.names.components
    states = execution_states(client, devices)
    for older in deployments(client, failed["targetArn"]):
        if older["creationTimestamp"] >= failed["creationTimestamp"]:
            continue
        found = client.get_deployment(deploymentId=older["deploymentId"])
        had = versions_of(found.get("components", {}), ours)
        if not had:
            break
        other = had != versions_of(failed["components"], ours)
        if other and had.keys() == set(ours) and was_good(states[older["deploymentId"]]):
            return had
    return {}


def _may_read(
    context: Context,
    role: str,
    versions: Mapping[str, str],
    say: Callable[[str], None],
) -> None:
    """Let the devices read the files of these component versions.

    The update has limited their rights to the failed release. A device that called that release a
    success has deleted the earlier files. The next release's update limits the rights again.
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
    except ClientError as error:  # A device that still has the files needs no rights.
        say(f"warning: the devices' role can't read the restored release's files: {error}")


def reset_rights(context: Context, role: str, policy: str) -> None:
    """Set the devices' role to the policy in Pulumi's state (JSON), once a release answers.

    A restore may have added rights, and an update with the same document changes nothing.
    """
    iam, named = context.clients.iam, {"RoleName": role, "PolicyName": context.policy}
    try:
        if iam.get_role_policy(**named)["PolicyDocument"] != json.loads(policy):
            iam.put_role_policy(**named, PolicyDocument=policy)
    except ClientError as error:
        print(
            f"warning: AWS doesn't say whether role {role} may read more than this release needs:"
            f" {error}"
        )


def _files(context: Context, component: str, version: str) -> Iterator[str]:
    """The ARNs of the objects in a component version's recipe."""
    arn = context.component_arn(component, version)
    recipe = json.loads(context.clients.greengrass.get_component(arn=arn)["recipe"])
    for manifest in recipe["Manifests"]:
        for artifact in manifest.get("Artifacts", []):
            kind, _, path = artifact["Uri"].partition("://")
            if kind == "s3":
                yield context.arn("s3", path)
