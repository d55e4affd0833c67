"""Does one deployment: resolve, fetch, configure, activate. A failure goes back to what was before.

Nothing is stopped until everything has been fetched. So a failure up to there changes nothing
(FAILED_NO_STATE_CHANGE). Activation ends when every component has arrived, or when one is broken.
The nucleus looks once a second. A `run` that fails within that second fails the deployment, a later
failure doesn't (conformance java-run-exit1). A broken component causes a rollback to what ran
before, unless the deployment says DO_NOTHING (java-fail-good-and-bad-short). Removed components
are stopped last, after the new components have started (java-redeploy-versions-config).
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from greenhouse.device.cloud import Cloud
from greenhouse.device.downloads.artifacts import Packages
from greenhouse.device.downloads.role import Role
from greenhouse.device.errors import DeploymentFailed, ErrorCode
from greenhouse.device.flavours import Flavour
from greenhouse.device.folders import Folders
from greenhouse.device.lifecycle.components import Components
from greenhouse.device.lifecycle.lifecycle import Plan, State
from greenhouse.device.lifecycle.script_plans import plan_all
from greenhouse.device.recipe.configuration import BadPointer
from greenhouse.device.recipe.recipes import Recipe, read
from greenhouse.device.recipe.resolve import Requirements, Sources, resolve
from greenhouse.device.state import DeviceState, Installed, Outcome, Target
from greenhouse.faults import Faults, Step

if TYPE_CHECKING:
    from mypy_boto3_iam import IAMClient

log = logging.getLogger(__name__)

POLL_SECONDS = 1.0  # Java's WAIT_SVC_START_POLL_INTERVAL_MILLISEC.


class Device(Protocol):
    """The device's state and settings as a deployment reads and changes them."""

    state: DeviceState
    components: Components
    faults: Faults

    def keep(self, state: DeviceState) -> None:
        """Make this the device's state."""

    def run_with(self, installed: Mapping[str, Installed]) -> None:
        """Set the components' configurations from now on."""


@dataclass(frozen=True)
class Prepared:
    """Everything that activation needs."""

    targets: Mapping[str, Target]
    installed: Mapping[str, Installed]
    plans: Mapping[str, Plan]


