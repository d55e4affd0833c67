"""The last good release, put back on devices where a red one stays broken.

A Java nucleus goes back when a deployment fails. Nothing goes back once a deployment was called a
success, and Nucleus Lite never does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING

from infra.target import FAILED, SUCCEEDED, deployments, execution

if TYPE_CHECKING:
    from mypy_boto3_greengrassv2 import GreengrassV2Client
    from mypy_boto3_greengrassv2.type_defs import GetDeploymentResponseTypeDef


def put_back(
    client: GreengrassV2Client,
    *,
    deployment: str,
    ours: AbstractSet[str],
    devices: Sequence[str],
    name: str,
    say: Callable[[str], None] = print,
) -> GetDeploymentResponseTypeDef | None:
    """Deploy to the red deployment's target what was there before; None if nothing good was.

    What was there is the newest older deployment with all of our components that succeeded on a
    device and failed on none. The new one has a name and the tags of this stack, so that the next
    update knows it as its own and, as the name is another one, deploys again.
    """
    red = client.get_deployment(deploymentId=deployment)
    for older in deployments(client, red["targetArn"]):
        found = older["deploymentId"]
        if older["creationTimestamp"] >= red["creationTimestamp"] or found == deployment:
            continue
        good = client.get_deployment(deploymentId=found)
        went = {execution(client, device, found)[0] for device in devices}
        if went & FAILED or not went & SUCCEEDED or not ours <= set(good.get("components", {})):
            continue
        say(f"puts back what deployment {found} had there before")
        made = client.create_deployment(
            targetArn=red["targetArn"],
            deploymentName=f"{name} (after {deployment[:8]})",
            components=good["components"],
            tags=red.get("tags", {}),
        )
        return client.get_deployment(deploymentId=made["deploymentId"])
    return None
