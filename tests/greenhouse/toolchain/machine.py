"""A machine that a test makes: the programs on its PATH are small scripts."""

from __future__ import annotations

import io
import time
from pathlib import Path

from rich.console import Console

from greenhouse.toolchain.progress import Progress


class Machine:
    """A machine. A test puts tools there, and each call of a tool is remembered."""

    def __init__(self, root: Path) -> None:
        self.bin, self.cache, self.socket = root / "bin", root / "cache", root / "docker.sock"
        self._calls = root / "calls"
        self.bin.mkdir()
        self._calls.touch()
        self._shown = io.StringIO()
        self.console = Console(file=self._shown, width=200)
        self.progress = Progress(self.console)

    def tool(self, name: str, script: str, folder: Path | None = None) -> Path:
        """An executable that writes down its arguments, then runs the shell script."""
        path = (folder or self.bin) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            f'#!/bin/sh\nPATH=/usr/bin:/bin\necho "{name} $*" >> {self._calls}\n{script}\n'
        )
        path.chmod(0o755)
        return path

    def without(self, name: str) -> None:
        (self.bin / name).unlink()

    def calls(self, name: str = "") -> list[str]:
        return [line for line in self._calls.read_text().splitlines() if line.startswith(name)]

    def said(self) -> str:
        return self._shown.getvalue()

    def until(self, text: str) -> None:
        """Return when the console has shown the text."""
        deadline = time.monotonic() + 120
        while text not in self.said():
            assert time.monotonic() < deadline, f"never said {text!r}: {self.said()}"
