"""The Java nucleus (classic), 2.18: as observed in conformance java-*, else its public source."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from greenhouse.device.downloads.artifacts import check_dependencies
from greenhouse.device.flavours import Flavour
from greenhouse.device.ipc.broker import connect_java
from greenhouse.device.lifecycle.components import Components
from greenhouse.device.lifecycle.lifecycle import Component, Life, Plan, State
from greenhouse.device.lifecycle.scripts import Processes
from greenhouse.device.recipe.configuration import resolve
from greenhouse.device.recipe.interpolation import Names, render
from greenhouse.device.recipe.recipes import Dialect, Recipe, Script, Step
from greenhouse.device.recipe.resolve import refuse_cycles
from greenhouse.device.state import Installed


class Java(Flavour):
    """Rolls back, knows all steps in any case, keeps old defaults."""

    runtime = "aws_nucleus_classic"
    version = environment_version = "2.18.0"
    socket = "ipc.socket"
    socket_variables = (
        "AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH",
        "AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT",
    )
    connections = float("inf")
    rolls_back = True
    dialect = Dialect(
        timeouts={  # From Lifecycle.java and GenericExternalService.java.
            Step.INSTALL: 120,
            Step.STARTUP: 120,
            Step.RUN: None,
            Step.SHUTDOWN: 15,
            Step.RECOVER: 60,
            Step.UNINSTALL: 120,
        },
        any_case=True,
        skips=True,
    )

    def takes(self, target: str) -> bool:  # noqa: ARG002  # all of them
        return True

    def check(
        self,
        recipes: Mapping[str, Recipe],
        merges: Mapping[str, Mapping[str, Any]],  # noqa: ARG002  # wrong policies are left out
    ) -> None:
        """Refuse a cycle.

        How the nucleus handles one was not observed, but its code is documented.
        """
        refuse_cycles(recipes)
        check_dependencies(recipes)

    def configure(
        self,
        running: Installed | None,
        defaults: Mapping[str, Any],
        *,
        reset: Collection[str],
        merge: Mapping[str, Any],
    ) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        before = running.configuration if running else {}
        return resolve(before, defaults, reset=tuple(reset), merge=merge), {}

    def render(
        self, step: Step, script: Script, own: Names, dependencies: Mapping[str, Names]
    ) -> Script:
        return render(step, script, own, dependencies)

    def component(
        self,
        plan: Plan,
        *,
        processes: Processes,
        state_of: Callable[[str], State | None],
        changed: Callable[[Life], None],
    ) -> Life:
        return Component(plan, processes=processes, state_of=state_of, changed=changed)

    async def activate(
        self,
        components: Components,
        plans: Mapping[str, Plan],
        changed: Collection[str],  # noqa: ARG002  # each component sees that for itself
    ) -> Collection[str]:
        components.apply(plans)
        return plans.keys()

    connection = staticmethod(connect_java)

    def tells(self, state: State, *, deploying: bool, settled: bool) -> bool:
        """Always errors.

        Outside a deployment also broken components, and the moment all are at rest.
        """
        if deploying:
            return state is State.ERRORED
        return settled or state in (State.ERRORED, State.BROKEN)
