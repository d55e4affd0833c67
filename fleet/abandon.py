"""Deletes the record of a core device that is gone for good, so that nothing waits for it.

A destroy waits until every core device has removed our components, and a broken board never does.
This deletes only the core device's record in AWS.
"""

from __future__ import annotations

import typer
from rich.console import Console

from fleet.observe import members
from fleet.stacks import NoStack, Stack, project
from infra.account.clients import Clients
from infra.account.greengrass import deployments, effective_deployments, installed
from infra.deployment_names import DeploymentName
from infra.printable import printable_lines

CONSEQUENCES = """\
Its record is deleted, so no up and no destroy waits for it from then on. Its thing, certificate and
groups stay. Nothing is removed from it. If it comes back, it reports itself and obeys the latest
deployment to it. Without a deployment it keeps running these components. pulumi up deploys to it
again, and pulumi destroy then cleans it."""


def abandon(stack: Stack, device: str, console: Console, *, sure: bool) -> None:
    """Delete the record of a stack's core device, after its name was typed (or `sure` is set).

    Raises NoStack if there is no such record or it isn't the stack's, and typer.Abort without the
    name.
    """
    clients = stack.clients()
    greengrass = clients.greengrass
    try:
        core = greengrass.get_core_device(coreDeviceThingName=device)
    except greengrass.exceptions.ResourceNotFoundException as error:
        raise NoStack(
            f"AWS knows no core device {device} in {clients.region}.",
            "So nothing waits for it. List the devices there are:",
            f"make status STACK={stack.name}",
        ) from error
    if not _concerns(clients, DeploymentName(project=project(), stack=stack.name), device):
        raise NoStack(
            f"{device} is no device of stack {stack.name}.",
            "No deployment of it went there or will, so neither its up nor its destroy waits for"
            " it. Delete the device's record all the same:",
            "aws greengrassv2 delete-core-device"
            f" --core-device-thing-name {device} --region {clients.region}",
        )
    runs = ", ".join(
        f"{name} {version}" for name, (version, _) in sorted(installed(greengrass, device).items())
    )
    for line in (
        f"{device}: {core.get('status', 'of unknown health')}, last heard of"
        f" {core.get('lastStatusUpdateTimestamp')}, runs {runs or 'nothing'}",
        CONSEQUENCES,
    ):
        console.print(printable_lines(line), soft_wrap=True)
    if not sure and typer.prompt(f"Type {device} to abandon it", default="") != device:
        raise typer.Abort
    greengrass.delete_core_device(coreDeviceThingName=device)
    console.print(f"{device} is abandoned. Next:\n    pulumi destroy\n    pulumi up")


def _concerns(clients: Clients, name: DeploymentName, device: str) -> bool:
    """Whether a deployment of the stack reached the device, or is on its way.

    This includes a device that left the stack's thing group, because a destroy still waits for it.
    """
    greengrass = clients.greengrass
    sent = effective_deployments(greengrass, device)
    if any(name.is_own(one["deploymentName"]) for one in sent):
        return True
    return any(
        device in (members(clients, one["targetArn"]) or ())
        for one in deployments(greengrass, latest=True)
        if name.is_own(one.get("deploymentName", ""))
    )
