"""The recipes' scripts on both runtimes as greenhouse has them, and a Docker engine of their own.

The engine is this test's, so it may be stopped, killed and come late. Recipes and scripts are the
program's; in place of the image there is a shell that says that it answers.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from greenhouse import toolchain
from greenhouse.device.flavours import Flavour
from greenhouse.device.flavours.java import Java
from greenhouse.device.flavours.lite.nucleus import Lite
from greenhouse.toolchain.docker import SYSTEM_FOLDERS
from infra.names import CONSUMER, SERVICE
from infra.publish import recipe as recipes
from infra.publish import scripts
from tests.greenhouse.device.bench import GROUP_ARN, THING, Bench, recipe

pytestmark = pytest.mark.docker

IMAGE = "scripts-test:1"
FILES = {name for names in recipes.FILES.values() for name in names}
PROGRAM = """#!/bin/sh
trap 'echo stopped; exit 0' TERM
trap 'exit 3' USR1
trap 'a=x; while :; do a=$a$a; done' USR2
echo answers
while :; do sleep 1000 & wait $!; done
"""
CONTENT = recipes.Content(
    images={{"x86_64": "amd64"}.get(platform.machine(), platform.machine()): IMAGE},
    files=recipes.Files(uris={name: f"s3://bucket/{name}" for name in FILES}),
    memory=16,
    check_timeout=20,
    consumer_interval=5,
)


FILE = b"{}"


def as_the_cloud_has_it(document: dict[str, Any]) -> dict[str, Any]:
    """With the digests of its files."""
    digest = base64.b64encode(hashlib.sha256(FILE).digest()).decode()
    [manifest] = document["Manifests"]
    for artifact in manifest["Artifacts"]:
        if artifact["Uri"].startswith("s3:"):
            artifact["Digest"] = digest
    return document


class Engine:
    """A Docker engine that nobody else uses.

    It has a network of its own: `--bridge none` removes the machine's docker0, which is another's.
    """

    def __init__(self, folder: Path, path: str) -> None:
        self._folder, self._path = folder, path
        self.host = f"unix://{folder}/docker.sock"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        (self._folder / "pid").unlink(missing_ok=True)
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *("unshare", "--net"),
                    *("dockerd", "--host", self.host, "--pidfile", f"{self._folder}/pid"),
                    *("--data-root", f"{self._folder}/data", "--exec-root", f"{self._folder}/exec"),
                    *("--bridge", "none", "--iptables=false", "--ip6tables=false"),
                    *("--containerd-namespace", "scripts-test"),  # if it is the machine's
                    *("--containerd-plugins-namespace", "scripts-test-plugins"),
                ],
                stdout=log,
                stderr=log,
                env=os.environ | {"PATH": self._path},
                start_new_session=True,
            )
        deadline = time.monotonic() + 60
        while self.docker("version", ok=False).returncode:
            said = (self._folder / "log").read_text()
            assert self._process.poll() is None, said
            assert time.monotonic() < deadline, said
            time.sleep(0.05)

    def end(self) -> None:
        """In good order: containers first."""
        assert self._process
        self._process.terminate()
        self._process.wait(timeout=60)

    def kill(self) -> None:
        """With its containerd, which the next engine would take for its own while it dies."""
        assert self._process
        file = self._folder / "exec" / "containerd" / "containerd.pid"
        its_own = psutil.Process(int(file.read_text())) if file.exists() else None
        self._process.kill()
        self._process.wait(timeout=60)
        if its_own:
            with suppress(psutil.NoSuchProcess):
                its_own.kill()
                its_own.wait(timeout=60)
            file.unlink(missing_ok=True)

    def docker(self, *words: str, ok: bool = True) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["docker", *words],
            env=os.environ | {"DOCKER_HOST": self.host},
            capture_output=True,
            text=True,
            check=ok,
        )

    def build(self, root: Path) -> None:
        """An image of a shell, its libraries and PROGRAM, under the names that recipes start."""
        for program in ("sh", "sleep"):
            found = Path(str(shutil.which(program))).resolve()
            self._put(found, root / "bin" / program)
            linked = subprocess.run(["ldd", found], capture_output=True, text=True, check=True)
            for word in linked.stdout.split():
                if word.startswith("/"):
                    self._put(Path(word).resolve(), root / word.lstrip("/"))
        for name in ("serve", "usr/bin/python3"):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(PROGRAM)
            (root / name).chmod(0o755)
        subprocess.run(["tar", "-C", root, "-cf", f"{root}.tar", "."], check=True)
        self.docker("import", "--change", 'ENTRYPOINT ["/serve"]', f"{root}.tar", IMAGE)

    def _put(self, file: Path, there: Path) -> None:
        there.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, there)


@pytest.fixture(scope="module")
def engine(tools: toolchain.Toolchain) -> Iterator[Engine]:
    assert tools.path, "docker comes from the toolchain"
    if os.geteuid() != 0:
        pytest.skip("only root can start an engine of its own")
    path = os.pathsep.join([os.environ["PATH"], *SYSTEM_FOLDERS])
    folder = Path(tempfile.mkdtemp(dir="/tmp"))  # a socket's path has to be short
    made = Engine(folder, path)
    made.start()
    try:
        made.build(folder / "root")
        yield made
    finally:
        for left in made.docker("ps", "-aq", ok=False).stdout.split():
            made.docker("rm", "-f", left, ok=False)
        made.end()
        for line in reversed(Path("/proc/mounts").read_text().splitlines()):
            if (there := line.split()[1]).startswith(f"{folder}/"):  # a killed engine leaves them
                subprocess.run(["umount", "--lazy", there], check=True)
        shutil.rmtree(folder)


class Device:
    """A device with service and consumer, on the engine."""

    def __init__(self, bench: Bench, engine: Engine) -> None:
        self.bench, self.engine = bench, engine
        bench.iam.statements = ({"Effect": "Allow", "Action": "*", "Resource": "*"},)
        for name in FILES:
            bench.s3.objects["bucket", name] = FILE
        for name in ("DockerApplicationManager", "TokenExchangeService"):
            bench.cloud.publish(recipe(f"aws.greengrass.{name}", "2.0.3"))
        for made in (recipes.service, recipes.consumer):
            bench.cloud.publish(as_the_cloud_has_it(made("1.0.0", CONTENT)))

    def container(self, component: str) -> str:
        shown = self.engine.docker("ps", "-q", "--filter", f"name=^/{component}.{THING}$", ok=False)
        return shown.stdout.strip()

    def said(self, component: str, word: str) -> int:
        return self.bench.output(component).count(word)

    def client(self, component: str) -> psutil.Process:
        """The docker client whose container it is."""
        name = f"{component}.{THING}"
        psutil.process_iter.cache_clear()  # it may take a process for an ended one with its number
        [found] = [
            one
            for one in psutil.process_iter(["cmdline"])
            if (line := one.info["cmdline"] or [])[:2] == ["docker", "run"] and name in line
        ]
        return found

    async def comes_back(self, event: Callable[[], Awaitable[None]]) -> float:
        """Let it happen; seconds until service and consumer are there again, after its end."""
        before = {name: self.said(name, "answers") for name in (SERVICE, CONSUMER)}
        await event()
        began = time.monotonic()
        for name, count in before.items():
            await self.bench.until(
                lambda name=name, count=count: self.said(name, "answers") > count,  # type: ignore[misc]  # bound per turn
                f"{name} comes back: {self.bench.output(name)}",
            )
        return time.monotonic() - began


@pytest.fixture(params=[Java, Lite], ids=["java", "lite"])
def device(
    request: pytest.FixtureRequest,
    engine: Engine,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> Device:
    flavour: Callable[[], Flavour] = request.param
    monkeypatch.setenv("DOCKER_HOST", engine.host)
    monkeypatch.setattr(scripts, "_QUICK_SECONDS", 1)  # or each event would wait for ten
    return Device(Bench(tmp_path / "g g", caplog, flavour()), engine)


def test_whatever_becomes_of_the_engine_the_containers_come_back_without_an_error(
    device: Device, engine: Engine
) -> None:
    bench = device.bench

    async def in_order() -> None:
        await asyncio.to_thread(engine.end)
        await asyncio.to_thread(engine.start)

    async def upgraded() -> None:
        await asyncio.to_thread(engine.end)
        await asyncio.sleep(5)  # an engine that is away is an event of its own length
        await asyncio.to_thread(engine.start)

    async def killed() -> None:
        await asyncio.to_thread(engine.kill)
        await asyncio.to_thread(engine.start)

    def each(*words: str) -> Callable[[], Awaitable[None]]:
        async def happens() -> None:
            for name in (SERVICE, CONSUMER):
                await asyncio.to_thread(engine.docker, *words, f"{name}.{THING}")

        return happens

    async def clients_killed() -> None:
        for name in (SERVICE, CONSUMER):
            device.client(name).kill()

    events: dict[str, Callable[[], Awaitable[None]]] = {
        "engine restarted in good order": in_order,
        "engine away during an upgrade": upgraded,
        "engine killed": killed,
        "docker stop": each("stop"),
        "docker kill": each("kill"),
        "out of memory": each("kill", "--signal", "USR2"),
        "docker client killed": clients_killed,
    }
    seconds: dict[str, float] = {}

    async def story() -> None:
        async with bench.device():
            done = await bench.deploy({SERVICE: "1.0.0", CONSUMER: "1.0.0"}, target=GROUP_ARN)
            assert done["coreDeviceExecutionStatus"] in ("SUCCEEDED", "COMPLETED"), done
            for name, event in events.items():
                age = time.monotonic() + 2  # beyond what counts as a crash at the start
                await bench.until(lambda age=age: time.monotonic() > age, "a moment")  # type: ignore[misc]  # bound per turn
                seconds[name] = await device.comes_back(event)
            for name in (SERVICE, CONSUMER):
                assert bench.cloud.installed()[name] == ("1.0.0", "RUNNING")
                assert not [one for one in bench.states(name) if "ERRORED" in one], name
            began = time.monotonic()
        seconds["nucleus stopped"] = time.monotonic() - began
        assert not engine.docker("ps", "-aq").stdout

        engine.end()
        async with bench.device():
            await bench.until(
                lambda: all(
                    any("waiting for docker" in line for line in bench.output(name))
                    for name in (SERVICE, CONSUMER)
                ),
                "both wait for the engine",
            )
            seconds["engine late at boot"] = await device.comes_back(
                lambda: asyncio.to_thread(engine.start)
            )
            for name in (SERVICE, CONSUMER):
                assert not [one for one in bench.states(name) if "ERRORED" in one], name
        assert not engine.docker("ps", "-aq").stdout

    asyncio.run(story())
    print({name: round(value, 1) for name, value in seconds.items()})


def test_a_service_that_crashes_again_and_again_is_broken(device: Device, engine: Engine) -> None:
    bench = device.bench

    async def story() -> None:
        async with bench.device():
            await bench.deploy({SERVICE: "1.0.0"}, target=GROUP_ARN)
            for crash in range(1, 4):
                await bench.until(
                    lambda crash=crash: device.said(SERVICE, "answers") == crash,  # type: ignore[misc]  # bound per turn
                    f"start {crash}: {bench.output(SERVICE)}",
                )
                engine.docker("kill", "--signal", "USR1", f"{SERVICE}.{THING}")
            await bench.until(
                lambda: bench.cloud.installed()[SERVICE][1] == "BROKEN", "three errors"
            )
        assert not engine.docker("ps", "-aq").stdout

    asyncio.run(story())


def test_a_running_component_costs_a_shell_and_wakes_nobody(device: Device) -> None:
    bench = device.bench

    async def story() -> Any:
        async with bench.device():
            await bench.deploy({SERVICE: "1.0.0"}, target=GROUP_ARN)
            await bench.until(lambda: device.said(SERVICE, "answers") == 1, "it runs")
            shell = device.client(SERVICE).parent()
            assert shell
            assert shell.children() == [device.client(SERVICE)], "the client, as ever, and no more"
            before = shell.num_ctx_switches(), shell.cpu_times()
            await asyncio.sleep(3)  # what polls would do so within three seconds
            assert (shell.num_ctx_switches(), shell.cpu_times()) == before
            return shell.memory_info().rss

    print("kB of the shell:", asyncio.run(story()) // 1024)
