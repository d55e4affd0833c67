"""Nucleus Lite 2.6: as observed in conformance lite-*, else its public source (tag v2.6.0).

Its SUCCEEDED means less than on the Java nucleus:

* A script with a variable that can't be replaced is run up to that variable.
* A `startup` succeeds when the shell reaches its end, even if a command before it failed.
* Nothing is rolled back.
* A component that has ended counts like a component that runs.
* A failed install that left something running succeeds when it is sent again unchanged.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from greenhouse.device.errors import DeploymentFailed, ErrorCode
from greenhouse.device.flavours import Flavour
from greenhouse.device.flavours.lite.ipc import MAX_CONNECTIONS, connect_lite, encoded
from greenhouse.device.flavours.lite.units import NOTIFIED, Unit
from greenhouse.device.ipc.authorization import invalid_resources
from greenhouse.device.lifecycle.components import Components
from greenhouse.device.lifecycle.lifecycle import Life, Plan, State
from greenhouse.device.lifecycle.scripts import Processes
from greenhouse.device.recipe.configuration import merged, pointer, without
from greenhouse.device.recipe.interpolation import Names
from greenhouse.device.recipe.recipes import Dialect, Recipe, Script, Step
from greenhouse.device.state import Installed

log = logging.getLogger(__name__)

MAX_VARIABLE_BYTES = 256
# Lite's wait_for_deployment_status sleeps so long. A component that will be removed runs once more.
FIRST_LOOK_SECONDS = 5.0
NOTIFIES_STOPPING = 253  # The first systemd whose systemd-notify knows --stopping.

# Lite writes systemd-notify --ready and --stopping there (lite-startup-systemd-252).
_NOTIFY = f"\nexit {NOTIFIED}\n"
_NOTIFY_UNKNOWN = "\necho \"systemd-notify: unrecognized option '--stopping'\" >&2\nexit 1\n"

_SPECIAL = re.compile(r'(["\\$`])')


class Lite(Flavour):
    """Takes only deployments to groups, and runs components as systemd would."""

    runtime = "aws_nucleus_lite"
    version = "2.6.0"
    environment_version = "2.6.0-326e992"
    socket = "gg-ipc.socket"
    socket_variables = ("AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT",)
    connections = MAX_CONNECTIONS
    rolls_back = False
    dialect = Dialect(
        timeouts={Step.INSTALL: 120, Step.STARTUP: 120, Step.RUN: 120},  # The units' TimeoutSec.
        ignored=frozenset({"shutdown", "recover", "uninstall"}),
        platform_keys=frozenset({"os", "runtime"}),
        builtin=frozenset(  # From deployment_handler.c, resolve_dependencies.
            f"aws.greengrass.{name}" for name in ("Nucleus", "TokenExchangeService", "Cli")
        ),
        # It is tes-serverd, bound to tesd.
        programs=frozenset({"aws.greengrass.TokenExchangeService"}),
    )

    def __init__(self, *, systemd: int = NOTIFIES_STOPPING) -> None:
        self._notifies = systemd >= NOTIFIES_STOPPING

    def attributes(self) -> dict[str, str]:
        return {**super().attributes(), "runtime": self.runtime}

    def takes(self, target: str) -> bool:
        return ":thinggroup/" in target

    def check(self, recipes: Mapping[str, Recipe], merges: Mapping[str, Mapping[str, Any]]) -> None:
        """Refuse a prerelease, which the store doesn't find.

        The store reads its files' names up to the last hyphen. Components that depend on each other
        are not refused. They wait for each other without end.
        """
        for name, recipe in recipes.items():
            component = f"{name} {recipe.version}"
            if not recipe.scripts and not recipe.builtin:
                raise DeploymentFailed(
                    f"{component}: Lifecycle with no phase is not supported",
                    ErrorCode.COMPONENT_PACKAGE_LOADING_ERROR,
                )
            if "-" in recipe.version:
                raise DeploymentFailed(
                    f"{component}: Nucleus Lite can't store a prerelease version",
                    ErrorCode.NO_AVAILABLE_COMPONENT_VERSION,
                )
            for source in (recipe.defaults, merges.get(name, {})):
                if bad := invalid_resources(source.get("accessControl")):
                    raise DeploymentFailed(
                        f"{component}: invalid resources {bad} in accessControl",
                        ErrorCode.COMPONENT_PACKAGE_LOADING_ERROR,
                    )

    def configure(
        self,
        running: Installed | None,
        defaults: Mapping[str, Any],
        *,
        reset: Collection[str],
        merge: Mapping[str, Any],
    ) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """Resets, then new defaults over old ones, then all merged values that weren't reset."""
        before: Mapping[str, Any] = running.configuration if running else {}
        asked: Mapping[str, Any] = running.asked if running else {}
        for path in map(pointer, reset):
            before, asked = without(before, path), without(asked, path)
        asked = merged(asked, merge)
        return merged(merged(before, defaults), asked), asked

    def render(
        self,
        step: Step,
        script: Script,
        own: Names,
        dependencies: Mapping[str, Names],  # noqa: ARG002  # Lite has no variables of theirs
    ) -> Script:
        """One text with its environment. It stops before a variable without a value."""
        text, complete = "", True
        for name, value in script.environment.items():
            text += f"export {name}='"
            part, complete = _replaced(value, own, _in_quotes, literally=_in_quotes)
            text += part
            if not complete:
                break
            text += "'\n"
        if complete:
            part, complete = _replaced(script.text, own, _escaped)
            text += part
        if complete and step is Step.STARTUP:
            text += _NOTIFY if self._notifies else _NOTIFY_UNKNOWN
        if not complete:
            log.error("Failed to process lifecycle phase: %s", step)
        return replace(script, text=text, environment={})

    def component(
        self,
        plan: Plan,
        *,
        processes: Processes,
        state_of: Callable[[str], State | None],
        changed: Callable[[Life], None],
    ) -> Life:
        return Unit(plan, processes=processes, state_of=state_of, changed=changed)

    async def activate(
        self, components: Components, plans: Mapping[str, Plan], changed: Collection[str]
    ) -> Collection[str]:
        """Install what changed or is down, stop it, then start everything that isn't active.

        That is deployment_handler.c. A component of the same version that runs or has ended well is
        not processed. `systemctl reset-failed` and the start of greengrass-lite.target start every
        component that is down, even one that is about to be removed. The deployment waits for each
        of its components (lite-rerun, lite-overlap, lite-failed-again).
        """
        units = {name: _unit(components.add(plan)) for name, plan in plans.items()}
        well = (State.RUNNING, State.FINISHED)
        wanted = [n for n, unit in units.items() if n in changed or unit.state not in well]
        installed = await asyncio.gather(*(units[name].install(plans[name]) for name in wanted))
        if all(installed):
            await asyncio.gather(*(units[name].halt() for name in wanted))
        for name, plan in plans.items():
            units[name].update(plan)
        if not all(installed):
            failed = [name for name, good in zip(wanted, installed, strict=True) if not good]
            raise DeploymentFailed(
                f"the installation of {failed} failed", ErrorCode.COMPONENT_UPDATE_ERROR
            )
        everything = [_unit(one) for one in components]
        while any([await unit.follow_dependencies() for unit in everything]):
            log.info("what depends on it is down too")
        for unit in everything:
            if not unit.active:
                unit.start()
        leaving = [unit for unit in everything if unit.plan.name not in plans]
        with suppress(TimeoutError):
            async with asyncio.timeout(FIRST_LOOK_SECONDS):
                while not all(unit.settled for unit in leaving):
                    await asyncio.sleep(0.05)
        return plans.keys()

    connection = staticmethod(connect_lite)

    def tells(self, state: State, *, deploying: bool, settled: bool) -> bool:  # noqa: ARG002
        """Every change, except during a deployment: its end reports them."""
        return not deploying

    def report_component(self, known: dict[str, Any]) -> dict[str, Any]:
        """Every component is a root, and none has a reason (fleet_status_service.c)."""
        told = {key: value for key, value in known.items() if not key.startswith("lifecycleStat")}
        return {**told, "lifecycleState": known["lifecycleState"], "isRoot": True}

    def report_deployment(self, known: dict[str, Any]) -> dict[str, Any]:
        """The job's status and nothing else (iot_jobs_listener.c)."""
        return {key: known[key] for key in ("deploymentId", "coreDeviceExecutionStatus")}


