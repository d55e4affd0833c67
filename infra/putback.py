"""What was good before, put back on devices where a red release stays broken.

A Java nucleus goes back when a deployment fails. Nothing goes back once a deployment was called a
success, and Nucleus Lite never does. Lite moreover runs nothing of a version that it has already:
what is broken would stay so for ever, were the same release deployed again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any

from infra.target import FAILED, SUCCEEDED, deployments, execution, without

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
) -> GetDeploymentResponseTypeDef:
    """Deploy to the red deployment's target what was there before; what isn't ours stays.

    What was there is the newest older deployment with all of our components that succeeded on a
    device and failed on none; where none did, ours are taken off. The new one has the tags of this
    stack and a name by which the next update knows it as its own and, as the name is another one,
    deploys again. It goes to all devices at once: those that never had the red one have nothing to
    do.
    """
    red = client.get_deployment(deploymentId=deployment)
    good = _last_good(client, red, ours, devices)
    if good:
        say(f"puts back what deployment {good['deploymentId']} had there before")
    else:
        say("takes our components off again: no release of before was good")
    before = good["components"] if good else {}
    components: dict[str, Any] = {
        **{
            component: spec
            for component, spec in red["components"].items()
            if component not in ours
        },
        **{component: spec for component, spec in before.items() if component in ours},
    }
    made = client.create_deployment(
        targetArn=red["targetArn"],
        deploymentName=f"{name} (after {deployment[:8]})" if good else without(name),
        components=components,
        tags=red.get("tags", {}),
    )
    return client.get_deployment(deploymentId=made["deploymentId"])


def _last_good(
    client: GreengrassV2Client,
    red: GetDeploymentResponseTypeDef,
    ours: AbstractSet[str],
    devices: Sequence[str],
) -> GetDeploymentResponseTypeDef | None:
    for older in deployments(client, red["targetArn"]):
        if older["creationTimestamp"] >= red["creationTimestamp"]:
            continue
        went = {execution(client, device, older["deploymentId"])[0] for device in devices}
        if went & SUCCEEDED and not went & FAILED:
            found = client.get_deployment(deploymentId=older["deploymentId"])
            if ours <= set(found.get("components", {})):
                return found
    return None
