"""One component's life under Nucleus Lite and systemd: one unit, and one unit for its install.

    install   oneshot; restarted 1 s after a failure, three starts
    run       exec: RUNNING while it runs; 0 or an ordinary signal: FINISHED; else started again
    startup   notify: STARTING until the shell reaches its end, then FINISHED; any other end is
              a failure, even an exit 0 in the middle
    HARD      BindsTo and After: stopped when a dependency stops, and then stays down
    SOFT      Wants and After: waits for a dependency's start only
    stop      SIGTERM to all processes, SIGKILL after the step's Timeout, else 120 s
    BROKEN    after three starts within an hour; the next deployment starts it again
    neither startup nor run: no unit to start, and a deployment waits for it without end

Sources: conformance lite-run-exit1, lite-startup-*, lite-install-fail, lite-sigterm-ignored,
lite-dep-order-startup, lite-redeploy-versions-config, lite-installonly, lite-ml-dam-*. A component
may report its state by UpdateState, which has no effect (lite-startup-errored).
"""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Callable
from contextlib import suppress

from greenhouse.device.lifecycle.lifecycle import Life, Plan, State
from greenhouse.device.lifecycle.script_run import Trouble
from greenhouse.device.lifecycle.scripts import Processes, Running
from greenhouse.device.recipe.recipes import Script, Step

log = logging.getLogger(__name__)

RESTART_SECONDS = 1.0  # The units' RestartSec.
MAX_STARTS = 3  # The units' StartLimitBurst.
START_WINDOW_SECONDS = 3600.0  # The units' StartLimitInterval.
# `run` has to last so long for gghealthd to see it. The real limit is between 0 and 3 s.
NOTICED_SECONDS = 0.3

# It stands for a program of AWS', which runs without end.
AWS_OWN = Script("exec sleep infinity", timeout=120)

NOTIFIED = 94  # Our scripts exit with this code when they come to systemd-notify.

_CLEAN = {-number for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE)}
_BEFORE_ACTIVE = (State.NEW, State.INSTALLED, State.STARTING)


