"""What `make down` clears: a killed update, a device with the other runtime, and itself.

The commands get a temporary folder of their own, so that the test sees what they leave.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from greenhouse import toolchain
from greenhouse.home import Home
from greenhouse.start_and_stop import stop_greenhouse
from greenhouse.updates.orphans import orphans
from tests.whole.place import STACK, copy_tree, wait_until
from tests.whole.test_readme import ENGINE

# This is the whole way. make test has its parts, such as orphans and locks: test_start_and_stop.py.
pytestmark = [pytest.mark.whole, pytest.mark.matrix]


@dataclass(frozen=True)
class Checkout:
    """A tree with a greenhouse of its own, in which somebody types."""

    tree: Path
    home: Home
    thing: str
    env: dict[str, str]

    def begin(self, *command: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            command,
            cwd=self.tree,
            env=self.env,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def run(self, *command: str) -> str:
        """Run a command and return its output. It has to succeed."""
        process = self.begin(*command)
        said, _ = process.communicate()
        assert process.returncode == 0, f"{' '.join(command)}:\n{said}"
        return said


@pytest.fixture
def checkout(tools: toolchain.Toolchain, tmp_path: Path) -> Iterator[Checkout]:
    tree, home = copy_tree(tmp_path / "tree"), Home(tmp_path / "greenhouse")
    thing = f"down-{secrets.token_hex(3)}"
    stack = tree / f"Pulumi.{STACK}.yaml"
    stack.write_text(stack.read_text().replace("thing: greenhouse\n", f"thing: {thing}\n"))
    temporary = tempfile.mkdtemp(prefix="down-")  # Sockets lie in it: tmp_path would be too long.
    login = {name: os.environ[name] for name in os.environ if name.startswith(("HOME", "XDG_"))}
    env = {
        **login,
        "PATH": os.environ["PATH"],
        "DOCKER_HOST": tools.docker_host or ENGINE,
        "GREENHOUSE_HOME": str(home.root),
        "TMPDIR": temporary,
    }
    yield Checkout(tree, home, thing, env)
    if home.exists():
        stop_greenhouse(home)
    shutil.rmtree(temporary)


def killed_in_the_middle(checkout: Checkout) -> list[psutil.Process]:
    """Kill `pulumi` while its update waits for the device, and return what it leaves running."""
    up = checkout.begin("make", "up")
    listed = checkout.home.device(checkout.thing) / "packages" / "recipes"

    def the_cli() -> psutil.Process | None:
        with suppress(psutil.NoSuchProcess):
            children = psutil.Process(up.pid).children(recursive=True)
            return next((one for one in children if one.name() == "pulumi"), None)
        return None

    def deploys() -> bool:
        assert up.poll() is None, f"too early: {up.communicate()[0]}"
        return any(listed.glob("com.ml.*")) and the_cli() is not None

    wait_until(deploys, seconds=300, why="the update never reached the device")
    cli = the_cli()
    assert cli
    cli.send_signal(signal.SIGKILL)
    up.communicate()
    return orphans(checkout.home.pulumi)


def test_after_a_killed_update_and_beside_a_lite_device_make_down_leaves_nothing(
    checkout: Checkout,
) -> None:
    for thing, flavour in ((checkout.thing, "java"), (f"{checkout.thing}-lite", "lite")):
        start = ("start", "--thing", thing, "--flavour", flavour)
        checkout.run(sys.executable, "-m", "greenhouse", *start)
    left = killed_in_the_middle(checkout)
    assert left, "a language host at least, or this test shows nothing"
    registry = f"127.0.0.1:{checkout.home.ports().ministack}"
    said = checkout.run("make", "down")
    assert said.count("there before us: RUNNING") == 2, said
    assert [one for one in left if one.is_running()] == []
    assert not checkout.home.root.exists()
    ours = str(checkout.home.root)
    running = [
        one.info["cmdline"]
        for one in psutil.process_iter(["cmdline"])
        if any(ours in word for word in one.info["cmdline"] or ())
    ]
    assert running == []
    assert list(Path(checkout.env["TMPDIR"]).iterdir()) == []
    logins = Path(checkout.env["HOME"]) / ".docker" / "config.json"
    assert not logins.exists() or registry not in logins.read_text(), "a login outlives it"
