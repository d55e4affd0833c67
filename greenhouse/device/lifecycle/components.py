"""All components of a device, side by side: starts them, tells them of each other, and ends them.

A component ends after the components that depend on it. There is no other order: like the nucleus,
the device installs each component without waiting for others.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol

from greenhouse.device.lifecycle.lifecycle import Life, Plan, State
from greenhouse.device.lifecycle.scripts import Processes


class Make(Protocol):
    """Makes a component of this device."""

    def __call__(
        self,
        plan: Plan,
        *,
        processes: Processes,
        state_of: Callable[[str], State | None],
        changed: Callable[[Life], None],
    ) -> Life: ...


class Components:
    """The components that exist now."""

    def __init__(
        self,
        make: Make,
        *,
        processes: Callable[[str], Processes],
        changed: Callable[[Life], None],
    ) -> None:
        self._make, self._processes, self._changed = make, processes, changed
        self._all: dict[str, Life] = {}
        self._own: dict[str, Life] = {}  # Programs of the nucleus, which nobody can deploy or list.

    def __iter__(self) -> Iterator[Life]:
        return iter(self._all.values())

    def get(self, name: str) -> Life | None:
        return self._all.get(name)

    def add(self, plan: Plan) -> Life:
        """The component of that name. It is made if it doesn't exist, and not started."""
        if plan.name not in self._all:
            self._all[plan.name] = self._make(
                plan,
                processes=self._processes(plan.name),
                state_of=self._state_of,
                changed=self._on_change,
            )
        return self._all[plan.name]

    def begin(self, programs: Iterable[str], version: str) -> None:
        """Start the nucleus' own programs, on which components can depend."""
        for name in programs:
            self._own[name] = self._make(
                Plan(name, version, {}, builtin=True),
                processes=self._processes(name),
                state_of=self._state_of,
                changed=self._tell_the_others,
            )
            self._own[name].start()

    async def close(self) -> None:
        """End the nucleus' own programs."""
        while self._own:
            await self._own.popitem()[1].end(remove=False)

    def kill(self, name: str) -> None:
        """Send SIGKILL to the process of a component or of a program of the nucleus."""
        if found := self._all.get(name) or self._own.get(name):
            found.signal(signal.SIGKILL)

    def apply(self, plans: Mapping[str, Plan]) -> None:
        """Give every planned component its plan. The others don't change."""
        for name, component in self._all.items():
            if name in plans:
                component.update(plans[name])
        added = [self.add(plan) for name, plan in plans.items() if name not in self._all]
        for component in added:
            component.start()

    async def end(self, names: Iterable[str], *, remove: bool) -> None:
        """End these components, dependents first.

        Components in a circle don't wait for each other.
        """
        ending = {name: self._all[name] for name in names}
        ended = {name: asyncio.Event() for name in ending}
        needs = {name: one.plan.hard | one.plan.soft for name, one in ending.items()}

        def reaches(one: str, other: str, seen: frozenset[str] = frozenset()) -> bool:
            below = needs.get(one, frozenset()) - seen
            return other in below or any(reaches(name, other, seen | below) for name in below)

        async def end(name: str) -> None:
            for other in ending:
                if name in needs[other] and not reaches(name, other):
                    await ended[other].wait()
            await ending[name].end(remove=remove)
            self._all.pop(name, None)  # Two calls may end the same component at the same time.
            self._changed(ending[name])
            ended[name].set()

        async with asyncio.TaskGroup() as group:
            for name in ending:
                group.create_task(end(name), name=f"end {name}")

    def _state_of(self, name: str) -> State | None:
        component = self._all.get(name) or self._own.get(name)
        return component.state if component else None

    def _tell_the_others(self, changed: Life) -> None:
        for component in self._all.values():
            if component is not changed:
                component.neighbours_changed()

    def _on_change(self, changed: Life) -> None:
        self._tell_the_others(changed)
        self._changed(changed)
