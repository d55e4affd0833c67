"""`python -m greenhouse.device` as a process: its end, its kill, and a second one of its name."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import pwd
import re
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psutil
import pytest

from greenhouse.device.lock import Taken, hold
from greenhouse.faults import Faults, Step
from greenhouse.home import PROJECT_DIR
from tests.greenhouse.device.workbench import FakeCloud, recipe

SECONDS = 120.0
TERM_IS_SLOW = "trap 'echo terminated; exit 0' TERM; echo pid $$; while :; do sleep 0.1; done"


def until(met: Callable[[], bool], why: str) -> None:
    """Wait for something in another process, from which no event reaches us."""
    deadline = time.monotonic() + SECONDS
    tick = threading.Event()
    while not met():
        assert time.monotonic() < deadline, f"not within {SECONDS:.0f} s: {why}"
        tick.wait(0.05)


class Server:
    """The fake cloud behind HTTP, as the device's client expects it."""

    def __init__(self) -> None:
        self.cloud = FakeCloud()
        cloud = self.cloud

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                query = parse_qs(urlsplit(self.path).query)
                listed = list(cloud.deployments.values())
                seen = hash(tuple(one["deploymentId"] for one in listed)) % 10**9
                deadline = time.monotonic() + float(query.get("wait", ["0"])[0])
                while str(seen) == query.get("seen", [""])[0] and time.monotonic() < deadline:
                    threading.Event().wait(0.05)
                    listed = list(cloud.deployments.values())
                    seen = hash(tuple(one["deploymentId"] for one in listed)) % 10**9
                groups: dict[str, Any] = {"thingGroups": []} if "thing-groups" in self.path else {}
                self._answer({"seen": seen, "deployments": listed, **groups})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                if self.path.endswith("/report"):
                    cloud.report(body)
                    self._answer({})
                    return
                (asked,) = body["componentCandidates"]
                found = cloud.choose(
                    asked["componentName"],
                    asked["versionRequirements"],
                    body["platform"]["attributes"],
                )
                text = b64encode(json.dumps(found).encode()).decode()
                self._answer({"resolvedComponentVersions": [{"recipe": text}]})

            def _answer(self, body: Any) -> None:
                data = json.dumps(body).encode()
                with suppress(BrokenPipeError, ConnectionResetError):
                    self.send_response(200)
                    self.send_header("content-type", "application/json")
                    self.send_header("content-length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data)

            def log_message(self, *_arguments: Any) -> None:
                """The cloud remembers the requests, so nothing is printed."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._http.block_on_close = False
        self._thread = threading.Thread(target=self._http.serve_forever)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}"

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


@pytest.fixture
def thing() -> str:
    """A name of its own, as the lock counts for the whole machine."""
    return f"test-{secrets.token_hex(4)}"


@contextmanager
def device(
    server: Server, thing: str, root: Path, *options: str
) -> Iterator[subprocess.Popen[str]]:
    """The device's process, which is killed at the end if it still runs."""
    env = {
        **os.environ,
        "AWS_ACCESS_KEY_ID": "greenhouse",
        "AWS_SECRET_ACCESS_KEY": "greenhouse",
        "AWS_REGION": "eu-west-1",
        "AWS_ENDPOINT_URL": server.url,
        "AWS_ENDPOINT_URL_GREENGRASSV2": server.url,
    }
    command = ["--thing", thing, "--root", str(root), *options]
    process = subprocess.Popen(
        [sys.executable, "-m", "greenhouse.device", *command],
        env=env,
        cwd=PROJECT_DIR,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def log(root: Path, component: str) -> str:
    path = root / "logs" / f"{component}.log"
    return path.read_text() if path.exists() else ""


def alive(pid: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def test_sigterm_runs_the_shutdown_scripts_and_ends_cleanly(
    server: Server, thing: str, tmp_path: Path
) -> None:
    lifecycle = {"run": TERM_IS_SLOW, "shutdown": "echo bye"}
    server.cloud.publish(recipe("app", lifecycle=lifecycle))
    server.cloud.create_deployment({"app": "1.0.0"})
    with device(server, thing, tmp_path) as process:
        until(lambda: "stdout. pid" in log(tmp_path, "app"), "the component runs")
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=SECONDS)
        assert process.returncode == 0, output
    printed = log(tmp_path, "app")
    assert printed.index("bye") < printed.index("terminated"), "shutdown comes before SIGTERM"
    assert not list((tmp_path / "processes").iterdir()), "nothing is left to remember"


def test_a_killed_device_comes_back_and_clears_away_what_it_left(
    server: Server, thing: str, tmp_path: Path
) -> None:
    server.cloud.publish(recipe("app", lifecycle={"run": "echo pid $$; exec sleep 1000"}))
    made = server.cloud.create_deployment({"app": "1.0.0"})

    def pids() -> list[int]:
        return [int(pid) for pid in re.findall(r"stdout\. pid (\d+)\.", log(tmp_path, "app"))]

    def done() -> bool:
        ended = server.cloud.executions.get(made, {})
        return ended.get("coreDeviceExecutionStatus") == "COMPLETED"

    with device(server, thing, tmp_path) as process:
        until(lambda: done() and bool(pids()), "the component is deployed, and has said its pid")
        process.kill()
    (left,) = pids()
    assert alive(left), "killed, the device can't have ended it"
    with device(server, thing, tmp_path) as process:
        until(lambda: len(pids()) == 2, "the component runs again")
        assert not alive(left)
        assert alive(pids()[1])
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=SECONDS)
    assert len(server.cloud.executions) == 1, "it was not deployed a second time"


def test_a_deployment_cut_short_is_done_again(server: Server, thing: str, tmp_path: Path) -> None:
    slow = {"startup": f"echo started; test -e {tmp_path}/go || sleep 1000"}
    server.cloud.publish(recipe("app", lifecycle=slow))
    made = server.cloud.create_deployment({"app": "1.0.0"})
    with device(server, thing, tmp_path / "gg") as process:
        until(lambda: "started" in log(tmp_path / "gg", "app"), "it is in the middle of it")
        process.kill()
    (tmp_path / "go").touch()
    with device(server, thing, tmp_path / "gg") as process:
        until(
            lambda: (
                server.cloud.executions.get(made, {}).get("coreDeviceExecutionStatus")
                == "COMPLETED"
            ),
            "the deployment is done from the start",
        )
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=SECONDS)


