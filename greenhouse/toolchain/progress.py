"""Shows a person why a tool takes long, that it goes on, and how long it took."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.text import Text

STILL_SECONDS = 30.0  # A CI log that is silent for longer looks like a hang.
SPINNER_SECONDS = 0.2


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
        began = time.monotonic()
        with self.going_on():
            yield
        self.note(f"… took {time.monotonic() - began:.1f} s")

    @contextmanager
    def going_on(self, doing: Callable[[], str] = str) -> Iterator[None]:
        """Show that something goes on, and what: by a spinner, or by a line now and then."""
        began, over = time.monotonic(), threading.Event()
        seconds = SPINNER_SECONDS if self._console.is_terminal else STILL_SECONDS
        with self._console.status("") as spinner:

            def still() -> None:
                while not over.wait(seconds):
                    if self._console.is_terminal:
                        spinner.update(Text(doing(), no_wrap=True, overflow="ellipsis"))
                    else:
                        self.note(f"… {time.monotonic() - began:.0f} s {doing()}".rstrip())

            threading.Thread(target=still, daemon=True).start()
            try:
                yield
            finally:
                over.set()
