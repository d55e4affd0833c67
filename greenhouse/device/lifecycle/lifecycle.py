"""One component's life, state by state, as in the Java nucleus.

    NEW          install        -> INSTALLED
    INSTALLED    wait for HARD dependencies to be RUNNING, STOPPING or FINISHED
    STARTING     startup, or the start of run; neither: FINISHED
    RUNNING      until run ends: 0 -> STOPPING -> FINISHED, else ERRORED
    ERRORED      recover, then STOPPING -> INSTALLED -> …; from NEW straight back to NEW
    BROKEN       after three errors in the same state within an hour; only a deployment helps
    STOPPING     shutdown, then the end of every process
    FINISHED     -> UNINSTALLING -> UNINSTALLED where a deployment removes the component

A deployment that changes scripts restarts a component from INSTALLED. A deployment that changes its
version restarts it from NEW. A HARD dependency that is no longer available restarts it as well. All
orders were observed: conformance java-run-exit1, java-startup-*, java-install-timeout,
java-sigterm-ignored, java-dep-order-startup, java-redeploy-versions-config.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import IntEnum, StrEnum
from functools import partial
from typing import Protocol

from greenhouse.device.lifecycle.script_run import SAID_SO, ScriptRun, Trouble
from greenhouse.device.lifecycle.scripts import (
    LAST_WORDS_SECONDS,
    Processes,
    skipped,
)
from greenhouse.device.recipe.recipes import Script, Step

log = logging.getLogger(__name__)

MAX_ERRORS = 3
ERROR_WINDOW_SECONDS = 3600.0


class State(StrEnum):
    """A component's state, in the API's words. The last two states are not reported."""

    NEW = "NEW"
    INSTALLED = "INSTALLED"
    STARTING = "STARTING"
    RUNNING = "RUNNING"
    STOPPING = "STOPPING"
    ERRORED = "ERRORED"
    BROKEN = "BROKEN"
    FINISHED = "FINISHED"
    UNINSTALLING = "UNINSTALLING"
    UNINSTALLED = "UNINSTALLED"


AVAILABLE = (State.RUNNING, State.STOPPING, State.FINISHED)  # A dependent component may start.


class Request(IntEnum):
    """What is asked of a component from outside. A greater request includes the smaller ones."""

    NONE = 0
    RESTART = 1
    REINSTALL = 2
    STOP = 3
    REMOVE = 4


@dataclass(frozen=True)
class Plan:
    """What a component has to run, with every recipe variable replaced."""

    name: str
    version: str
    scripts: Mapping[Step, Script]
    hard: frozenset[str] = frozenset()
    soft: frozenset[str] = frozenset()
    builtin: bool = False


class Life(Protocol):
    """A running component, in any flavour of its device."""

    plan: Plan
    state: State
    trouble: Trouble | None

    @property
    def settled(self) -> bool:
        """Whether it has arrived where the last deployment wants it, or is broken."""

    def start(self) -> None:
        """Begin."""

    def update(self, plan: Plan) -> None:
        """Take a deployment's new plan."""

    def neighbours_changed(self) -> None:
        """React to a dependency that has changed its state."""

    def report(self, state: State) -> None:
        """Take the component's own report over IPC: RUNNING or ERRORED."""

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process that it runs. Without a process, nothing happens."""

    async def end(self, *, remove: bool) -> None:
        """Stop it for good. `remove` also uninstalls it."""


class _Interrupted(Exception):
    """Something was asked of the component while it waited."""


class Component:
    """Runs from `start` until it is stopped or removed."""

    def __init__(
        self,
        plan: Plan,
        *,
        processes: Processes,
        state_of: Callable[[str], State | None],
        changed: Callable[[Life], None],
    ) -> None:
        self.plan = self._next = plan  # The next plan counts after this one has been stopped.
        self.state = State.NEW
        self.trouble: Trouble | None = None
        self._processes = processes
        self._state_of, self._changed = state_of, changed
        self._request = Request.NONE
        self._reported: State | None = None
        self._wake = asyncio.Event()
        self._main: ScriptRun | None = None  # What startup or run has started.
        self._errors: dict[State, deque[float]] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._live(), name=self.plan.name)

    @property
    def settled(self) -> bool:
        arrived = self.state in (State.RUNNING, State.FINISHED, State.BROKEN)
        return arrived and self._request is Request.NONE

    def update(self, plan: Plan) -> None:
        """Take a deployment's new plan. It disturbs nothing that stays the same."""
        before, self._next = self._next, plan
        if before.version != plan.version or self.state is State.BROKEN:
            self._ask(Request.REINSTALL)
        elif before.scripts != plan.scripts:
            self._ask(Request.RESTART)
        elif not self._request:
            self.plan = plan

    def neighbours_changed(self) -> None:
        self._wake.set()

    def report(self, state: State) -> None:
        self._reported = state
        self._wake.set()

    def signal(self, number: signal.Signals) -> None:
        if self._main and self._main.code is None:
            self._main.send(number)

    async def end(self, *, remove: bool) -> None:
        self._ask(Request.REMOVE if remove else Request.STOP)
        if self._task:
            # The caller may be cancelled, and the component must not be.
            await asyncio.shield(self._task)
        self._processes.log.close()

    def _ask(self, request: Request) -> None:
        self._request = max(self._request, request)
        self._wake.set()

    def _enter(self, state: State) -> None:
        if state is not self.state:
            log.info("%s %s: %s->%s", self.plan.name, self.plan.version, self.state, state)
            self.state = state
            self._changed(self)

    @property
    def _ready(self) -> bool:
        return all(self._state_of(name) in AVAILABLE for name in self.plan.hard)

    async def _until(self, met: Callable[[], bool]) -> None:
        """Wait for the condition. Raises _Interrupted as soon as something else is asked."""
        while True:
            if self._request:
                raise _Interrupted
            if met():
                return
            self._wake.clear()
            await self._wake.wait()

    async def _live(self) -> None:
        ended = False
        while not ended:
            try:
                await self._turn()
            except _Interrupted:
                ended = await self._obey()
            # The disk, or our own mistake: it must not be lost with the task.
            except Exception as error:
                log.exception("%s: broken by an error of the device's", self.plan.name)
                self.trouble = Trouble("IO_ERROR", f"The device can't run it: {error}")
                self._enter(State.BROKEN)

    async def _turn(self) -> None:
        """Do what the state requires."""
        match self.state:
            case State.NEW:
                await self._install()
            case State.INSTALLED:
                await self._until(lambda: self._ready)
                self._reported = None
                self._enter(State.STARTING)
            case State.STARTING:
                await self._start_up()
            case State.RUNNING:
                await self._keep_running()
            case _:
                await self._until(lambda: False)  # FINISHED, BROKEN: it waits for a deployment.

    async def _obey(self) -> bool:
        """Do what was asked. True if that was the end."""
        if self.state in (State.STARTING, State.RUNNING):
            await self._stop()
        else:
            await self._end_processes()
        request, self._request = self._request, Request.NONE
        self.plan = self._next
        if request is Request.RESTART:
            if self.state is not State.NEW:
                self._enter(State.INSTALLED)
            return False
        if request is Request.REINSTALL:
            self._errors.clear()
            self.trouble = None
            self._enter(State.NEW)
            return False
        self._enter(State.FINISHED)
        if request is Request.REMOVE:
            self._enter(State.UNINSTALLING)
            await self._finish(Step.UNINSTALL)
            self._enter(State.UNINSTALLED)
        return True

    async def _install(self) -> None:
        trouble = None
        if script := self._due(Step.INSTALL):
            running = await self._launch(Step.INSTALL, script)
            await self._until(lambda: running.over)
            trouble = running.trouble
            await self._end_processes()
        if trouble is None:
            self._enter(State.INSTALLED)
        else:
            await self._fail(trouble)

    async def _start_up(self) -> None:
        if script := self._due(Step.STARTUP):
            running = self._main = await self._launch(Step.STARTUP, script)
            await self._until(lambda: running.over or self._reported is not None)
            if running.over and (trouble := running.trouble):
                await self._fail(trouble)
            elif not running.over and self._reported is State.ERRORED:
                await self._fail(SAID_SO)
            else:
                self._arrive(State.RUNNING)
        elif script := self._due(Step.RUN):
            self._main = await self._launch(Step.RUN, script)
            self._arrive(State.RUNNING)
        elif self.plan.builtin:
            self._arrive(State.RUNNING)
        else:
            self._arrive(State.FINISHED)
            await self._stop()  # This was observed: java-nolife, java-installonly.
            self._enter(State.FINISHED)

    def _arrive(self, state: State) -> None:
        self.trouble = None
        self._reported = None
        self._enter(state)

    async def _keep_running(self) -> None:
        main = self._main
        await self._until(
            lambda: (
                (main is not None and main.over)
                or self._reported is State.ERRORED
                or not self._ready
            )
        )
        if self._reported is State.ERRORED:
            await self._fail(SAID_SO)
        elif main is not None and main.over:
            self._main = None
            if trouble := main.trouble:
                await self._fail(trouble)
            elif main.step is Step.RUN:
                await self._stop()
                self._enter(State.FINISHED)
        else:
            self._ask(Request.RESTART)

    async def _fail(self, trouble: Trouble) -> None:
        before = self.state
        if await self._broke(trouble):
            return
        if before is State.NEW:
            self._enter(State.NEW)
            return
        await self._stop()
        self._enter(State.INSTALLED)

    async def _broke(self, trouble: Trouble) -> bool:
        """Count the error and recover from it. True if the component has had too many."""
        now = time.monotonic()
        times = self._errors.setdefault(self.state, deque(maxlen=MAX_ERRORS))
        times.append(now)
        self.trouble = trouble
        if len(times) == MAX_ERRORS and now - times[0] < ERROR_WINDOW_SECONDS:
            self._enter(State.BROKEN)
            await self._end_processes()
            return True
        self._enter(State.ERRORED)
        await self._finish(Step.RECOVER)
        return False

    async def _stop(self) -> None:
        self._enter(State.STOPPING)
        in_time = await self._finish(Step.SHUTDOWN)
        if not in_time:
            self.trouble = Trouble(
                "SHUTDOWN_TIMEOUT", "Shutdown script didn't finish within the timeout period."
            )
            self._enter(State.ERRORED)
        # The cases java-sigterm-ignored and xshutto show it.
        await self._end_processes(gently=in_time)

    async def _end_processes(self, *, gently: bool = True) -> None:
        await self._processes.stop(gently=gently)
        if self._main:
            await asyncio.wait({self._main.ended}, timeout=LAST_WORDS_SECONDS)
            self._main = None

    async def _finish(self, step: Step) -> bool:
        """Run a script of the shutdown, even after errors. False if its time ran out."""
        script = self._due(step)
        if script is None:
            return True
        try:
            running = await self._launch(step, replace(script, timeout=None))
        except OSError:
            log.exception("%s: %s can't be started", self.plan.name, step)
            return True
        try:
            async with asyncio.timeout(script.timeout):
                await asyncio.shield(running.ended)
        except TimeoutError:
            return False
        return True

    def _due(self, step: Step) -> Script | None:
        """The step's script. None if there is none, or if it has to be skipped."""
        script = self.plan.scripts.get(step)
        return None if script is None or skipped(script) else script

    async def _launch(self, step: Step, script: Script) -> ScriptRun:
        def context(first: str) -> str:
            return f"{{{first}, serviceName={self.plan.name}, currentState={self.state}}}"

        def over(code: int | None) -> None:
            if code is not None and step in (Step.STARTUP, Step.RUN):
                said = f"{step.capitalize()} script exited"
                self._processes.log.write(said, context(f"exitCode={code}"))
            self._wake.set()

        running = await self._processes.start(
            script,
            partial(context, f"scriptName=services.{self.plan.name}.lifecycle.{step}.Script"),
        )
        return ScriptRun(step, running, timeout=script.timeout, over=over)
