"""The device itself: starts what it ran before, then follows its deployments to the end."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from greenhouse.device.cloud import Cloud
from greenhouse.device.deployments import Deployer
from greenhouse.device.downloads.artifacts import Packages
from greenhouse.device.flavours import Flavour
from greenhouse.device.folders import Folders
from greenhouse.device.ipc.broker import Broker
from greenhouse.device.lifecycle.components import Components
from greenhouse.device.lifecycle.lifecycle import Life, State
from greenhouse.device.lifecycle.scripts import Processes, end_leftovers
from greenhouse.device.recipe.configuration import merged
from greenhouse.device.reports import Reporter
from greenhouse.device.state import DeviceState, Installed, Outcome, load, save
from greenhouse.faults import Faults, Step

if TYPE_CHECKING:
    from mypy_boto3_iam import IAMClient
    from mypy_boto3_s3 import S3Client

log = logging.getLogger(__name__)

FAULT_SECONDS = 0.2  # Seconds between two looks for faults in `_break`.

# Variables of the shell that started greenhouse. A script on a device doesn't get them.
_SHELLS_OWN = ("AWS_", "PULUMI_")

_STEPS = {
    State.STOPPING: Step.STOPPING,
    State.NEW: Step.STOPPED,
    State.STARTING: Step.STARTING,
    State.RUNNING: Step.RUNNING,
}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The device's name, its folder, and the address of its cloud."""

    thing: str
    folders: Folders
    role: str
    region: str
    flavour: Flavour


