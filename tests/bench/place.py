"""A device's IPC with the service on it, started by its own recipe from the image of this tree."""

from __future__ import annotations

import bz2
import json
import os
import re
import shlex
import string
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

from edge.inference.protocol import REQUEST_TOPIC, encode_request
from greenhouse.toolchain.base_images import RUNTIME
from infra.names import SERVICE
from infra.publish import recipe
from tests.bench import images, model
from tests.bench.broker import CLIENT, ECHO, ECHO_ANSWERS, ECHO_REQUESTS
from tests.bench.client import Client

THING = f"bench-{os.getpid()}"
PATIENCE = 30.0  # Seconds until a started program has answered.


class Nucleus:
    """The broker's process, and the tokens that it gave."""

    def __init__(self, root: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.broker", root],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        told = self._told()
        self.socket = Path(told["socket"])
        self._tokens: dict[str, str] = told["tokens"]

    def drop(self, component: str = "") -> None:
        """Close every connection, or a component's connections, and wait for it."""
        stdin = self._stdin()
        stdin.write(f"drop {component}\n")
        stdin.flush()
        self._told()

    def close(self) -> None:
        self._stdin().close()
        self._process.wait(PATIENCE)

    def client(self, *topics: str) -> Client:
        return Client(self.socket, self._tokens[CLIENT], *topics)

    def environment(self, component: str) -> dict[str, str]:
        return {
            "SVCUID": self._tokens[component],
            "AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT": str(self.socket),
            "AWS_IOT_THING_NAME": THING,
        }

    def _told(self) -> Any:
        assert self._process.stdout
        return json.loads(self._process.stdout.readline())

    def _stdin(self) -> IO[str]:
        assert self._process.stdin
        return self._process.stdin


class Container:
    """A container from outside. `docker run` is in the foreground, as under the nucleus."""

    def __init__(self, argv: Sequence[str], environment: dict[str, str], log: Path) -> None:
        self.name = _name(argv)
        self._log = log.open("wb")
        self._process = subprocess.Popen(
            argv, env={**os.environ, **environment}, stdout=self._log, stderr=self._log
        )

    def process(self) -> int:
        """The pid of Python, which is the container's process 1."""
        return int(images.docker("inspect", "--format", "{{.State.Pid}}", self.name))

    def memory(self, what: str) -> int:
        """A line of /proc/…/status in bytes. VmHWM is the peak, VmRSS is the present value."""
        for line in Path(f"/proc/{self.process()}/status").read_text().splitlines():
            if line.startswith(f"{what}:"):
                return int(line.split()[1]) * 1024
        raise AssertionError(f"no {what} in /proc")

    def remove(self) -> None:
        images.docker("rm", "--force", self.name)
        self._process.wait(PATIENCE)
        self._log.close()


class Place:
    """One broker, and what runs against it."""

    def __init__(self, nucleus: Nucleus, artifacts: Path, stack: ExitStack) -> None:
        self.nucleus = nucleus
        self._artifacts = artifacts
        self._stack = stack

    def client(self, *topics: str) -> Client:
        client = self.nucleus.client(*topics)
        self._stack.callback(client.close)
        return client

    def service(self, *options: str) -> Container:
        """The service, running when this returns, and answering soon after.

        `options` are further options of `docker run`. The last option of a kind counts.
        """
        argv = self.service_argv()
        image = argv.index(images.built())
        return self._started([*argv[:image], *options, *argv[image:]], SERVICE)

    def echo(self) -> Container:
        argv = self._instead(
            images.built(),
            f"--volume={Path(__file__).with_name('echo.py')}:/artifacts/echo.py:ro",
            command=("/artifacts/echo.py", ECHO_REQUESTS, ECHO_ANSWERS),
        )
        return self._started(argv, ECHO)

    def service_script(self) -> str:
        """The recipe's own `run`, with the paths that the nucleus would insert."""
        content = recipe.Content(
            images={"any": images.built()},
            files=recipe.Files(uris={recipe.MODEL: f"s3://bench/{recipe.MODEL}"}),
            memory=model.MEMORY,
            check_timeout=110,
            consumer_interval=5,
        )
        (manifest,) = recipe.service("1.0.0", content)["Manifests"]
        script: str = manifest["Lifecycle"]["run"]["Script"]
        here = str(self._artifacts)
        return script.replace("{artifacts:path}", here).replace("{work:path}", here)

    def service_argv(self) -> list[str]:
        """Its `docker run`."""
        [run] = re.findall(r"^(docker run .*) &", self.service_script(), re.M)
        variables = {**self.nucleus.environment(SERVICE), "c": f"{SERVICE}.{THING}"}
        return shlex.split(string.Template(run).substitute(variables))

    def seconds_to_bare_python(self) -> float:
        """Start the same container of the runtime's base, and wait until its Python reports."""
        argv = self._instead(RUNTIME.tag, command=("-c", "print('up', flush=True)"))
        began = time.perf_counter()
        with self._spoken(argv, ECHO):
            return time.perf_counter() - began

    def seconds_to_first_answer(self, client: Client) -> float:
        """Ask only after it reports that it is ready: earlier questions would slow the start."""
        argv, began = self.service_argv(), time.perf_counter()
        with self._spoken(argv, SERVICE):
            client.publish(REQUEST_TOPIC, probe())
            client.received()
            seconds = time.perf_counter() - began
            images.docker("rm", "--force", _name(argv))
            return seconds

    @contextmanager
    def _spoken(self, argv: Sequence[str], component: str) -> Iterator[None]:
        """A container that has printed its first line. It is stopped at the end."""
        environment = {**os.environ, **self.nucleus.environment(component)}
        with subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE) as running:
            assert running.stdout
            running.stdout.readline()
            yield

    def _instead(self, image: str, *options: str, command: tuple[str, ...]) -> list[str]:
        argv = self.service_argv()
        before = argv[: argv.index(images.built())]
        before[before.index("--name") + 1] = f"bench.{THING}"
        return [*before, *options, "--entrypoint=/usr/bin/python3", image, *command]

    def _started(self, argv: Sequence[str], component: str) -> Container:
        log = self._artifacts / f"{component}.log"
        container = Container(argv, self.nucleus.environment(component), log)
        self._stack.callback(container.remove)
        return container


@contextmanager
def place() -> Iterator[Place]:
    """A broker of its own. Everything that was started on it ends with it."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, ExitStack() as stack:
        artifacts = Path(folder)
        artifacts.chmod(0o755)  # The container's user must reach the files.
        (artifacts / recipe.MODEL).write_bytes(bz2.compress(model.compiled()))
        nucleus = Nucleus(artifacts / "nucleus")
        stack.callback(nucleus.close)
        yield Place(nucleus, artifacts, stack)


def _name(argv: Sequence[str]) -> str:
    return argv[argv.index("--name") + 1]


def probe() -> bytes:
    return encode_request("probe", model.samples()[:1])


def wait_until_it_answers(client: Client, topic: str) -> None:
    """Ask again and again, as early questions are lost, then read the remaining answers."""
    deadline = time.monotonic() + PATIENCE
    client.publish(topic, probe())
    while not client.received_within(0.02):
        if time.monotonic() > deadline:
            raise AssertionError(f"nobody answers on {topic} within {PATIENCE:.0f} s")
        client.publish(topic, probe())
    while client.received_within(0.3):
        pass
