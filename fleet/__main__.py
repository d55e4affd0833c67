"""The command line for reviewers and operators: python -m fleet --help.

Everything is asked of AWS as the environment and the stack's file say; greenhouse sets that
environment for itself, so the commands are the same there.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console

from fleet import holdings, page, preview
from fleet.plan import Gate
from fleet.plan import plan as plan_of
from fleet.stacks import ROOT, NoStack, Stack

GATE_CLOSED = 3  # beside 1, it could not be told, and Typer's 2, wrong usage

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__.splitlines()[0])

StackName = Annotated[str, typer.Option("--stack", help="The stack: its file is Pulumi.NAME.yaml.")]


@app.command()
def plan(
    stack: StackName,
    destroy: Annotated[bool, typer.Option(help="Plan a destroy.")] = False,
    saved: Annotated[
        Path | None,
        typer.Option(
            "--preview", help="A saved `pulumi preview --json --show-sames`, in place of a new one."
        ),
    ] = None,
    fail_on: Annotated[
        str, typer.Option(help=f"Exit {GATE_CLOSED} on any of: {', '.join(Gate)}.")
    ] = "",
) -> None:
    """What an update will do to each device, as a Markdown page."""
    try:
        gates = [Gate(name.strip()) for name in fail_on.split(",") if name.strip()]
    except ValueError as error:
        raise typer.BadParameter(f"{error}; there are: {', '.join(Gate)}") from error
    text = saved.read_text() if saved else _previewed(stack, destroy=destroy)
    clients = Stack.read(stack).clients()
    seen = preview.read(text)
    targets, held = holdings.look(clients, seen, ROOT)
    made = plan_of(seen, targets, held, region=clients.region)
    sys.stdout.write(page.render(made, gates))
    if any(made.caught(gate) for gate in gates):
        raise typer.Exit(GATE_CLOSED)


def _previewed(stack: str, *, destroy: bool) -> str:
    command = ["destroy", "--preview-only"] if destroy else ["preview", "--show-sames"]
    done = subprocess.run(
        ["pulumi", *command, "--json", "--stack", stack, "--non-interactive"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    return done.stdout


def main() -> int:
    """Run a command; what it can't do is one message, never a traceback."""
    try:
        app()
    except (NoStack, preview.NoPreview) as error:
        Console(stderr=True).print(str(error), markup=False, soft_wrap=True)
    except (ClientError, BotoCoreError) as error:
        Console(stderr=True).print(f"AWS: {error}", markup=False, soft_wrap=True)
    return 1


if __name__ == "__main__":
    sys.exit(main())
