"""Shows a person why a tool takes long, that it goes on, and how long it took."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

STILL_SECONDS = 30.0  # A CI log that is silent for longer looks like a hang.


class Progress:
    """Steps on a console: a spinner on a terminal, plain lines in a pipe."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def note(self, text: str) -> None:
        """Print one plain line, for a decision that a person may want to change."""
        self._console.print(f"  {text}", highlight=False, markup=False, soft_wrap=True)

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Announce a slow step, show that it goes on, and print the seconds it took."""
        self.note(f"{what} …")
        began, over = time.monotonic(), threading.Event()

        def still() -> None:
            while not over.wait(STILL_SECONDS):
                self.note(f"… {time.monotonic() - began:.0f} s")

        ticker = threading.Thread(target=still, daemon=True)
        if not self._console.is_terminal:
            ticker.start()
        try:
            with self._console.status(""):
                yield
        finally:
            over.set()
        self.note(f"… took {time.monotonic() - began:.1f} s")
