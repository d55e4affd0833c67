"""All components of a device, side by side: started, told of each other, ended in order.

Those that depend on a component end before it. Everything else happens as it comes: like the
nucleus, the device installs without waiting for anybody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping

from greenhouse.device.lifecycle import Component, Plan, State
from greenhouse.device.scripts import Processes


class Components:
    """The components that there are now."""

    def __init__(
        self, *, processes: Callable[[str], Processes], changed: Callable[[Component], None]
    ) -> None:
        self._processes, self._changed = processes, changed
        self._all: dict[str, Component] = {}

    def __iter__(self) -> Iterator[Component]:
        return iter(self._all.values())

    def get(self, name: str) -> Component | None:
        return self._all.get(name)

    def apply(self, plans: Mapping[str, Plan]) -> None:
        """Bring every planned component to its plan; the others stay as they are."""
        added = [plan for name, plan in plans.items() if name not in self._all]
        for name, component in self._all.items():
            if name in plans:
                component.update(plans[name])
        for plan in added:
            self._all[plan.name] = Component(
                plan,
                processes=self._processes(plan.name),
                state_of=self._state_of,
                changed=self._on_change,
            )
        for plan in added:
            self._all[plan.name].start()

    async def end(self, names: Iterable[str], *, remove: bool) -> None:
        """End these, dependents before what they depend on."""
        ending = {name: self._all[name] for name in names}
        ended = {name: asyncio.Event() for name in ending}

        async def end(name: str) -> None:
            for other, component in ending.items():
                if name in component.plan.hard | component.plan.soft:
                    await ended[other].wait()
            await ending[name].end(remove=remove)
            self._all.pop(name, None)  # two ends of one component may meet
            self._changed(ending[name])
            ended[name].set()

        async with asyncio.TaskGroup() as group:
            for name in ending:
                group.create_task(end(name), name=f"end {name}")

    def _state_of(self, name: str) -> State | None:
        component = self._all.get(name)
        return component.state if component else None

    def _on_change(self, changed: Component) -> None:
        for component in self._all.values():
            if component is not changed:
                component.neighbours_changed()
        self._changed(changed)
