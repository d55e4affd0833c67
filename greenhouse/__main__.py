"""The command line of greenhouse: what `make up`, `make down` and `make env` call.

python -m greenhouse --help
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.console import Console
from rich.table import Table

from greenhouse import account, faults, report, toolchain
from greenhouse.home import PROJECT_DIR, Home, shell_environment
from greenhouse.machine import start_greenhouse, stop_greenhouse
from greenhouse.processes import Processes, ProcessFailed

STACK = "local"

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__.splitlines()[0])
app.add_typer(faults.commands, name="fault")
console = Console()
if not console.is_terminal:
    console.width = 160  # piped: a log has no 80 columns


def our_thing() -> str:
    """The device that stack `local` deploys to, as its file says."""
    stack = yaml.safe_load((PROJECT_DIR / f"Pulumi.{STACK}.yaml").read_text())
    return str(stack["config"]["edge-inference:thing"])


class Steps:
    """How long each step took."""

    def __init__(self) -> None:
        self._taken: list[tuple[str, float]] = []

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        console.print(f"[bold]{name}[/] …")
        began = time.monotonic()
        yield
        self._taken.append((name, time.monotonic() - began))

    def show(self) -> None:
        table = Table(title="how long it took", title_justify="left", show_header=False, box=None)
        for name, seconds in self._taken:
            table.add_row(name, f"{seconds:.1f} s")
        table.add_row("together", f"{sum(seconds for _, seconds in self._taken):.1f} s")
        console.print(table)


def environment(tools: toolchain.Toolchain, home: Home) -> dict[str, str]:
    """What a shell, the engine and every process of ours get."""
    return shell_environment(
        home,
        path=[Path(sys.executable).parent, *tools.path],
        docker_host=tools.docker_host,
        base=os.environ,
    )


def pulumi(env: dict[str, str], *arguments: str) -> None:
    """Run the real CLI in the project, its output straight to the terminal."""
    done = subprocess.run(["pulumi", *arguments], env=env, cwd=PROJECT_DIR, check=False)
    if done.returncode:
        raise typer.Exit(done.returncode)


def pulumi_json(env: dict[str, str], *arguments: str) -> Any:
    done = subprocess.run(
        ["pulumi", *arguments, "--json"],
        env=env,
        cwd=PROJECT_DIR,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return json.loads(done.stdout)


Things = Annotated[
    list[str] | None, typer.Option("--thing", help="A core device; may be repeated.")
]


@app.command()
def start(
    thing: Things = None,
    flavour: Annotated[
        str | None, typer.Option(help="java or lite, for devices that are new (java).")
    ] = None,
) -> None:
    """Start the cloud, the providers and the device, without deploying anything."""
    home = Home.find()
    tools = toolchain.prepare(console)
    env = environment(tools, home)
    things = thing or home.things() or [our_thing()]
    start_greenhouse(home, env, things, flavour=flavour)
    for name in things:
        account.settle_tenant(home.ports(), name)


@app.command()
def stop() -> None:
    """Stop every process of greenhouse; what it holds is there again after the next start."""
    stop_greenhouse(Home.find())


@app.command()
def up() -> None:
    """Start everything, run the real `pulumi up` on stack `local`, show the device's answers."""
    home, steps = Home.find(), Steps()
    with steps.step("Toolchain"):
        tools = toolchain.prepare(console)
    env = environment(tools, home)
    os.environ.update(env)
    with steps.step("Greenhouse: cloud, providers, device"):
        start_greenhouse(home, env, [our_thing()])
        account.settle_tenant(home.ports(), our_thing())
    with steps.step(f"pulumi up --stack {STACK}"):
        pulumi(env, "stack", "select", STACK, "--create", "--non-interactive")
        pulumi(env, "up", "--stack", STACK, "--yes", "--non-interactive", "--suppress-outputs")
    outputs = pulumi_json(env, "stack", "output", "--stack", STACK)
    agreed = report.show_release(console, home, outputs=outputs)
    steps.show()
    console.print('next: eval "$(make -s env)" and pulumi preview|up|destroy; make down undoes it')
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
        tools = toolchain.prepare(console)
    env = environment(tools, home)
    os.environ.update(env)
    with steps.step("Greenhouse: cloud, providers, device"):
        start_greenhouse(home, env, home.things() or [our_thing()])
    stacks = pulumi_json(env, "stack", "ls")
    if STACK in {stack["name"] for stack in stacks}:
        with steps.step(f"pulumi destroy --stack {STACK}"):
            pulumi(
                env, "destroy", "--stack", STACK, "--yes", "--non-interactive", "--suppress-outputs"
            )
    with steps.step("Inventory"):
        state = report.tenant_state(home.ports(), our_thing())
        console.print(f"  {account.TENANT}, there before us: {state}")
        account.retire_tenant(home.ports())
        left = report.residue(home)
        report.show_residue(console, left)
    with steps.step("Stop"):
        stop_greenhouse(home)
        shutil.rmtree(home.root)
        if tools.docker.ours and not toolchain.stop_engine():
            console.print("  the Docker engine stays: other containers run on it")
    steps.show()
    if left:
        console.print("something is left: see above")
        raise typer.Exit(1)


@app.command()
def env() -> None:
    """Print the exports that point a shell at greenhouse: eval "$(make -s env)"."""
    home = Home.find()
    if not home.exists():
        sys.stderr.write("there is no greenhouse here yet: make up\n")
        raise typer.Exit(1)
    tools = toolchain.prepare(Console(stderr=True, quiet=True))
    for name, value in environment(tools, home).items():
        sys.stdout.write(f"export {name}={shlex.quote(value)}\n")


@app.command()
def status() -> None:
    """Which processes of greenhouse run, and where each writes its log."""
    home = Home.find()
    if not home.exists():
        console.print("no greenhouse here: make up")
        raise typer.Exit(1)
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


if __name__ == "__main__":
    try:
        app()
    except (ProcessFailed, toolchain.ToolchainFailed) as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(1)
