"""What the device tells the cloud of itself: core, components, deployments.

Not every change is news: each flavour tells some (aws-greengrass-nucleus FleetStatusService,
aws-greengrass-lite ggdeploymentd-5). All components are told of at the launch, at the end of a
deployment, and once the cloud can be reached again. A deployment's outcome is in the device's
state until the cloud has it, so that a device killed in between still reports it.
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
MAX_TEXT = 1000  # LifecycleStateDetails and Reason have no more

_UNREPORTED = (State.UNINSTALLING, State.UNINSTALLED)  # not in the API's enum


class Reporter:
    """Sends the flavour's news in their order, and outcomes with the newest of them."""

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
        self._told: Mapping[str, Any] = {}  # components by name, as they were last told of
        self._dirty = asyncio.Event()

    def outcomes_changed(self) -> None:
        """There may be outcomes in the device's state to report."""
        self._dirty.set()

    def tell_all(self) -> None:
        """Tell how all components are now."""
        self._tell(self._now())

    def changed(self, component: Life) -> None:
        """A component came to another state: while a deployment goes on, it alone is told of."""
        deploying = self._deploying()
        settled = all(one.settled for one in self._components)
        if self._flavour.tells(component.state, deploying=deploying, settled=settled):
            now, name = self._now(), component.plan.name
            self._tell({**self._told, name: now[name]} if deploying else now)

    async def run(self) -> None:
        """Report for as long as the device lives."""
        while True:
            await self._dirty.wait()
            await self.send()

    async def send(self) -> None:
        """Report now what there is to report."""
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
