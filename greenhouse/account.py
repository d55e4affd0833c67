"""Sets up the account as its owner had it before us: a role, a thing, and a tenant on the device.

The tenant is a component of the owner. A deployment of ours must not remove it. Real devices run
such components, so stack `local` tests this case.
"""

from __future__ import annotations

import json
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
from botocore.exceptions import ClientError

from greenhouse.environment import aws_environment
from greenhouse.home import DEVICE_ROLE, REGION, Ports

if TYPE_CHECKING:
    from mypy_boto3_greengrassv2 import GreengrassV2Client

TENANT_RECIPE = Path(__file__).with_name("tenant_recipe.json")
TENANT = "com.example.heartbeat"
TENANT_DEPLOYMENT = "what the owner runs"
LITE = "aws_nucleus_lite"  # GetCoreDevice calls it this.

# https://docs.aws.amazon.com/greengrass/v2/developerguide/device-service-role.html
_TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"Service": "credentials.iot.amazonaws.com"},
            "Action": "sts:AssumeRole",
        }
    ],
}


@cache  # A new session reads botocore's data again, and a waiting caller asks ten times a second.
def session(ports: Ports) -> boto3.Session:
    """boto3 for this account. Each client passes its own endpoint."""
    env = aws_environment(ports)
    return boto3.Session(
        aws_access_key_id=env["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
        region_name=REGION,
    )


@cache
def greengrass(ports: Ports) -> GreengrassV2Client:
    """A client of the greengrassv2 API."""
    return session(ports).client(
        "greengrassv2", endpoint_url=aws_environment(ports)["AWS_ENDPOINT_URL_GREENGRASSV2"]
    )


def set_up(ports: Ports, things: list[str]) -> None:
    """Create the device role and the things, if they don't exist."""
    endpoint = aws_environment(ports)["AWS_ENDPOINT_URL"]
    iam = session(ports).client("iam", endpoint_url=endpoint)
    with suppress(iam.exceptions.EntityAlreadyExistsException):
        iam.create_role(RoleName=DEVICE_ROLE, AssumeRolePolicyDocument=json.dumps(_TRUST))
    iot = session(ports).client("iot", endpoint_url=endpoint)
    for thing in things:
        iot.create_thing(thingName=thing)  # AWS accepts the same request twice.


def thing_arn(ports: Ports, thing: str) -> str:
    iot = session(ports).client("iot", endpoint_url=aws_environment(ports)["AWS_ENDPOINT_URL"])
    return iot.describe_thing(thingName=thing)["thingArn"]


def _owners_target(ports: Ports, thing: str) -> str:
    """The ARN that the device's owner deploys to. Nucleus Lite takes only deployments to groups."""
    client = greengrass(ports)
    try:
        runtime = client.get_core_device(coreDeviceThingName=thing).get("runtime")
    except client.exceptions.ResourceNotFoundException:
        runtime = None  # It has not reported yet.
    if runtime != LITE:
        return thing_arn(ports, thing)
    iot = session(ports).client("iot", endpoint_url=aws_environment(ports)["AWS_ENDPOINT_URL"])
    group = f"owner-of-{thing}"
    with suppress(iot.exceptions.ResourceAlreadyExistsException):
        iot.create_thing_group(thingGroupName=group)
    iot.add_thing_to_thing_group(thingGroupName=group, thingName=thing)
    return iot.describe_thing_group(thingGroupName=group)["thingGroupArn"]


def settle_tenant(ports: Ports, thing: str) -> str | None:
    """Deploy the tenant to a device that has no deployment, and return the deployment's id."""
    client, target = greengrass(ports), _owners_target(ports, thing)
    if client.list_deployments(targetArn=target)["deployments"]:
        return None
    try:
        client.create_component_version(inlineRecipe=TENANT_RECIPE.read_bytes())
    except ClientError as error:
        if error.response["Error"]["Code"] != "ConflictException":
            raise
    return client.create_deployment(
        targetArn=target,
        deploymentName=TENANT_DEPLOYMENT,
        components={TENANT: {"componentVersion": "1.0.0"}},
    )["deploymentId"]


def retire_tenant(ports: Ports) -> None:
    """Remove the tenant's records from the account, and no others.

    The device keeps running the tenant, as on AWS. A deployment that holds only the tenant belongs
    to the tenant, even if we made it: `down` leaves such a deployment.
    """
    client = greengrass(ports)
    for deployment in client.list_deployments(historyFilter="ALL")["deployments"]:
        id_ = deployment["deploymentId"]
        if client.get_deployment(deploymentId=id_).get("components", {}).keys() <= {TENANT}:
            if deployment.get("deploymentStatus") in ("ACTIVE", "COMPLETED", "FAILED"):
                client.cancel_deployment(deploymentId=id_)
            client.delete_deployment(deploymentId=id_)
    for component in client.list_components(scope="PRIVATE")["components"]:
        if component["componentName"] == TENANT:
            client.delete_component(arn=component["latestVersion"]["arn"])
