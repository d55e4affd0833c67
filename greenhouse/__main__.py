"""The command line of greenhouse: what `make up`, `make down` and `make env` call.

python -m greenhouse --help
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import psutil
import typer
import yaml
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console
from rich.table import Table

from fleet.stacks import NoStack, Stack
from greenhouse import account, after_up_and_down, ask_model, docker_engine, faults, toolchain
from greenhouse.environment import shell_environment
from greenhouse.home import PROJECT_DIR, Home, HomeBroken
from greenhouse.plugins import Plugins, PluginsRefused, choose
from greenhouse.processes import Processes, ProcessFailed
from greenhouse.start_and_stop import bring_up, stop_greenhouse
from greenhouse.toolchain import cache
from greenhouse.updates.run import change, pulumi, pulumi_json, settle_killed
from infra.errors import told

STACK = "local"

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__.splitlines()[0])
app.add_typer(faults.commands, name="fault")
console = Console(markup=False)  # The output names paths, devices and resources.
if not console.is_terminal:
    console.width = 160  # Output to a pipe has no 80 columns.


class NoThing(Exception):
    """Stack `local` names no device to start. The message says what to type."""


def our_thing() -> str:
    """The device that stack `local` deploys to, read from the stack's file."""
    config = Stack.read(STACK, PROJECT_DIR).config
    if thing := config.get("edge-inference:thing"):
        return str(thing)
    raise NoThing(
        told(
            f"Pulumi.{STACK}.yaml names no thing.",
            "greenhouse starts the core device of that name. Write below its key config"
            + (
                ", and take out edge-inference:thing-group:"
                if "edge-inference:thing-group" in config
                else ":"
            ),
            "edge-inference:thing: greenhouse",
        )
    )


class Steps:
    """How long each step took."""

    def __init__(self) -> None:
        self._taken: list[tuple[str, float]] = []

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        console.print(f"{name} …", style="bold")
        began = time.monotonic()
        yield
        self._taken.append((name, time.monotonic() - began))

    def show(self) -> None:
        table = Table(title="how long it took", title_justify="left", show_header=False, box=None)
        for name, seconds in self._taken:
            table.add_row(name, f"{seconds:.1f} s")
        table.add_row("together", f"{sum(seconds for _, seconds in self._taken):.1f} s")
        console.print(table)


def enter(home: Home, shown: Console) -> tuple[toolchain.Toolchain, dict[str, str]]:
    """Set up the tools, and put the environment of the shell into ours and into each process."""
    tools = toolchain.prepare(shown)
    env = shell_environment(
        home,
        path=[Path(sys.executable).parent, *tools.path],
        docker_host=tools.docker_host,
        base=os.environ,
    )
    os.environ.update(env)
    return tools, env


Things = Annotated[
    list[str] | None, typer.Option("--thing", help="A core device; may be repeated.")
]


Asked = Annotated[
    Plugins | None,
    typer.Option(envvar="PLUGINS", help="Pulumi's plugins, for a greenhouse that is new."),
]


def enter_with(home: Home, plugins: Plugins | None) -> tuple[toolchain.Toolchain, dict[str, str]]:
    """Do what `enter` does, and choose these plugins for a new greenhouse."""
    _, env = enter(home, console)
    choose(home, plugins, env)
    return enter(home, console)


@app.command()
def start(
    thing: Things = None,
    plugins: Asked = None,
    flavour: Annotated[
        str | None,
        typer.Option(help="java, lite or lite-252 (on systemd 252), for devices that are new."),
    ] = None,
) -> None:
    """Start the cloud, the providers and the device, without deploying anything."""
    home = Home.find()
    _, env = enter_with(home, plugins)
    bring_up(home, env, thing or home.things() or [our_thing()], flavour=flavour)


@app.command()
def stop() -> None:
    """Stop every process of greenhouse. The next start restores what they hold."""
    stop_greenhouse(Home.find())


@app.command()
def up(plugins: Asked = None) -> None:
    """Start everything, run the real `pulumi up` on stack `local`, show the device's answers."""
    home, steps, began = Home.find(), Steps(), datetime.now(UTC)
    with steps.step("Toolchain"):
        _, env = enter_with(home, plugins)
    with steps.step("Greenhouse: cloud, providers, device"):
        bring_up(home, env, [our_thing()])
    with steps.step(f"pulumi up --stack {STACK}"):
        settle_killed(home)
        pulumi("stack", "select", STACK, "--create", "--non-interactive")
        change(console, "up", STACK)
    outputs = pulumi_json("stack", "output", "--stack", STACK)
    agreed = after_up_and_down.show_release(console, home, outputs=outputs, since=began)
    steps.show()
    console.print("next, to type pulumi in this shell, or to undo all of it:")
    console.print('    eval "$(make -s env)"\n    make down')
    if not agreed:
        raise typer.Exit(1)


