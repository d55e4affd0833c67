"""A copy of the tree with a greenhouse of its own, so a person's greenhouse is not touched."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import psutil
import yaml

from greenhouse import account, after_up_and_down, docker_engine, toolchain
from greenhouse.environment import aws_environment, shell_environment
from greenhouse.home import PROJECT_DIR, Home, Ports
from greenhouse.processes import Processes
from greenhouse.start_and_stop import start_greenhouse, stop_greenhouse
from tests.whole.calls import Calls

STACK = "local"
OURS = ("com.ml.check", "com.ml.consumer", "com.ml.xgboost")


def wait_until(met: Callable[[], bool], *, seconds: float, why: str) -> None:
    """Poll for something that another process does, from which no event reaches us."""
    deadline = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {why}"
        time.sleep(0.1)


def copy_tree(target: Path) -> Path:
    """Copy the files that git knows, or would know, without their history."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=PROJECT_DIR,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        source = PROJECT_DIR / name
        if source.is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name)
    (target / ".venv").symlink_to(Path(sys.prefix))
    return target


@dataclass
class Place:
    """A program's folder, its greenhouse and the device `thing`."""

    tree: Path
    home: Home
    thing: str
    tools: toolchain.Toolchain
    env: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.env = shell_environment(
            self.home,
            path=[Path(sys.executable).parent, *self.tools.path],
            docker_host=self.tools.docker_host,
            base=os.environ,
        )

    @property
    def ports(self) -> Ports:
        return self.home.ports()

    def start(self) -> None:
        start_greenhouse(self.home, self.env, [self.thing])
        account.settle_tenant(self.ports, self.thing)
        self.configure(thing=self.thing)
        self.pulumi("stack", "select", STACK, "--create")

    def stop(self) -> None:
        """Stop, and leave nothing on the engine, which others use."""
        stop_greenhouse(self.home)
        docker_engine.remove_images(self.ports)

    def add_device(self, thing: str, *, group: str, flavour: str | None = None) -> None:
        """Add a core device, the only member of a new thing group."""
        start_greenhouse(self.home, self.env, [thing], flavour=flavour)
        endpoint = aws_environment(self.ports)["AWS_ENDPOINT_URL"]
        iot = account.session(self.ports).client("iot", endpoint_url=endpoint)
        iot.create_thing_group(thingGroupName=group)
        iot.add_thing_to_thing_group(thingGroupName=group, thingName=thing)

    @property
    def _processes(self) -> Processes:
        return Processes(run=self.home.run, logs=self.home.logs)

    def signal_process(self, name: str, number: signal.Signals) -> None:
        """Signal a process of greenhouse: SIGKILL, or SIGSTOP for a process that comes back."""
        process = self._processes.find(name)
        assert process, f"{name} runs"
        process.send_signal(number)

    def signal_device(self, number: signal.Signals) -> None:
        self.signal_process(f"device-{self.thing}", number)

    def dead(self) -> list[str]:
        """Ended processes of greenhouse, including those that were killed at their start."""
        names = ("ministack", "cloud", "providers", f"device-{self.thing}")
        return [name for name in names if not self._processes.find(name)]

    def revive(self) -> None:
        """Start the ended processes. Raises ProcessFailed."""
        start_greenhouse(self.home, self.env, [self.thing])

    def await_tenant(self) -> None:
        """Wait until the component of others runs and its deployment is over."""
        wait_until(
            lambda: self.states().get(account.TENANT) == ("1.0.0", "RUNNING"),
            seconds=120,
            why="the tenant does not run",
        )

    def tenant_process(self) -> int:
        """The process of the component of others, as soon as it runs."""
        self.await_tenant()
        return self._shell("do date").pid

    def _shell(self, words: str) -> psutil.Process:
        """The one shell of the device whose script has these words."""
        device = self._processes.find(f"device-{self.thing}")
        assert device
        shells = [
            child for child in device.children(recursive=True) if words in " ".join(child.cmdline())
        ]
        assert len(shells) == 1, shells
        return shells[0]

    def stop_component(self, component: str) -> None:
        """As somebody on the device does: its script ends with 0, which is FINISHED to AWS."""
        self._shell(f'c="{component}.').terminate()
        wait_until(
            lambda: self.states()[component][1] == "FINISHED",
            seconds=60,
            why=f"AWS doesn't hear that {component} has ended",
        )

    def stop_device(self) -> None:
        """Stop the device in order, as if somebody had switched it off."""
        self._processes.stop(f"device-{self.thing}")

    def config(self) -> dict[str, Any]:
        """The stack's config values, by the names that `configure` takes."""
        stack = yaml.safe_load((self.tree / f"Pulumi.{STACK}.yaml").read_text())["config"]
        return {
            key.partition(":")[2].replace("-", "_"): value
            for key, value in stack.items()
            if key.startswith("edge-inference:")
        }

    def configure(self, **values: Any) -> None:
        """Write config values of the stack as `pulumi config set` would. None removes a value."""
        path = self.tree / f"Pulumi.{STACK}.yaml"
        stack = yaml.safe_load(path.read_text())
        for name, value in values.items():
            key = f"edge-inference:{name.replace('_', '-')}"
            if value is None:
                stack["config"].pop(key, None)
            else:
                stack["config"][key] = value
        path.write_text(yaml.safe_dump(stack))

    @contextmanager
    def edited(self, path: str | Path, edit: Callable[[str], str]) -> Iterator[None]:
        """A file of the tree, with other content for a while."""
        file = self.tree / path
        before = file.read_text()
        after = edit(before)
        assert after != before, f"the edit of {path} found nothing to change"
        file.write_text(after)
        try:
            yield
        finally:
            file.write_text(before)

    def pulumi(self, *arguments: str, ok: bool = True, tree: Path | None = None) -> str:
        """Run the real CLI. Returns its output, or fails with it if the command should succeed."""
        done = subprocess.run(
            ["pulumi", *arguments, "--non-interactive"],
            env=self.env,
            cwd=tree or self.tree,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert (done.returncode == 0) is ok, f"pulumi {' '.join(arguments)}:\n{done.stdout}"
        return done.stdout

    def fleet(self, *arguments: str) -> str:
        """Run a command for operators. Returns its output, and fails if the command does."""
        done = subprocess.run(
            [sys.executable, "-m", "fleet", *arguments],
            env=self.env,
            cwd=self.tree,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"fleet {' '.join(arguments)}:\n{done.stdout}"
        return done.stdout

    def begin(self, *arguments: str, output: IO[bytes]) -> subprocess.Popen[bytes]:
        """Start the real CLI as the leader of a process group, so that it dies with its program."""
        return subprocess.Popen(
            ["pulumi", *arguments, "--non-interactive"],
            env=self.env,
            cwd=self.tree,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )

    def up(self, *, ok: bool = True) -> str:
        return self.pulumi(
            "up", "--stack", STACK, "--yes", "--skip-preview", "--suppress-outputs", ok=ok
        )

    def outputs(self) -> dict[str, Any]:
        shown = self.pulumi("stack", "output", "--stack", STACK, "--json")
        outputs: dict[str, Any] = json.loads(shown)
        return outputs

    def states(self, thing: str | None = None) -> dict[str, tuple[str, str]]:
        """From component name to version and state, as the device last reported them."""
        client = account.greengrass(self.ports)
        listed = client.list_installed_components(
            coreDeviceThingName=thing or self.thing, topologyFilter="ALL"
        )["installedComponents"]
        return {
            component["componentName"]: (
                component["componentVersion"],
                component["lifecycleState"],
            )
            for component in listed
        }

    def answers(self) -> list[dict[str, Any]]:
        """The consumer's answers from the device, oldest first."""
        log = self.home.device(self.thing) / "logs" / "com.ml.consumer.log"
        return list(after_up_and_down.component_events(log, "answer"))

    def await_answers(self, model: str) -> list[float]:
        """The predictions of the next answer that names this model."""
        seen = len(self.answers())
        wait_until(
            lambda: any(answer["model"] == model for answer in self.answers()[seen:]),
            seconds=120,
            why=f"the consumer heard nothing from model {model}",
        )
        return list(next(a for a in self.answers()[seen:] if a["model"] == model)["predictions"])

    def docker(self, *arguments: str) -> str:
        """The output of the docker client. Empty if it fails, as a container may just end."""
        return subprocess.run(
            ["docker", *arguments], env=self.env, check=False, capture_output=True, text=True
        ).stdout.strip()

    def container(self, component: str) -> str:
        """The id of the component's running container. Empty if there is none."""
        return self.docker("ps", "-q", "--no-trunc", "--filter", f"name=^{component}.{self.thing}$")

    def containers(self) -> list[str]:
        """Every container of this device by name and id, running or not."""
        shown = "{{.Names}} {{.ID}}"
        return sorted(
            self.docker(
                "ps", "-a", "--format", shown, "--filter", f"name=.{self.thing}$"
            ).splitlines()
        )


@contextmanager
def started(root: Path, tools: toolchain.Toolchain, calls: Calls | None = None) -> Iterator[Place]:
    """A place in `root`. With `calls`, its calls to the account all go through them."""
    there = Place(
        tree=copy_tree(root / "tree"),
        home=Home(root / "greenhouse"),
        thing=f"whole-{secrets.token_hex(3)}",
        tools=tools,
    )
    with ExitStack() as servers:
        if calls:
            aws, greengrass = (
                f"http://127.0.0.1:{servers.enter_context(calls.serving(port))}"
                for port in (there.ports.ministack, there.ports.cloud)
            )
            there.env |= {
                "AWS_ENDPOINT_URL": aws,
                "AWS_ENDPOINT_URL_GREENGRASSV2": greengrass,
                "AWS_ENDPOINT_URL_CLOUDCONTROL": greengrass,
            }
        try:
            there.start()
            yield there
        finally:
            there.stop()