class Unit:
    """Runs from `start` to `halt`, any number of times."""

    def __init__(
        self,
        plan: Plan,
        *,
        processes: Processes,
        state_of: Callable[[str], State | None],
        changed: Callable[[Life], None],
    ) -> None:
        self.plan = plan
        self.state = State.NEW
        self.trouble: Trouble | None = None
        self.bound_down = False  # Stopped because a dependency has stopped.
        self._processes = processes
        self._state_of, self._changed = state_of, changed
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._main: Running | None = None  # The process that startup or run has started.
        # The file of its unit stays until the component is removed.
        self._install: Script | None = None

    @property
    def settled(self) -> bool:
        return self.state in (State.RUNNING, State.FINISHED, State.BROKEN)

    @property
    def active(self) -> bool:
        """Whether the unit is active, or will be."""
        return self.state in (State.INSTALLED, State.STARTING, State.RUNNING)

    def start(self) -> None:
        self.bound_down = False
        self._enter(State.INSTALLED)
        self._task = asyncio.create_task(self._live(), name=self.plan.name)

    def update(self, plan: Plan) -> None:
        """The plan counts from the next start on. A changed configuration restarts nothing."""
        self.plan = plan

    def neighbours_changed(self) -> None:
        self._wake.set()

    def signal(self, number: signal.Signals) -> None:
        if self._main and self._main.process.returncode is None:
            self._main.process.send_signal(number)

    def report(self, state: State) -> None:
        log.info("%s says that it is %s: ignored", self.plan.name, state)

    async def end(self, *, remove: bool) -> None:  # noqa: ARG002  # there is no uninstall
        await self.halt()
        self._processes.log.close()

    async def install(self, plan: Plan) -> bool:
        """Run the version's install script while the old version goes on. False if it fails.

        If the version has no install script, that of an earlier version still exists and runs again
        (lite-staleinstall; stale_component.c removes its file with the component).
        """
        self._install = plan.scripts.get(Step.INSTALL, self._install)
        if self._install is None:
            return True
        for attempt in range(MAX_STARTS):
            if attempt:
                await asyncio.sleep(RESTART_SECONDS)
            if await self._install_once(self._install):
                return True
        return False

    async def halt(self) -> None:
        """Stop the unit, whatever it does at the moment."""
        task, self._task = self._task, None
        if task:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await self._stop()

    async def follow_dependencies(self) -> bool:
        """Stop if a HARD dependency is down. Returns whether that was necessary."""
        lost = self.state in (State.STARTING, State.RUNNING) and self._lost_dependency
        if lost:
            await self.halt()
            self.bound_down = True
        return lost

    @property
    def _lost_dependency(self) -> bool:
        return any(self._state_of(name) is not State.RUNNING for name in self.plan.hard)

    def _enter(self, state: State) -> None:
        if state is not self.state:
            log.info("%s %s: %s->%s", self.plan.name, self.plan.version, self.state, state)
            self.state = state
            self._changed(self)

    async def _live(self) -> None:
        """Start, and start again after failures, as long as systemd would."""
        starts: list[float] = []
        if not self._scripts:
            return
        await self._until(self._dependencies_started)
        if any(self._state_of(name) is State.BROKEN for name in self.plan.hard):
            return  # "Dependency failed": not started.
        while True:
            recent = [at for at in starts if time.monotonic() - at < START_WINDOW_SECONDS]
            if len(recent) == MAX_STARTS:
                self._enter(State.BROKEN)
                return
            starts.append(time.monotonic())
            self._enter(State.STARTING)
            try:
                well = await self._run()
            except OSError:
                log.exception("%s can't be started", self.plan.name)
                well = False
            await self._end_processes()
            if well:
                self._enter(State.FINISHED)
                return
            self._enter(State.STARTING)  # This is systemd's auto-restart.
            await asyncio.sleep(RESTART_SECONDS)

    @property
    def _scripts(self) -> list[Script]:
        """What the unit runs: one script, or none."""
        scripts = (self.plan.scripts.get(step) for step in (Step.STARTUP, Step.RUN))
        return [one for one in scripts if one] or ([AWS_OWN] if self.plan.builtin else [])

    async def _run(self) -> bool:
        """Run one start to its end. Returns whether systemd would call it a success."""
        (script,) = self._scripts
        running = self._main = await self._launch(script)
        if Step.STARTUP in self.plan.scripts:
            code = await self._ended(running, within=script.timeout)
            if code == NOTIFIED:
                self._enter(State.RUNNING)
            return code == NOTIFIED or self.bound_down
        code = await self._ended(running, within=NOTICED_SECONDS)
        if code is None and not self.bound_down:
            self._enter(State.RUNNING)
            code = await self._ended(running, within=None)
        return code == 0 or code in _CLEAN or self.bound_down

    async def _ended(self, running: Running, *, within: float | None) -> int | None:
        """The exit code, negative for a signal, or None when the time is over.

        A HARD dependency that stops ends the process too: `bound_down` is set, and the result is
        None.
        """
        over = asyncio.create_task(running.ended())
        over.add_done_callback(lambda _: self._wake.set())
        try:
            async with asyncio.timeout(within):
                await self._until(lambda: over.done() or self._lost_dependency)
        except TimeoutError:
            return None
        finally:
            over.cancel()
        self.bound_down = not over.done()
        return running.process.returncode

    async def _launch(self, script: Script) -> Running:
        """Start the process. A cancellation waits until `stop` can find the process."""
        task = asyncio.create_task(self._processes.start(script))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait({task})
            raise

    async def _install_once(self, script: Script) -> bool:
        try:
            running = await self._launch(script)
        except OSError:
            log.exception("%s can't be installed", self.plan.name)
            return False
        with suppress(TimeoutError):
            async with asyncio.timeout(script.timeout):
                await running.ended()
        code = running.process.returncode
        await self._processes.end(running, grace=script.timeout)
        return code == 0

    def _dependencies_started(self) -> bool:
        others = self.plan.hard | self.plan.soft
        return all(self._state_of(name) not in _BEFORE_ACTIVE for name in others)

    async def _until(self, met: Callable[[], bool]) -> None:
        while not met():
            self._wake.clear()
            await self._wake.wait()

    @property
    def _grace(self) -> float | None:
        return next((one.timeout for one in self._scripts), None)

    async def _stop(self) -> None:
        if self.state in (State.STARTING, State.RUNNING):
            self._enter(State.STOPPING)
        await self._end_processes()
        if self.state is not State.NEW:
            self._enter(State.FINISHED)

    async def _end_processes(self) -> None:
        await self._processes.stop(grace=self._grace)
        if self._main:
            await self._main.ended()  # Its last output has been read.
