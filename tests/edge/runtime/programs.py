"""The container's programs as processes, and how a component starts each of them."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge.inference.settings import Engine
from tests.edge.compiling import shipped

EDGE = Path(__file__).parents[3] / "edge"
MODEL = shipped()
SAMPLES = EDGE / "consumer/samples.json"
CONSUMER = EDGE / "consumer/consumer.py"


class Program:
    """One running program. Its log lines are read as they come."""

    def __init__(self, arguments: list[str], environment: dict[str, str]) -> None:
        self.events: list[dict[str, Any]] = []
        self._news = threading.Condition()
        self._silent = False  # From now on.
        self._process = subprocess.Popen(
            [sys.executable, *arguments],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            with self._news:
                self.events.append(json.loads(line))
                self._news.notify_all()
        with self._news:
            self._silent = True
            self._news.notify_all()

    def until(self, event: str, times: int = 1) -> dict[str, Any]:
        """The event, as soon as it is there. Fails as soon as it can't come any more."""
        with self._news:
            self._news.wait_for(lambda: self._silent or self._all(event)[times - 1 :], 120)
            found = self._all(event)[times - 1 :]
            why = f", and it ended with {self._process.wait(120)}" if self._silent else ""
        assert found, f"no {event!r} (for the {times}. time) in {self.events}{why}"
        return found[0]

    def end_sleep(self) -> None:
        """Wake a program that reads a character where others sleep."""
        assert self._process.stdin
        self._process.stdin.write(".")
        self._process.stdin.flush()

    def _all(self, event: str) -> list[dict[str, Any]]:
        return [said for said in self.events if said["event"] == event]

    def ends(self) -> int:
        code = self._process.wait(120)
        self._reading.join()
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.stdout.close()
        return code

    def peak(self) -> int:
        """The most memory that it has had, in bytes."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024

    def peak_of_its_own(self) -> int:
        """The peak without what is mapped from files, which the kernel can take back."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return self.peak() - int(status.partition("RssFile:")[2].split()[0]) * 1024

    def terminate(self) -> int:
        self._process.terminate()
        return self.ends()

    def kill(self) -> None:
        """End it in any case, also when it has ended itself: its streams are then closed."""
        self._process.kill()
        self.ends()


Start = Callable[..., Program]


def serving(start: Start, model: Path = MODEL, engine: Engine = Engine.EVALUATOR) -> Program:
    command = ("-m", "edge.inference", "serve", "--model", model, "--engine", engine)
    return start("com.ml.xgboost", *command)


def serving_with(start: Start, settings: str, **environment: str) -> Program:
    """The service with other values where the real values would make a test wait."""
    code = (
        "import sys; from edge.inference import ipc, serve;"
        " from edge.inference.__main__ import main;"
        f" {settings}; sys.exit(main(sys.argv[1:]))"
    )
    return start("com.ml.xgboost", "-c", code, "serve", "--model", MODEL, **environment)


def checking(
    start: Start, golden: Path, *, program: tuple[object, ...] = ("-m", "edge.inference")
) -> Program:
    files = ("--samples", SAMPLES, "--golden", golden)
    return start("com.ml.check", *program, "check", *files, "--timeout", 120)


def checking_once(start: Start, golden: Path) -> Program:
    """A check that waits long for each answer, and whose time is over at its first pause."""
    code = """if True:
        import sys
        from edge.inference import check
        from edge.inference.__main__ import main

        async def sleep(_seconds):
            raise TimeoutError

        check.ANSWER_SECONDS, check.asyncio.sleep = 120, sleep
        sys.exit(main(sys.argv[1:]))
    """
    return checking(start, golden, program=("-c", code))


def consuming(
    start: Start, samples: Path = SAMPLES, *, program: tuple[object, ...] = (CONSUMER,)
) -> Program:
    return start("com.ml.consumer", *program, "--samples", samples, "--interval", "0.05")


def impatient_consumer() -> tuple[str, str]:
    """The program of a consumer that notices silence soon, but waits long for the nucleus."""
    code = f"""if True:
        import sys
        sys.path.append({str(EDGE)!r})
        from consumer import consumer

        def ask(client, rows, *, seconds, ask=consumer.Client.ask):
            return ask(client, rows, seconds=0.5)

        consumer.ANSWER_SECONDS, consumer.Client.ask = 120, ask
        sys.exit(consumer.main(sys.argv[1:]))
    """
    return "-c", code