class Deployer:
    """Does deployments, one at a time."""

    def __init__(
        self,
        device: Device,
        *,
        thing: str,
        flavour: Flavour,
        role: str,
        cloud: Cloud,
        iam: IAMClient,
        packages: Packages,
        folders: Folders,
        attributes: Mapping[str, str],
    ) -> None:
        self._device, self._thing, self._flavour, self._role = device, thing, flavour, role
        self._cloud, self._iam = cloud, iam
        self._packages, self._folders, self._attributes = packages, folders, attributes

    async def deploy(self, deployment: Mapping[str, Any]) -> None:
        """Do the deployment. The device's state then holds the outcome."""
        deployment_id, target = deployment["deploymentId"], deployment["targetArn"]
        log.info("deployment %s to %s begins", deployment_id, target)
        self._tell(Outcome(deployment_id, "IN_PROGRESS"))
        self._reached(Step.RECEIVED)
        before = self._device.state
        try:
            prepared = await asyncio.to_thread(self._prepare, deployment, before)
        except DeploymentFailed as failure:
            self._failed(deployment, failure, "FAILED_NO_STATE_CHANGE")
            return
        try:
            await self._activate(prepared, leaving=before.components)
        except DeploymentFailed as failure:
            await self._undo(deployment, failure, before, prepared)
            return
        self._reached(Step.ACTIVATED)
        await self._remove_all_but(prepared.installed)
        self._reached(Step.REMOVED)
        status = "SUCCEEDED" if ":thinggroup/" in target else "COMPLETED"
        self._done(deployment, Outcome(deployment_id, status, "SUCCESSFUL"), prepared)
        await asyncio.to_thread(self._clean_up, prepared.installed)

    def _clean_up(self, installed: Mapping[str, Installed]) -> None:
        """Remove stale versions. The next deployment tries again what can't be removed now."""
        keep = {
            name: {one.version} | ({one.previous} if one.previous else set())
            for name, one in installed.items()
        }
        try:
            self._packages.clean_up(keep, self._attributes)
        except (DeploymentFailed, OSError) as error:
            log.warning("stale versions are not all removed: %s", error)

    def plans(self, installed: Mapping[str, Installed]) -> dict[str, Plan]:
        """The plans for what is on the device already."""
        return self._plan_all(
            {name: self._stored(name, one.version) for name, one in installed.items()}, installed
        )

    def _plan_all(
        self, recipes: Mapping[str, Recipe], installed: Mapping[str, Installed]
    ) -> dict[str, Plan]:
        render = self._flavour.render
        return plan_all(recipes, installed, render=render, folders=self._folders, thing=self._thing)

    def _stored(self, name: str, version: str) -> Recipe:
        return self._read(self._packages.recipe(name, version))

    def _read(self, document: Mapping[str, Any]) -> Recipe:
        return read(document, self._attributes, self._flavour.dialect)

    def _prepare(self, deployment: Mapping[str, Any], before: DeviceState) -> Prepared:
        """Do everything that can fail without a change to what runs. It blocks."""
        asked: Mapping[str, Any] = deployment["components"] or {}
        if with_user := sorted(name for name, one in asked.items() if one.get("runWith")):
            raise DeploymentFailed(
                f"runWith of {with_user}: greenhouse runs all components as its own user",
                ErrorCode.RUN_WITH_CONFIG_NOT_VALID,
            )
        targets = self._targets(deployment, before)
        recipes = resolve(
            {_short(arn): target.roots for arn, target in targets.items()},
            Sources(cloud=self._choose, local=lambda name: self._local(name, before)),
        )
        self._flavour.check(recipes, {name: _merge(one) for name, one in asked.items()})
        self._reached(Step.RESOLVED)
        role = Role(self._iam, self._role)  # Each deployment asks again what the role may do.
        for recipe in recipes.values():
            self._packages.fetch(recipe, role)
        self._reached(Step.DOWNLOADED)
        try:
            installed = {
                name: self._install(recipe, asked.get(name), before, deployment["deploymentId"])
                for name, recipe in recipes.items()
            }
            plans = self._plan_all(recipes, installed)
        except BadPointer as error:
            raise DeploymentFailed(str(error)) from error
        return Prepared(targets, installed, plans)

    def _targets(self, deployment: Mapping[str, Any], before: DeviceState) -> dict[str, Target]:
        """Every target's latest deployment, without groups that the thing has left."""
        groups = self._cloud.groups()
        targets = {
            arn: target
            for arn, target in before.targets.items()
            if groups is None or ":thinggroup/" not in arn or arn in groups
        }
        roots = {
            name: one["componentVersion"] for name, one in (deployment["components"] or {}).items()
        }
        targets[deployment["targetArn"]] = Target(deployment["deploymentId"], roots)
        return targets

    def _choose(self, name: str, requirements: Requirements) -> Recipe | None:
        document = self._cloud.choose(name, requirements, self._attributes)
        if document is None:
            return None
        recipe = self._read(document)
        self._packages.keep_recipe(document)
        return recipe

    def _local(self, name: str, before: DeviceState) -> Recipe | None:
        one = before.components.get(name)
        return self._stored(name, one.version) if one else None

    def _install(
        self, recipe: Recipe, asked: Mapping[str, Any] | None, before: DeviceState, source: str
    ) -> Installed:
        """The component with its new configuration. Only a root component can get an update."""
        running = before.components.get(recipe.name)
        configuration, kept = self._flavour.configure(
            running, recipe.defaults, reset=_update(asked).get("reset") or (), merge=_merge(asked)
        )
        if running and running.version == recipe.version:
            return replace(running, configuration=configuration, asked=kept)
        previous = running.version if running else None
        return Installed(recipe.version, configuration, source, previous, kept)

    async def _activate(self, prepared: Prepared, *, leaving: Mapping[str, Installed]) -> None:
        """Run the components. Raises DeploymentFailed if one of them is broken.

        A component that will be removed keeps its configuration, and so its rights, until it is
        stopped.
        """
        self._device.run_with({**leaving, **prepared.installed})
        changed = [
            name
            for name, one in prepared.installed.items()
            if name not in leaving or leaving[name].version != one.version
        ]
        components = self._device.components
        awaited = await self._flavour.activate(components, prepared.plans, changed)
        while True:
            tracked = [one for one in components if one.plan.name in awaited]
            settled = [one for one in tracked if one.settled]
            for component in settled:
                if component.state is State.BROKEN:
                    raise DeploymentFailed(
                        f"Service {component.plan.name} in broken state after deployment",
                        ErrorCode.COMPONENT_UPDATE_ERROR,
                        ErrorCode.COMPONENT_BROKEN,
                    )
            if len(settled) == len(tracked):
                return
            await asyncio.sleep(POLL_SECONDS)

    async def _undo(
        self,
        deployment: Mapping[str, Any],
        failure: DeploymentFailed,
        before: DeviceState,
        prepared: Prepared,
    ) -> None:
        policies = deployment.get("deploymentPolicies") or {}
        wanted = policies.get("failureHandlingPolicy") != "DO_NOTHING"
        if not wanted or not self._flavour.rolls_back:
            both = {**before.components, **prepared.installed}
            self._failed(
                deployment,
                failure,
                "FAILED_ROLLBACK_NOT_REQUESTED",
                replace(prepared, installed=both),
            )
            return
        log.warning("deployment %s failed, rolling back: %s", deployment["deploymentId"], failure)
        plans = await asyncio.to_thread(self.plans, before.components)
        try:
            await self._activate(
                Prepared(before.targets, before.components, plans), leaving=prepared.installed
            )
        except DeploymentFailed as second:
            log.warning("the rollback failed too: %s", second)
            detail = "FAILED_UNABLE_TO_ROLLBACK"
        else:
            detail = "FAILED_ROLLBACK_COMPLETE"
        await self._remove_all_but(before.components)
        self._failed(deployment, failure, detail)

    async def _remove_all_but(self, installed: Mapping[str, Installed]) -> None:
        names = [one.plan.name for one in self._device.components if one.plan.name not in installed]
        await self._device.components.end(names, remove=True)
        self._device.run_with(installed)

    def _failed(
        self,
        deployment: Mapping[str, Any],
        failure: DeploymentFailed,
        detail: str,
        left: Prepared | None = None,
    ) -> None:
        outcome = Outcome(
            deployment["deploymentId"],
            "FAILED",
            failure.reason(detail),
            tuple(failure.stack),
            tuple(failure.types),
        )
        self._done(deployment, outcome, left)

    def _done(self, deployment: Mapping[str, Any], outcome: Outcome, left: Prepared | None) -> None:
        """Save, in one step, what runs now and how the deployment ended."""
        log.info("deployment %s: %s, %s", outcome.deployment, outcome.status, outcome.reason)
        state = self._device.state
        if left:
            state = replace(state, components=left.installed, targets=left.targets)
        self._device.keep(
            replace(
                state,
                handled={**state.handled, deployment["targetArn"]: deployment["deploymentId"]},
                outcomes=(*_others(state, outcome), outcome),
            )
        )
        self._reached(Step.RECORDED)

    def _reached(self, step: Step) -> None:
        self._device.faults.crash("crash-at", step)

    def _tell(self, outcome: Outcome) -> None:
        state = self._device.state
        self._device.keep(replace(state, outcomes=(*_others(state, outcome), outcome)))


def _update(asked: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """A deployment's configurationUpdate for one component."""
    return (asked or {}).get("configurationUpdate") or {}


def _merge(asked: Mapping[str, Any] | None) -> dict[str, Any]:
    merge: dict[str, Any] = json.loads(_update(asked).get("merge") or "{}")
    return merge


def _others(state: DeviceState, outcome: Outcome) -> tuple[Outcome, ...]:
    return tuple(one for one in state.outcomes if one.deployment != outcome.deployment)


def _short(arn: str) -> str:
    """`thing/NAME` or `thinggroup/NAME`, which requirements use to name the target that asks."""
    return arn.split(":", 5)[-1]