class Nucleus:
    """One core device."""

    def __init__(self, settings: Settings, *, cloud: Cloud, iam: IAMClient, s3: S3Client) -> None:
        self._settings = settings
        folders = settings.folders
        self.state = load(folders.state)
        self._running: Mapping[str, Installed] = self.state.components
        self._listed: Sequence[Mapping[str, Any]] = ()
        self._begun = ""  # The deployment that was begun last.
        self._news = asyncio.Event()
        self._ending = threading.Event()
        self.faults = Faults(folders.root)
        flavour = settings.flavour
        self._broker = Broker(
            folders.root,
            self,
            name=flavour.socket,
            connect=flavour.connection,
            thing=settings.thing,
            most=flavour.connections,
        )
        self.components = Components(
            flavour.component, processes=self._processes, changed=self._component_changed
        )
        self._cloud = cloud
        attributes = flavour.attributes()
        self._deployer = Deployer(
            self,
            thing=settings.thing,
            role=settings.role,
            cloud=cloud,
            iam=iam,
            flavour=flavour,
            packages=Packages(
                folders, s3, dialect=flavour.dialect, faults=self.faults, ending=self._ending
            ),
            folders=folders,
            attributes=attributes,
        )
        self._reporter = Reporter(
            cloud,
            flavour=flavour,
            architecture=attributes["architecture"],
            components=self.components,
            state=lambda: self.state,
            deploying=lambda: self._deploying,
            delivered=self._delivered,
        )

    async def run(self, ended: asyncio.Event) -> None:
        """Run until `ended`, then stop the components, dependents first."""
        await end_leftovers(self._settings.folders.processes)
        await self._broker.start()
        flavour = self._settings.flavour
        self.components.begin(flavour.dialect.programs, flavour.version)
        plans = await asyncio.to_thread(self._deployer.plans, self.state.components)
        self.components.apply(plans)
        self._reporter.tell_all()
        self._cloud.follow(self._from_thread(asyncio.get_running_loop()))
        tasks = [
            asyncio.create_task(self._reporter.run(), name="reports"),
            asyncio.create_task(self._deploy_all(), name="deployments"),
            asyncio.create_task(self._break(), name="faults"),
            asyncio.create_task(ended.wait(), name="end"),
        ]
        log.info("%s is up, IPC on %s", self._settings.thing, self._broker.path)
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        self._ending.set()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.components.end([one.plan.name for one in self.components], remove=False)
        await self.components.close()
        await self._broker.stop()
        for task in done:
            task.result()  # A mistake of ours ends the process with its traceback.

    def _from_thread(
        self, loop: asyncio.AbstractEventLoop
    ) -> Callable[[list[dict[str, Any]]], None]:
        def listed(deployments: list[dict[str, Any]]) -> None:
            with suppress(RuntimeError):  # The device has ended meanwhile.
                loop.call_soon_threadsafe(self._follow, deployments)

        return listed

    def _follow(self, listed: list[dict[str, Any]]) -> None:
        self._listed = sorted(listed, key=lambda one: one["creationTimestamp"])
        self._news.set()

    async def _deploy_all(self) -> None:
        while True:
            self._news.clear()
            new = [
                one
                for one in self._listed
                if self._settings.flavour.takes(one["targetArn"])
                and self.state.handled.get(one["targetArn"]) != one["deploymentId"]
            ]
            if new:
                self._begun = new[0]["deploymentId"]
                await self._deployer.deploy(new[0])
            else:
                await self._news.wait()

    async def _break(self) -> None:
        """Kill the components that a fault `crashes:NAME` names."""
        while True:
            for name in self.faults.drain("crashes"):
                log.critical("fault crashes:%s", name)
                self.components.kill(name)
            await asyncio.sleep(FAULT_SECONDS)

    @property
    def _deploying(self) -> bool:
        """From a deployment's receipt until its outcome is saved."""
        return self._begun not in ("", *self.state.handled.values())

    def _component_changed(self, component: Life) -> None:
        if component.state in _STEPS:
            self.faults.crash("crash-at", _STEPS[component.state])
        self._reporter.changed(component)

    def keep(self, state: DeviceState) -> None:
        deploying = self._deploying
        self.state = state
        save(self._settings.folders.state, state)
        if deploying and not self._deploying:
            self._reporter.tell_all()
        else:
            self._reporter.outcomes_changed()

    def run_with(self, installed: Mapping[str, Installed]) -> None:
        self._running = installed

    def _delivered(self, outcomes: Sequence[Outcome]) -> None:
        if outcomes:
            if any(one.status != "IN_PROGRESS" for one in outcomes):
                self.faults.crash("crash-at", Step.REPORTED)
            left = tuple(one for one in self.state.outcomes if one not in outcomes)
            self.keep(replace(self.state, outcomes=left))

    def _processes(self, component: str) -> Processes:
        folders = self._settings.folders
        return Processes(
            component=component,
            work=folders.work(component),
            log_file=folders.log(component),
            records=folders.processes,
            base=self._environment(component),
        )

    def _environment(self, component: str) -> dict[str, str]:
        """A script's environment: the device's own, and what Greengrass adds.

        The names are those of the records java-env-interp-exit0 and lite-env-interp-exit0.
        """
        settings, token = self._settings, self._broker.token(component)
        own = {
            name: value for name, value in os.environ.items() if not name.startswith(_SHELLS_OWN)
        }
        return {
            **own,
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": token,
            "AWS_DEFAULT_REGION": settings.region,
            **dict.fromkeys(settings.flavour.socket_variables, str(self._broker.path)),
            "AWS_IOT_THING_NAME": settings.thing,
            "AWS_REGION": settings.region,
            "GGC_VERSION": settings.flavour.environment_version,
            "GG_ROOT_CA_PATH": "",
            "SVCUID": token,
        }

    def configuration(self, component: str) -> Mapping[str, Any] | None:
        installed = self._running.get(component)
        if installed and self.faults.detail("ipc-denied") is not None:
            return {k: v for k, v in installed.configuration.items() if k != "accessControl"}
        return installed.configuration if installed else None

    def merge_configuration(
        self, component: str, path: list[str], values: Mapping[str, Any]
    ) -> None:
        """Save the values at once. A plain configuration change restarts nothing."""
        for step in reversed(path):
            values = {step: values}

        def with_values(all_of_them: Mapping[str, Installed]) -> dict[str, Installed]:
            one = all_of_them[component]
            new = replace(
                one,
                configuration=merged(one.configuration, values),
                asked=merged(one.asked, values),
            )
            return {**all_of_them, component: new}

        self._running = with_values(self._running)
        if component in self.state.components:
            self.keep(replace(self.state, components=with_values(self.state.components)))

    def report_state(self, component: str, state: str) -> None:
        if found := self.components.get(component):
            found.report(State(state))
