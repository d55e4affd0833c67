"""One component's life as Nucleus Lite has systemd live it: a unit, and one for its install.

    install   oneshot; restarted 1 s after a failure, three starts
    run       exec: RUNNING while it runs; 0 or an ordinary signal: FINISHED; else started again
    startup   notify: STARTING until the shell comes to its end, then FINISHED; any other end,
              exit 0 in the middle included, is a failure
    HARD      BindsTo and After: stopped when what it depends on stops, and then stays down
    SOFT      Wants and After: waits for its start, no more
    stop      SIGTERM to all processes, SIGKILL after the step's Timeout, else 120 s
    BROKEN    after three starts within an hour; the next deployment starts it anew
    neither startup nor run: no unit to start, and a deployment waits for it for ever

As seen: conformance lite-run-exit1, lite-startup-*, lite-install-fail, lite-sigterm-ignored,
lite-dep-order-startup, lite-redeploy-versions-config, lite-installonly, lite-ml-dam-*. What a
component says of itself by UpdateState is taken and ignored (lite-startup-errored).
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

RESTART_SECONDS = 1.0  # RestartSec
MAX_STARTS = 3  # StartLimitBurst
START_WINDOW_SECONDS = 3600.0  # StartLimitInterval
NOTICED_SECONDS = 0.3  # how long `run` has to last for gghealthd to see it; between 0 and 3 s

AWS_OWN = Script("exec sleep infinity", timeout=120)  # stands for a program of AWS', which runs on

NOTIFIED = 94  # our scripts' way to say that they came to systemd-notify

_CLEAN = {-number for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE)}
_BEFORE_ACTIVE = (State.NEW, State.INSTALLED, State.STARTING)


class Unit:
    """Lives from `start` to `halt`, any number of times."""

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
        self.bound_down = False  # stopped because what it depends on has
        self._processes = processes
        self._state_of, self._changed = state_of, changed
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._main: Running | None = None  # what startup or run has started
        self._install: Script | None = None  # its unit's file is there until it is removed

    @property
    def settled(self) -> bool:
        return self.state in (State.RUNNING, State.FINISHED, State.BROKEN)

    @property
    def active(self) -> bool:
        """Whether systemd has it up, or on its way there."""
        return self.state in (State.INSTALLED, State.STARTING, State.RUNNING)

    def start(self) -> None:
        self.bound_down = False
        self._enter(State.INSTALLED)
        self._task = asyncio.create_task(self._live(), name=self.plan.name)

    def update(self, plan: Plan) -> None:
        """The plan counts from the next start on: a changed configuration restarts nothing."""
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
        """Run the version's install script while the old version goes on; False where it fails.

        Without one of its own, that of an earlier version is still there and runs again
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
        """Stop, whatever it does at the moment."""
        task, self._task = self._task, None
        if task:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await self._stop()

    async def follow_dependencies(self) -> bool:
        """Be down where a HARD dependency is; whether that was necessary."""
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
            return  # "Dependency failed": not started
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
            self._enter(State.STARTING)  # auto-restart
            await asyncio.sleep(RESTART_SECONDS)

    @property
    def _scripts(self) -> list[Script]:
        """What the unit runs: one script, or none."""
        scripts = (self.plan.scripts.get(step) for step in (Step.STARTUP, Step.RUN))
        return [one for one in scripts if one] or ([AWS_OWN] if self.plan.builtin else [])

    async def _run(self) -> bool:
        """One start to its end; whether systemd takes that for success."""
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
        """The exit code, negative for a signal; None when the time is over.

        A HARD dependency that goes takes the process with it: `bound_down`, and None.
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
        """Start it; a cancellation waits until the process is one that `stop` knows."""
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
            await self._main.ended()  # its last words have been read