@app.command()
def down() -> None:
    """Destroy stack `local`, prove that nothing is left, stop everything."""
    home, steps = Home.find(), Steps()
    if not home.exists():
        console.print("nothing to take down: no greenhouse here")
        return
    with steps.step("Toolchain"):
        tools, env = enter(home, console)
    things = home.things()  # If no device was ever made, none has to be cleared.
    with steps.step("Greenhouse: cloud, providers, device"):
        bring_up(home, env, things)
    settle_killed(home)
    if STACK in {stack["name"] for stack in pulumi_json("stack", "ls")}:
        with steps.step(f"pulumi destroy --stack {STACK}"):
            change(console, "destroy", STACK)
    with steps.step("Inventory"):
        states = {thing: after_up_and_down.tenant_state(home.ports(), thing) for thing in things}
        for thing, state in states.items():
            console.print(f"  {account.TENANT} on {thing}, there before us: {state}")
        account.retire_tenant(home.ports())
        docker_engine.remove_images(home.ports())
        left = after_up_and_down.residue(home)
        after_up_and_down.show_residue(console, left)
        as_before = not left and set(states.values()) <= {after_up_and_down.RUNNING}
    with steps.step("Stop"):
        stop_greenhouse(home)
        if as_before:
            shutil.rmtree(home.root)
        if tools.docker.ours and not toolchain.stop_engine():
            console.print("  the Docker engine stays: other containers run on it")
    steps.show()
    if not as_before:
        console.print(
            told(
                "the machine is not as it was before us: see above.",
                f"{home.root} is kept, so that you can start it and look, or remove it:",
                "make start",
                "make clean",
            ),
            soft_wrap=True,
        )
        raise typer.Exit(1)


@app.command()
def ask(
    stack: Annotated[str, typer.Option(help="Whose model.")] = STACK,
    rows: Annotated[
        Path | None, typer.Option(help="A JSON list of records; without, what can be asked.")
    ] = None,
) -> None:
    """Ask the model on a device of greenhouse, as an application there would."""
    home = Home.find()
    home.require()
    enter(home, Console(stderr=True, markup=False))
    ask_model.ask(home, Stack.read(stack), rows, console)


@app.command()
def env(
    tools: Annotated[
        bool, typer.Option(help="Have Pulumi and Docker ready; needless for who only asks AWS.")
    ] = True,
) -> None:
    """Print the exports that point a shell at greenhouse: eval "$(make -s env)"."""
    home = Home.find()
    home.require()
    if tools:
        _, exports = enter(home, Console(stderr=True, markup=False))
    else:
        path = [Path(sys.executable).parent, cache.bin_folder()]
        exports = shell_environment(home, path=path, docker_host=None, base=os.environ)
    for name, value in exports.items():
        sys.stdout.write(f"export {name}={shlex.quote(value)}\n")


@app.command()
def status() -> None:
    """Which processes of greenhouse run, and where each writes its log."""
    home = Home.find()
    home.require()
    processes = Processes(run=home.run, logs=home.logs)
    table = Table(box=None)
    for column in ("process", "state", "log"):
        table.add_column(column)
    for name in processes.names():
        process = processes.find(name)
        table.add_row(
            name, f"pid {process.pid}" if process else "stopped", str(processes.log(name))
        )
    console.print(table)


def main() -> int:
    """Run a command. A failure prints one message and no traceback."""
    try:
        app()
    except (
        ProcessFailed,
        toolchain.ToolchainFailed,
        HomeBroken,
        NoThing,
        PluginsRefused,
        NoStack,
        ask_model.NotAsked,
    ) as error:
        said = str(error)
    except (ClientError, BotoCoreError) as error:
        said = told(
            f"greenhouse's account: {error}.",
            "See which of its processes run:",
            "python -m greenhouse status",
        )
    except subprocess.CalledProcessError as error:
        said = f"{shlex.join(error.cmd)} ended with {error.returncode}: {error.stderr}".rstrip()
    except psutil.AccessDenied as error:
        said = f"another user's process can't be read or stopped: {error}"
    except (OSError, ValueError, yaml.YAMLError) as error:
        said = str(error)
    sys.stderr.write(f"{said}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
