"""What the device tells the cloud of itself: core, components, deployments.

Reports are collected for a moment and sent again until the cloud has them. An error is reported
however soon its component runs again (aws-greengrass-nucleus, FleetStatusService: "always report
status on errored state"). A deployment's outcome is in the device's state until then, so that a
device killed in between still reports it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from greenhouse.device.cloud import Cloud, Rejected
from greenhouse.device.components import Components
from greenhouse.device.flavours import Flavour
from greenhouse.device.lifecycle import Life, State
from greenhouse.device.state import DeviceState, Outcome

log = logging.getLogger(__name__)

COLLECT_SECONDS = 0.1
RETRY_SECONDS = 1.0
MAX_TEXT = 1000  # LifecycleStateDetails and Reason have no more

_UNREPORTED = (State.UNINSTALLING, State.UNINSTALLED)  # not in the API's enum


class Reporter:
    """Sends the newest picture whenever something has changed."""

    def __init__(
        self,
        cloud: Cloud,
        *,
        flavour: Flavour,
        architecture: str,
        components: Components,
        state: Callable[[], DeviceState],
        delivered: Callable[[Sequence[Outcome]], None],
    ) -> None:
        self._cloud, self._flavour, self._architecture = cloud, flavour, architecture
        self._components, self._state, self._delivered = components, state, delivered
        self._dirty = asyncio.Event()
        self._errored: set[str] = set()  # components, since the last report

    def changed(self, component: Life | None = None) -> None:
        if component and component.state is State.ERRORED:
            self._errored.add(component.plan.name)
        self._dirty.set()

    async def run(self) -> None:
        """Report for as long as the device lives."""
        while True:
            await self._dirty.wait()
            await asyncio.sleep(COLLECT_SECONDS)
            await self.send()

    async def send(self) -> None:
        """Report now what there is to report."""
        self._dirty.clear()
        outcomes = self._state().outcomes
        errored, self._errored = self._errored, set()
        try:
            await asyncio.to_thread(self._cloud.report, self._body(outcomes, errored))
        except Rejected as error:
            log.warning("the cloud won't have the report: %s", error)
        except OSError as error:
            log.warning("not reported, still trying: %s", error)
            self._errored |= errored
            self._dirty.set()
            await asyncio.sleep(RETRY_SECONDS)
            return
        self._delivered(outcomes)
        if errored:  # what has become of them since
            self._dirty.set()

    def _body(self, outcomes: Sequence[Outcome], errored: AbstractSet[str]) -> dict[str, Any]:
        broken = any(component.state is State.BROKEN for component in self._components)
        return {
            "core": {
                "platform": "linux",
                "architecture": self._architecture,
                "coreVersion": self._flavour.version,
                "runtime": self._flavour.runtime,
                "status": "UNHEALTHY" if broken else "HEALTHY",
            },
            "components": self._components_now(errored),
            "effectiveDeployments": [
                self._flavour.report_deployment(_effective(outcome)) for outcome in outcomes
            ],
        }

    def _components_now(self, errored: AbstractSet[str]) -> list[dict[str, Any]]:
        state = self._state()
        listed = []
        for component in self._components:
            if component.state in _UNREPORTED:
                continue
            name = component.plan.name
            recovers = name in errored and component.state is not State.BROKEN
            installed = state.components.get(name)
            one: dict[str, Any] = {
                "componentName": name,
                "componentVersion": component.plan.version,
                "lifecycleState": (State.ERRORED if recovers else component.state).value,
                "isRoot": name in state.roots,
            }
            if installed:
                one["lastInstallationSource"] = installed.source
            if component.trouble:
                one["lifecycleStatusCodes"] = [component.trouble.code]
                one["lifecycleStateDetails"] = component.trouble.detail[:MAX_TEXT]
            listed.append(self._flavour.report_component(one))
        return listed


def _effective(outcome: Outcome) -> dict[str, Any]:
    one: dict[str, Any] = {
        "deploymentId": outcome.deployment,
        "coreDeviceExecutionStatus": outcome.status,
    }
    if outcome.reason:
        one["reason"] = outcome.reason[:MAX_TEXT]
    if outcome.stack:
        one["statusDetails"] = {
            "errorStack": list(outcome.stack),
            "errorTypes": list(outcome.types),
        }
    return one
