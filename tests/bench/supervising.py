"""The cost of a component's script that restarts its container: its start, and its idling.

The reference is the script of 07c4f6c. It removed any container of the name and became the docker
client, and its container had an init above the program. Both scripts start the same image by the
same client. A nucleus, the engine and its shim are the same for both.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psutil

from edge.inference.protocol import ANSWER_TOPIC, REQUEST_TOPIC
from infra.names import SERVICE
from tests.bench import images
from tests.bench.place import PATIENCE, THING, Place, place, probe
from tests.bench.table import Row, megabytes

STARTS = 11
IDLE_SECONDS = 60.0
A_TENTH_MORE = 1.1


def _before(script: str) -> str:
    """The script of 07c4f6c, for the container that `script` starts."""
    [container] = re.findall(r'^c="([^"]+)"', script)
    [run] = re.findall(r"^(docker run .*) & p=\$!$", script, re.M)
    run = run.replace(" --rm --log-driver none", " --rm --init").replace('"$c"', container)
    assert "--init" in run
    return f"docker rm -f {container} >/dev/null 2>&1 || true; exec {run}"


@dataclass(frozen=True)
class Idle:
    """What a component costs while it runs: the processes of its script and its container."""

    processes: int
    memory: int  # Resident bytes.
    wakeups: int  # In an hour, for all threads.
    of_the_shell: int  # The shell's part of them.


@contextmanager
def _ready(here: Place, script: str) -> Iterator[subprocess.Popen[bytes]]:
    """The script, run as by a nucleus, when the service is ready. It is stopped at the end."""
    environment = {**os.environ, **here.nucleus.environment(SERVICE)}
    with subprocess.Popen(
        ["sh", "-c", script], env=environment, stdout=subprocess.PIPE, start_new_session=True
    ) as running:
        assert running.stdout
        said = running.stdout.readline()
        if b'"ready"' not in said:
            raise AssertionError(f"the service is not ready: {said!r}")
        yield running
        os.killpg(running.pid, signal.SIGTERM)
        running.stdout.read()  # Until it has ended.
        running.wait(PATIENCE)


def _idle(here: Place, script: str) -> Idle:
    with _ready(here, script) as running:
        shell = psutil.Process(running.pid)
        clients = shell.children(recursive=True)
        own = [shell, *clients, *_in_the_container()]
        time.sleep(2.0)  # These belong to the start.
        before = [_wakeups(one) for one in own]
        time.sleep(IDLE_SECONDS)
        hourly = [
            round((_wakeups(one) - then) * 3600 / IDLE_SECONDS)
            for one, then in zip(own, before, strict=True)
        ]
        memory = sum(one.memory_info().rss for one in own)
        return Idle(len(own), memory, sum(hourly), hourly[0] if clients else 0)


def _in_the_container() -> list[psutil.Process]:
    """The processes of the container, by the pids of the host."""
    _, *pids = images.docker("top", f"{SERVICE}.{THING}", "-o", "pid").split()
    return [psutil.Process(int(pid)) for pid in pids]


def _wakeups(process: psutil.Process) -> int:
    """How often a thread of the process has gone to sleep."""
    files = Path(f"/proc/{process.pid}/task").glob("*/status")
    found = [
        re.search(r"^voluntary_ctxt_switches:\s+(\d+)", one.read_text(), re.M) for one in files
    ]
    return sum(int(one[1]) for one in found if one)


def _first_answer(here: Place, script: str) -> float:
    client = here.client(ANSWER_TOPIC)
    began = time.perf_counter()
    with _ready(here, script):
        client.publish(REQUEST_TOPIC, probe())
        client.received()
        seconds = time.perf_counter() - began
    client.close()
    return seconds


def supervising() -> Iterator[Row]:
    with place() as here:
        now = here.service_script()
        scripts = (now, _before(now))
        starts = [[_first_answer(here, one) for one in scripts] for _ in range(STARTS)]
        idle, idle_before = (_idle(here, one) for one in scripts)
    ours, before = (median(column) for column in zip(*starts, strict=True))
    ratio = median(one / other for one, other in starts)
    yield Row(
        what="a component's start to its first answer",
        ours=f"{ours:.2f} s",
        reference=f"script of 07c4f6c: {before:.2f} s",
        relation=f"{ratio:.2f}",
        bound=f"at most {A_TENTH_MORE}",
        met=ratio <= A_TENTH_MORE,
    )
    processes = idle.processes / idle_before.processes
    yield Row(
        what="a component while it runs, script and container: processes",
        ours=f"{idle.processes}",
        reference=f"script of 07c4f6c: {idle_before.processes}",
        relation=f"{processes:.2f}",
        bound=f"at most {A_TENTH_MORE}",
        met=processes <= A_TENTH_MORE,
    )
    memory = idle.memory / idle_before.memory
    yield Row(
        what="their memory",
        ours=megabytes(idle.memory),
        reference=megabytes(idle_before.memory),
        relation=f"{memory:.2f}",
        bound=f"at most {A_TENTH_MORE}",
        met=memory <= A_TENTH_MORE,
    )
    # The wakeups of client and program vary, so only those of the shell beside them count.
    yield Row(
        what="their wake-ups an hour",
        ours=f"{idle.wakeups:,}, of which the shell's {idle.of_the_shell:,}",
        reference=f"{idle_before.wakeups:,}",
        bound="the shell's at most a tenth of those",
        met=idle.of_the_shell <= (A_TENTH_MORE - 1) * idle_before.wakeups,
    )
