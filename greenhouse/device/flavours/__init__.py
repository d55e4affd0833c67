"""The differences between the two runtimes, behind one interface: a device has one flavour.

Everything else is the same for both, in greenhouse and, as far as is known, in reality.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from typing import Any, ClassVar

from greenhouse.device.ipc.connection import Connection
from greenhouse.device.ipc.operations import Host
from greenhouse.device.ipc.topics import Topics
from greenhouse.device.lifecycle.components import Components
from greenhouse.device.lifecycle.lifecycle import Life, Plan, State
from greenhouse.device.lifecycle.scripts import Processes
from greenhouse.device.recipe.interpolation import Names
from greenhouse.device.recipe.recipes import Dialect, Recipe, Script, Step, platform_attributes
from greenhouse.device.state import Installed


class Flavour(ABC):
    """One kind of nucleus."""

    runtime: ClassVar[str]  # The name in GetCoreDevice.
    version: ClassVar[str]  # The version in GetCoreDevice.
    environment_version: ClassVar[str]  # The value of GGC_VERSION.
    socket: ClassVar[str]  # The name of the IPC socket in the root folder.
    socket_variables: ClassVar[tuple[str, ...]]  # The variables with the socket's path.
    connections: ClassVar[float]  # The limit of components that are connected at the same time.
    rolls_back: ClassVar[bool]  # Whether a failed deployment can be undone.
    dialect: ClassVar[Dialect]

    def attributes(self) -> dict[str, str]:
        """The device's attributes, which manifests ask for."""
        return platform_attributes()

    @abstractmethod
    def takes(self, target: str) -> bool:
        """Whether the flavour takes deployments to this target ARN."""

    @abstractmethod
    def check(self, recipes: Mapping[str, Recipe], merges: Mapping[str, Mapping[str, Any]]) -> None:
        """Refuse what would fail, before it is fetched. Raises DeploymentFailed."""

    @abstractmethod
    def configure(
        self,
        running: Installed | None,
        defaults: Mapping[str, Any],
        *,
        reset: Collection[str],
        merge: Mapping[str, Any],
    ) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """The configuration after a deployment, and the part that isn't only a default."""

    @abstractmethod
    def render(
        self, step: Step, script: Script, own: Names, dependencies: Mapping[str, Names]
    ) -> Script:
        """The script as it is run. Raises BadPointer if a variable fails the deployment."""

    @abstractmethod
    def component(
        self,
        plan: Plan,
        *,
        processes: Processes,
        state_of: Callable[[str], State | None],
        changed: Callable[[Life], None],
    ) -> Life:
        """A component that doesn't run."""

    @abstractmethod
    async def activate(
        self, components: Components, plans: Mapping[str, Plan], changed: Collection[str]
    ) -> Collection[str]:
        """Begin to run the plans. `changed` names those whose version has changed.

        Returns the components that must arrive before the deployment ends. Raises DeploymentFailed.
        """

    @abstractmethod
    def connection(
        self,
        host: Host,
        topics: Topics,
        *,
        thing: str,
        component_of: Callable[[str], str | None],
        send: Callable[[bytes], None],
    ) -> Connection:
        """The device's end of one IPC connection."""

    @abstractmethod
    def tells(self, state: State, *, deploying: bool, settled: bool) -> bool:
        """Whether the cloud is told that a component changed its state.

        `settled` says whether all components are at rest.
        """

    def report_component(self, known: dict[str, Any]) -> dict[str, Any]:
        """What the cloud is told of a component."""
        return known

    def report_deployment(self, known: dict[str, Any]) -> dict[str, Any]:
        """What the cloud is told of a deployment."""
        return known
