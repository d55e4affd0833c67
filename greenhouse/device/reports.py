"""Reports the device to the cloud: core, components, deployments.

Not every change is reported: each flavour reports some (aws-greengrass-nucleus FleetStatusService,
aws-greengrass-lite ggdeploymentd-5). All components are reported at the launch, at the end of a
deployment, and when the cloud can be reached again. The device's state keeps a deployment's outcome
until the cloud has it. So a device that is killed in between still reports the outcome.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from greenhouse.device.cloud import Cloud, Rejected
from greenhouse.device.flavours import Flavour
from greenhouse.device.lifecycle.components import Components
from greenhouse.device.lifecycle.lifecycle import Life, State
from greenhouse.device.state import DeviceState, Outcome

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0
MAX_TEXT = 1000  # The limit of LifecycleStateDetails and Reason.

_UNREPORTED = (State.UNINSTALLING, State.UNINSTALLED)  # The API's enum doesn't have them.


class Reporter:
    """Sends the flavour's reports in order, and outcomes with the newest of them."""

    def __init__(
        self,
        cloud: Cloud,
        *,
        flavour: Flavour,
        architecture: str,
        components: Components,
        state: Callable[[], DeviceState],
        deploying: Callable[[], bool],
        delivered: Callable[[Sequence[Outcome]], None],
    ) -> None:
        self._cloud, self._flavour, self._architecture = cloud, flavour, architecture
        self._components, self._state, self._delivered = components, state, delivered
        self._deploying = deploying
        self._news: list[dict[str, Any]] = []
        self._told: Mapping[str, Any] = {}  # Components by name, as they were last reported.
        self._dirty = asyncio.Event()

    def outcomes_changed(self) -> None:
        """The device's state may hold outcomes to report."""
        self._dirty.set()

    def tell_all(self) -> None:
        """Report the present state of all components."""
        self._tell(self._now())

    def changed(self, component: Life) -> None:
        """A component changed its state. During a deployment, only this component is reported."""
        deploying = self._deploying()
        settled = all(one.settled for one in self._components)
        if self._flavour.tells(component.state, deploying=deploying, settled=settled):
            now, name = self._now(), component.plan.name
            self._tell({**self._told, name: now[name]} if deploying else now)

    async def run(self) -> None:
        """Report until the device ends."""
        while True:
            await self._dirty.wait()
            await self.send()

    async def send(self) -> None:
        """Send the open reports now."""
        self._dirty.clear()
        news, self._news = self._news or [{}], []
        outcomes = self._state().outcomes
        deployments = [self._flavour.report_deployment(_effective(one)) for one in outcomes]
        for report in (*news[:-1], {**news[-1], "effectiveDeployments": deployments}):
            try:
                await asyncio.to_thread(self._cloud.report, report)
            except Rejected as error:
                log.warning("the cloud won't have the report: %s", error)
            except OSError as error:
                log.warning("not reported, still trying: %s", error)
                await asyncio.sleep(RETRY_SECONDS)
                self._news.clear()
                self.tell_all()
                return
        self._delivered(outcomes)

    def _tell(self, components: Mapping[str, Any]) -> None:
        broken = any(component.state is State.BROKEN for component in self._components)
        self._told = components
        self._news.append(
            {
                "core": {
                    "platform": "linux",
                    "architecture": self._architecture,
                    "coreVersion": self._flavour.version,
                    "runtime": self._flavour.runtime,
                    "status": "UNHEALTHY" if broken else "HEALTHY",
                },
                "components": list(components.values()),
            }
        )
        self._dirty.set()

    def _now(self) -> dict[str, Any]:
        state = self._state()
        listed = {}
        for component in self._components:
            if component.state in _UNREPORTED:
                continue
            name = component.plan.name
            installed = state.components.get(name)
            one: dict[str, Any] = {
                "componentName": name,
                "componentVersion": component.plan.version,
                "lifecycleState": component.state.value,
                "isRoot": name in state.roots,
            }
            if installed:
                one["lastInstallationSource"] = installed.source
            if component.trouble:
                one["lifecycleStatusCodes"] = [component.trouble.code]
                one["lifecycleStateDetails"] = component.trouble.detail[:MAX_TEXT]
            listed[name] = self._flavour.report_component(one)
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