def _unit(life: Life) -> Unit:
    if not isinstance(life, Unit):
        raise TypeError(f"{life.plan.name} is a {type(life).__name__}: not of a Lite device")
    return life


def _in_quotes(text: str) -> str:
    return text.replace("'", "'\\''")


def _escaped(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", text)


def _replaced(
    text: str,
    names: Names,
    escape: Callable[[str], str],
    *,
    literally: Callable[[str], str] = lambda text: text,
) -> tuple[str, bool]:
    """The text up to its end (True), or up to the first variable without a value (False)."""
    done, rest = "", text
    while rest:
        plain, brace, rest = rest.partition("{")
        done += literally(plain)
        if not brace:
            break
        variable, closed, rest = rest.partition("}")
        value = _value(variable, names) if closed else None
        if value is None:
            return done, False
        done += escape(value)
    return done, True


def _value(variable: str, names: Names) -> str | None:
    namespace, colon, key = variable.partition(":")
    if not colon or len(variable.encode()) > MAX_VARIABLE_BYTES:
        return None
    if namespace == "configuration":
        return _configured(key, names)
    value = names.value(namespace, key)
    return f"{value}/" if value is not None and namespace in ("artifacts", "work") else value


def _configured(key: str, names: Names) -> str | None:
    if not key.startswith("/"):
        return None
    value: Any = names.configuration
    for step in pointer(key):
        if not isinstance(value, dict) or step not in value:
            return None
        value = value[step]
    return value if isinstance(value, str) else encoded(value)