def test_a_device_killed_at_any_step_of_a_deployment_ends_it_when_it_is_back(
    server: Server, thing: str, tmp_path: Path
) -> None:
    """It is killed once at every step, and no leftover of one run blocks the next."""

    def deploy(version: str) -> str:
        run = {"run": f"echo {version} $$; exec sleep 1000"}
        server.cloud.publish(recipe("app", version, lifecycle=run))
        return server.cloud.create_deployment({"app": version})

    def printed() -> list[str]:
        return re.findall(r"stdout\. (\S+ \d+)\. ", log(tmp_path, "app"))

    def there(deployment: str, version: str) -> bool:
        known = server.cloud.executions.get(deployment, {})
        return (
            known.get("coreDeviceExecutionStatus") == "COMPLETED"
            and server.cloud.installed().get("app") == (version, "RUNNING")
            and "".join(printed()[-1:]).startswith(version)
        )

    made = deploy("1.0.0")
    with ExitStack() as lives:
        process = lives.enter_context(device(server, thing, tmp_path))
        until(lambda: there(made, "1.0.0"), "the first release runs")
        for number, step in enumerate(Step):
            Faults(tmp_path).set(f"crash-at:{step}")
            made, version = deploy(f"2.0.{number}"), f"2.0.{number}"
            process.communicate(timeout=SECONDS)
            assert process.returncode == -signal.SIGKILL, f"killed when {step}"
            server.cloud.reports.append({"components": []})  # Earlier reports no longer count.
            process = lives.enter_context(device(server, thing, tmp_path))
            until(
                lambda made=made, version=version: there(made, version),  # type: ignore[misc]  # per turn
                f"killed when {step}, the next release runs",
            )
            left = [one for one in printed() if alive(int(one.split()[1]))]
            assert left == printed()[-1:], f"killed when {step}: one process runs, the last one"


def test_a_second_device_of_a_thing_is_told_where_the_first_one_lives(
    server: Server, thing: str, tmp_path: Path
) -> None:
    with device(server, thing, tmp_path / "first") as first:
        until(lambda: bool(server.cloud.reports), "the first device is up")
        with device(server, thing, tmp_path / "second") as second:
            output, _ = second.communicate(timeout=SECONDS)
            assert second.returncode == 75
        what, _why, *commands = output.splitlines()
        assert str(tmp_path / "first") in what
        assert commands == ["    make down", "    make clean"]
        assert not (tmp_path / "second").exists(), "half a device would later count as a device"
        first.send_signal(signal.SIGTERM)
        first.communicate(timeout=SECONDS)
        assert first.returncode == 0


@pytest.mark.parametrize("said", [b"\xff\xfe", b"\x1b[2J\x1b[H", b"/a\nall is well"], ids=ascii)
def test_a_stranger_who_holds_the_name_is_quoted_in_one_line(thing: str, said: bytes) -> None:
    """The lock is an abstract socket, and any user of the machine can take it first."""
    name = "\0greenhouse-device-" + hashlib.sha256(thing.encode()).hexdigest()

    def answer() -> None:
        line, _ = stranger.accept()
        with line:
            line.sendall(said)

    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.bind(name)
        stranger.listen()
        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(Taken) as taken:
            asyncio.run(hold(thing, Path("/ours")))
    what, why, *commands = str(taken.value).split("\n")
    assert f"{what}{why}".isprintable()
    user = pwd.getpwuid(os.geteuid()).pw_name
    assert f"(pid {os.getpid()} of {user})" in what, "the kernel knows the stranger"
    assert commands == ["    make down", "    make clean"]


def test_a_device_without_a_cloud_in_its_environment_says_what_to_type(tmp_path: Path) -> None:
    env = {key: value for key, value in os.environ.items() if not key.startswith("AWS_")}
    done = subprocess.run(
        [sys.executable, "-m", "greenhouse.device", "--thing", "a", "--root", str(tmp_path)],
        env=env,
        cwd=PROJECT_DIR,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 78
    assert 'eval "$(make -s env)"' in done.stderr


def test_a_device_stays_of_the_flavour_it_was_started_with(
    server: Server, thing: str, tmp_path: Path
) -> None:
    with device(server, thing, tmp_path, "--flavour", "lite") as process:
        until(lambda: bool(server.cloud.reports), "the device reports itself")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=SECONDS)
    assert server.cloud.reports[0]["core"]["runtime"] == "aws_nucleus_lite"
    with device(server, thing, tmp_path, "--flavour", "java") as process:
        output, _ = process.communicate(timeout=SECONDS)
        assert process.returncode == 78
        assert "is a device of the flavour lite" in output
