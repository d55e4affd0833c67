"""A component's running script: until it ends or its time runs out, and what went wrong."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from dataclasses import dataclass

from greenhouse.device.lifecycle.scripts import Running
from greenhouse.device.recipe.recipes import Step


@dataclass(frozen=True)
class Trouble:
    """The last error, in the words of the nucleus' ComponentStatusCode."""

    code: str
    detail: str


SAID_SO = Trouble("RUN_ERROR", "The component reported itself as errored.")
_DETAILS = {
    Step.INSTALL: ("INSTALL", "An error occurred during installation."),
    Step.STARTUP: ("STARTUP", "An error occurred during startup."),
    Step.RUN: ("RUN", "An error occurred while running the component."),
}


class ScriptRun:
    """A script that was started, until it ends or its time runs out."""

    def __init__(
        self,
        step: Step,
        running: Running,
        *,
        timeout: float | None,
        over: Callable[[int | None], None],
    ) -> None:
        self.step = step
        self.code: int | None = None
        self.expired = False
        self._over = over
        self._process = running.process
        self._task = asyncio.create_task(self._wait(running), name=f"{step} {running.pid}")
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(timeout, self._expire) if timeout is not None else None

    @property
    def over(self) -> bool:
        return self.code is not None or self.expired

    @property
    def trouble(self) -> Trouble | None:
        """What went wrong with it, if anything."""
        prefix, text = _DETAILS[self.step]
        if self.code is None:
            return Trouble(
                f"{prefix}_TIMEOUT",
                f"{self.step.capitalize()} script didn't finish within the timeout period.",
            )
        if self.code:
            return Trouble(
                f"{prefix}_ERROR", f"{text} The {self.step} script exited with code {self.code}."
            )
        return None

    def send(self, number: signal.Signals) -> None:
        if self._process.returncode is None:
            self._process.send_signal(number)

    @property
    def ended(self) -> asyncio.Task[None]:
        """Done when its last output has been read."""
        return self._task

    async def _wait(self, running: Running) -> None:
        # Exec.java: the script has ended when both pipes are closed. So a child that it left keeps
        # a component RUNNING (java-child).
        self.code = await running.ended(patience=None)
        if self._timer:
            self._timer.cancel()
        self._over(self.code)

    def _expire(self) -> None:
        self.expired = self.code is None
        self._over(None)
