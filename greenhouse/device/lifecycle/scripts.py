"""A component's processes: scripts run by `sh -c`, their output, and their end.

Each script leads a session of its own, so that every process that it started can be found. To end a
script, the device sends SIGTERM to the whole tree, and after 5 s SIGKILL (the nucleus' UnixExec).
After this device was killed, its successor ends what it left behind. The kernel may give a pid to
another process meanwhile, so each process is remembered with its birth.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import shutil
import signal
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

import psutil

from greenhouse.device.recipe.recipes import Script
from greenhouse.files import write_whole
from greenhouse.processes import birth

log = logging.getLogger(__name__)

GRACE_SECONDS = 5.0  # Java's gracefulShutdownTimeout.
_LOOK_SECONDS = 0.05
# The Java nucleus calls these fileSizeKB and totalLogsSizeKB. The second is for rotated files.
LOG_BYTES, OLD_LOGS_BYTES = 1024 * 1024, 10 * 1024 * 1024
LAST_WORDS_SECONDS = 0.5  # Time for output that is still in the pipe when the script has ended.

Line = Callable[[str], None]
Context = Callable[[], str]


class ComponentLog:
    """`<root>/logs/<component>.log`: one line for each line of output, as on the Java nucleus.

        2025-04-17T16:31:54.755Z [INFO] (Copier) app: stdout. hello. {scriptName=services.app.…

    Sources: public logs of real devices, and ShellRunner.java. `. ` joins kind, text and context,
    and empty parts are left out. Lite leaves output to the journal, without a context.

    A large log goes on in a new file, and the oldest files are removed. The Java nucleus also does
    so every hour. Then `tail` would find no answer for a while, so this log does it by size alone.
    """

    def __init__(self, path: Path, component: str) -> None:
        self._path, self._component = path, component
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._opened()

    def _opened(self) -> TextIO:
        return self._path.open("a", encoding="utf-8", errors="replace", buffering=1)

    def write(self, *said: str, level: str = "INFO") -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        text = ". ".join(filter(None, said))
        self._file.write(f"{now} [{level}] (Copier) {self._component}: {text}\n")
        if os.fstat(self._file.fileno()).st_size >= LOG_BYTES:
            self._rotate()

    def _rotate(self) -> None:
        """Rename the file as the Java nucleus does (LogConfig.java): `app_2026_11_30_17_0.log`."""
        self._file.close()
        hour = f"{datetime.now(UTC):%Y_%m_%d_%H}"
        number = 1 + max((last for at, last, _ in self._rotated() if at == hour), default=-1)
        with suppress(FileNotFoundError):  # Somebody has removed it.
            self._path.rename(self._path.with_name(f"{self._path.stem}_{hour}_{number}.log"))
        self._file = self._opened()
        kept = 0
        for _, _, old in reversed(self._rotated()):
            kept += old.stat().st_size
            if kept > OLD_LOGS_BYTES:
                old.unlink()

    def _rotated(self) -> list[tuple[str, int, Path]]:
        """Hour, number and path of the rotated files, the oldest first."""
        name = re.compile(rf"{re.escape(self._path.stem)}_(\d{{4}}(?:_\d\d){{3}})_(\d+)\.log")
        found = [(path, name.fullmatch(path.name)) for path in self._path.parent.iterdir()]
        return sorted((match[1], int(match[2]), path) for path, match in found if match)

    def stdout(self, line: str, context: str) -> None:
        self.write("stdout", line, context)

    def stderr(self, line: str, context: str) -> None:
        self.write("stderr", line, context, level="WARN")

    def close(self) -> None:
        self._file.close()


class _Lines(asyncio.Protocol):
    """The reading end of a pipe, line by line."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._rest = b""
        self.ended = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._line(line.decode(errors="replace"))

    def connection_lost(self, _error: Exception | None) -> None:
        if self._rest:
            self._line(self._rest.decode(errors="replace"))
        self.ended.set()


@dataclass(frozen=True)
class Running:
    """A script that was started."""

    process: asyncio.subprocess.Process
    output: tuple[_Lines, ...]

    @property
    def pid(self) -> int:
        return self.process.pid

    async def ended(self, *, patience: float | None = LAST_WORDS_SECONDS) -> int:
        """The exit code as a shell gives it, 143 for SIGTERM, after its output has been read.

        A child of the script may hold the pipe open without end. `patience` limits the wait for it.
        """
        code = await self.process.wait()
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                for lines in self.output:
                    await lines.ended.wait()
        return code if code >= 0 else 128 - code


class Processes:
    """The processes of one component."""

    def __init__(
        self, *, component: str, work: Path, log_file: Path, records: Path, base: Mapping[str, str]
    ) -> None:
        self._work, self._records, self._base = work, records, base
        self.log = ComponentLog(log_file, component)
        self._started: list[int] = []

    async def start(self, script: Script, context: Context = str) -> Running:
        """Run the script, with a context for each line of its output.

        Raises OSError if the script can't be started.
        """
        self._work.mkdir(parents=True, exist_ok=True, mode=0o700)
        outputs, ends = [], []
        loop = asyncio.get_running_loop()
        for write_line in (self.log.stdout, self.log.stderr):
            read, write = os.pipe()
            lines = _Lines(lambda line, write_line=write_line: write_line(line, context()))  # type: ignore[misc]  # bound per turn
            await loop.connect_read_pipe(lambda lines=lines: lines, os.fdopen(read, "rb", 0))  # type: ignore[misc]  # bound per turn
            outputs.append(lines)
            ends.append(write)
        try:
            process = await asyncio.create_subprocess_exec(
                "sh",
                "-c",
                script.text,
                cwd=self._work,
                env={**self._base, **script.environment},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=ends[0],
                stderr=ends[1],
                start_new_session=True,
                umask=0o022,
            )
        finally:
            for end in ends:
                os.close(end)
        self._started.append(process.pid)
        _remember(self._records, process.pid)
        return Running(process, tuple(outputs))

    async def stop(self, *, gently: bool = True, grace: float | None = None) -> None:
        """End everything that any script of the component has started and left running."""
        sessions, self._started = self._started, []
        await end_sessions(sessions, on_kill=self._killing, gently=gently, grace=grace)
        for session in sessions:
            _forget(self._records, session)

    async def end(self, running: Running, *, grace: float | None) -> None:
        """End what one script has started and left running. The component's others go on."""
        if running.pid in self._started:
            self._started.remove(running.pid)
            await end_sessions([running.pid], on_kill=self._killing, grace=grace)
            _forget(self._records, running.pid)

    def _killing(self, process: psutil.Process) -> None:
        self.log.write(
            f"process {process.pid} did not respond to interruption within timeout."
            " Going to kill it now.",
            level="WARN",
        )


def skipped(script: Script) -> bool:
    """Whether the step's Skipif is met."""
    if script.skip_if is None:
        return False
    kind, subject = script.skip_if
    return shutil.which(subject) is not None if kind == "onpath" else Path(subject).exists()


async def end_leftovers(records: Path) -> None:
    """End what a killed predecessor left running."""
    sessions = []
    for record in sorted(records.glob("*.birth")) if records.is_dir() else ():
        session = int(record.stem)
        if birth(session) not in (None, record.read_text()):
            record.unlink()  # The pid was given to another process.
        else:
            sessions.append(session)
    members = _members(sessions)
    for process in members:
        log.warning("ending process %d, left behind by a killed predecessor", process.pid)
    await end_sessions(sessions)
    for session in sessions:
        _forget(records, session)


async def end_sessions(
    sessions: Iterable[int],
    *,
    on_kill: Callable[[psutil.Process], None] = lambda _process: None,
    gently: bool = True,
    grace: float | None = None,
) -> None:
    """Send SIGTERM to every member, and SIGKILL to those that remain after `grace` seconds."""
    wanted = list(sessions)
    if gently:
        _signal(_members(wanted), signal.SIGTERM)
        with suppress(TimeoutError):
            async with asyncio.timeout(GRACE_SECONDS if grace is None else grace):
                while _members(wanted):
                    await asyncio.sleep(_LOOK_SECONDS)
    stubborn = _members(wanted)
    for process in stubborn:
        on_kill(process)
    _signal(stubborn, signal.SIGKILL)
    while _members(wanted):  # The kernel needs a moment.
        await asyncio.sleep(_LOOK_SECONDS)


def _members(sessions: list[int]) -> list[psutil.Process]:
    """The living processes of these sessions."""
    if not sessions:
        return []
    found = []
    for pid in psutil.pids():
        with suppress(psutil.Error, OSError):
            if os.getsid(pid) in sessions:
                process = psutil.Process(pid)
                if process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
    return found


def _signal(processes: list[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def _remember(records: Path, pid: int) -> None:
    if born := birth(pid):  # Without a birth it has ended.
        write_whole(_record(records, pid), born)


def _forget(records: Path, pid: int) -> None:
    _record(records, pid).unlink(missing_ok=True)


def _record(records: Path, pid: int) -> Path:
    return records / f"{pid}.birth"
