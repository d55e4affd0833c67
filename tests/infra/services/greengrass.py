"""greengrassv2, answered from what the account holds."""

# ruff: noqa: N803  # the API's own names for its parameters

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Any

from infra.account.target import DEFAULT_POLICIES
from infra.names import PROJECT_TAG, STACK_TAG
from tests.infra.services.contents import NOON, THING_ARN, Contents, Device, Refused


class Greengrass(Contents):
    """Deployments, core devices and component versions."""

    def deploy(
        self,
        target: str,
        name: str,
        components: dict[str, Any],
        tags: dict[str, str] | None = None,
        policies: dict[str, Any] | None = None,
    ) -> str:
        """Record a deployment as CreateDeployment does: it replaces the target's latest.

        A deployment with a stack's name has the stack's tags, unless a test says otherwise.
        """
        if tags is None:
            stack = re.match(r"(?:without )?(edge-inference)/([a-z0-9-]+)", name)
            tags = dict(zip((PROJECT_TAG, STACK_TAG), stack.groups(), strict=True)) if stack else {}
        for one in self.deployments:
            if one["targetArn"] == target:
                one["isLatestForTarget"] = False
                if one["deploymentStatus"] == "ACTIVE":
                    one["deploymentStatus"] = "CANCELED"
        self.made += 1
        found = f"{self.made:08d}-of-{name.replace('/', '-').replace(' ', '-')}"
        self.deployments.append(
            {
                "deploymentId": found,
                "targetArn": target,
                "deploymentName": name,
                "components": components,
                "deploymentPolicies": DEFAULT_POLICIES | (policies or {}),
                "deploymentStatus": "ACTIVE",
                "isLatestForTarget": True,
                "creationTimestamp": NOON + timedelta(seconds=self.made - 1),
                "tags": tags,
            }
        )
        return found

    def _device(self, name: str) -> Device:
        if name not in self.devices:
            raise Refused("ResourceNotFoundException")
        return self.devices[name]

    def _deployment(self, found: str) -> dict[str, Any]:
        for one in self.deployments:
            if one["deploymentId"] == found:
                return one
        raise Refused("ResourceNotFoundException")

    def _get_core_device(self, *, coreDeviceThingName: str) -> dict[str, Any]:
        device = self._device(coreDeviceThingName)
        return {
            "coreDeviceThingName": coreDeviceThingName,
            "status": device.status,
            "architecture": device.architecture,
            "runtime": device.runtime,
            "coreVersion": device.version,
            "lastStatusUpdateTimestamp": "2026-11-23 07:00",
        }

    def _delete_core_device(self, *, coreDeviceThingName: str) -> dict[str, Any]:
        self._device(coreDeviceThingName)
        del self.devices[coreDeviceThingName]
        return {}

    def _list_core_devices(
        self,
        *,
        thingGroupArn: str = "",
        nextToken: str = "",
        maxResults: int = 0,  # noqa: ARG002  # AWS may return fewer
    ) -> dict[str, Any]:
        """For a group: the devices that had a deployment to it, even after they left it."""
        to_group = [
            one["deploymentId"] for one in self.deployments if one["targetArn"] == thingGroupArn
        ]
        everything = [
            self._get_core_device(coreDeviceThingName=name)
            for name, device in self.devices.items()
            if not thingGroupArn
            or any(
                device.executions.get(one, {}).get("coreDeviceExecutionStatus") == "SUCCEEDED"
                for one in to_group
            )
        ]
        for one in everything:
            del one["coreVersion"]  # Only GetCoreDevice has this.
        return self._page("coreDevices", everything, nextToken)

    def _list_installed_components(
        self, *, coreDeviceThingName: str, topologyFilter: str = "ROOT", nextToken: str = ""
    ) -> dict[str, Any]:
        device = self._device(coreDeviceThingName)
        dependencies = device.dependencies if topologyFilter == "ALL" else {}
        everything = [
            {
                "componentName": name,
                "componentVersion": version,
                "lifecycleState": state,
                "lifecycleStateDetails": device.details.get(name, ""),
                "isRoot": name in device.installed,
                "lastInstallationSource": device.sources.get(name, ""),
                **(
                    {"lastStatusChangeTimestamp": device.since[name]}
                    if name in device.since
                    else {}
                ),
            }
            for name, (version, state) in {**device.installed, **dependencies}.items()
        ]
        return self._page("installedComponents", everything, nextToken)

    def _list_effective_deployments(
        self, *, coreDeviceThingName: str, nextToken: str = ""
    ) -> dict[str, Any]:
        targets = {one["deploymentId"]: one["targetArn"] for one in self.deployments}
        everything = [
            {"deploymentId": found, "targetArn": targets.get(found, THING_ARN), **details}
            for found, details in self._device(coreDeviceThingName).executions.items()
        ]
        return self._page("effectiveDeployments", everything, nextToken)

    def _list_deployments(
        self, *, historyFilter: str, targetArn: str | None = None, nextToken: str = ""
    ) -> dict[str, Any]:
        everything = [
            one
            for one in self.deployments  # The API promises no order.
            if targetArn in (None, one["targetArn"])
            and (one["isLatestForTarget"] or historyFilter == "ALL")
        ]
        return self._page("deployments", everything, nextToken)

    def _get_deployment(self, *, deploymentId: str) -> dict[str, Any]:
        return self._deployment(deploymentId)

    def _create_deployment(
        self,
        *,
        targetArn: str,
        deploymentName: str,
        components: dict[str, Any],
        tags: dict[str, str],
        deploymentPolicies: dict[str, Any],
        clientToken: str,
    ) -> dict[str, Any]:
        assert clientToken  # boto3 itself adds it.
        kind, _, name = targetArn.rpartition(":")[2].partition("/")
        if name not in (self.things if kind == "thing" else self.groups):
            raise Refused("ResourceNotFoundException")
        return {
            "deploymentId": self.deploy(
                targetArn, deploymentName, components, tags, deploymentPolicies
            )
        }

    def _cancel_deployment(self, *, deploymentId: str) -> dict[str, Any]:
        found = self._deployment(deploymentId)
        # AWS' behaviour here was not observed, so this is the stricter case.
        if found["deploymentStatus"] != "ACTIVE":
            raise Refused("ConflictException")
        found["deploymentStatus"] = "CANCELED"
        return {}

    def _delete_deployment(self, *, deploymentId: str) -> dict[str, Any]:
        found = self._deployment(deploymentId)
        if found["deploymentStatus"] not in ("CANCELED", "INACTIVE"):
            raise Refused("ConflictException")  # "should be cancelled before deleted"
        self.deployments.remove(found)
        return {}

    def _get_component(self, *, arn: str) -> dict[str, Any]:
        if arn not in self.components:
            raise Refused("ResourceNotFoundException")
        recipe = json.dumps(self.recipes.get(arn, {})).encode()
        return {"recipe": recipe, "tags": self.components[arn]}

    def _describe_component(self, *, arn: str) -> dict[str, Any]:
        """It exists and is deployable, unless a test says otherwise.

        AWS-provided components are AWS's.
        """
        provided = arn.partition(":components:")[2].startswith("aws.")
        if provided != (arn.split(":")[4] == "aws") or self.undeployable.get(arn) == {}:
            raise Refused("ResourceNotFoundException")
        return {"status": self.undeployable.get(arn, {"componentState": "DEPLOYABLE"})}

    def _delete_component(self, *, arn: str) -> dict[str, Any]:
        del self.components[arn]
        return {}

    def _list_component_versions(self, *, arn: str, nextToken: str = "") -> dict[str, Any]:
        everything = [{"arn": one} for one in self.components if one.startswith(f"{arn}:")]
        if not everything:
            raise Refused("ResourceNotFoundException")
        return self._page("componentVersions", everything, nextToken)
