"""The command line for reviewers and operators: python -m fleet --help.

The commands call AWS with the login of the environment and the stack's file. greenhouse sets that
environment for itself, so the same commands work there.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Never

import typer
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import RenderableType
from rich.live import Live

from fleet import pulumi_cli, stackfile, terminal
from fleet.abandon import abandon
from fleet.ci.commands import commands as ci
from fleet.console import console as serve
from fleet.lint import lint
from fleet.logs import Answer, NoLog, tail
from fleet.model import tell
from fleet.observe import Device, observe
from fleet.plan import account_facts, page, preview
from fleet.plan.plan import FailOn
from fleet.plan.plan import plan as plan_of
from fleet.plan.stack_change import StackChange
from fleet.prune import prune
from fleet.rollback import NEWEST, PREVIOUS, listing, roll_back
from fleet.sbom import documents, table
from fleet.stacks import ROOT, NoStack, Places, Stack, places, project
from fleet.status import read_fleet, show
from infra.account.clients import Clients
from infra.errors import told
from infra.names import Names
from infra.printable import printable, printable_lines
from infra.settings import Misconfigured

NEEDS_A_LOOK = 3  # Exit 1 means that AWS couldn't be read, and Typer's 2 is wrong usage.

_LOOK_AGAIN_SECONDS = 2.0

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__.splitlines()[0])

console = terminal.console()

StackName = Annotated[str, typer.Option("--stack", help="The stack: its file is Pulumi.NAME.yaml.")]


@app.command()
def plan(
    stack: StackName,
    destroy: Annotated[bool, typer.Option(help="Plan a destroy.")] = False,
    saved: Annotated[
        Path | None,
        typer.Option(
            "--preview",
            exists=True,
            dir_okay=False,
            help="A saved `pulumi preview --json --show-sames`, instead of a new one.",
        ),
    ] = None,
    fail_on: Annotated[
        str, typer.Option(help=f"Exit {NEEDS_A_LOOK} on any of: {', '.join(FailOn)}.")
    ] = "",
) -> None:
    """What an update will do to each device, as a Markdown page."""
    try:
        reasons = [FailOn(name.strip()) for name in fail_on.split(",") if name.strip()]
    except ValueError as error:
        raise typer.BadParameter(
            told(
                f"{error}.",
                f"There are: {', '.join(FailOn)}.",
                f"make plan STACK={stack} FAIL_ON={FailOn.REMOVED},{FailOn.RIGHTS}",
            )
        ) from error
    clients = Stack.read(stack).clients()
    text = saved.read_text() if saved else _previewed(stack, destroy=destroy)
    try:
        stack_change = StackChange.of(preview.read(text))
    except preview.Refused as error:
        sys.stdout.write(page.refusal(stack, str(error)))
        if not sys.stdout.isatty():  # The page goes elsewhere.
            _say([f"there is no plan: the preview of stack {stack} is refused, the page says why"])
        raise typer.Exit(1) from None
    targets, facts = account_facts.read_facts(clients, stack_change, ROOT)
    made = plan_of(stack_change, targets, facts)
    sys.stdout.write(page.render(made, reasons))
    if any(made.caught(reason) for reason in reasons):
        raise typer.Exit(NEEDS_A_LOOK)


def _previewed(stack: str, *, destroy: bool) -> str:
    command = ["destroy", "--preview-only"] if destroy else ["preview", "--show-sames"]
    return pulumi_cli.pulumi(stack, *command, "--json", capture=True).stdout


@app.command()
def status(
    stack: Annotated[str | None, typer.Option(help="Only this stack.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    watch: Annotated[bool, typer.Option(help="Refresh until Ctrl-C.")] = False,
    fail: Annotated[
        bool, typer.Option("--fail", help=f"Exit {NEEDS_A_LOOK} where anything needs a look.")
    ] = False,
) -> None:
    """Devices, health, releases, component states, last answers, and who deployed."""
    if watch and (as_json or fail):
        raise typer.BadParameter(
            told(
                "--watch has no end.",
                "So --json and --fail have no status to tell. Type one of them:",
                "make status WATCH=1",
                "make status JSON=1 FAIL=1",
            )
        )
    there = places(stack)
    if watch:
        with suppress(KeyboardInterrupt):
            if console.is_terminal:
                with Live(console=console, auto_refresh=False, screen=True) as live:
                    _watch(there, partial(live.update, refresh=True))
            _watch(there, console.print)
        return
    known = {name for names in there.clients.values() for name in names}
    seen = read_fleet(
        there, lambda name: pulumi_cli.released(name) if fail and name in known else ""
    )
    if as_json:
        shown = [
            {
                **fleet.json(),
                "answers": [
                    {"stack": stack, "device": device, **_plain(one)}
                    for (stack, device), one in answers.items()
                ],
            }
            for fleet, answers in seen.fleets
        ]
        sys.stdout.write(json.dumps(shown, indent=2) + "\n")
        _say(seen.skipped)
    else:
        console.print(show(seen))
    if fail and not seen.well:
        raise typer.Exit(NEEDS_A_LOOK)


def _watch(there: Places, put: Callable[[RenderableType], object]) -> Never:
    while True:
        put(show(read_fleet(there)))
        time.sleep(_LOOK_AGAIN_SECONDS)


def _say(lines: Iterable[str]) -> None:
    """Print for people on stderr, beside a command's output for programs."""
    for line in lines:
        terminal.console(stderr=True).print(terminal.words(line), soft_wrap=True)


def _plain(answer: Answer | str) -> dict[str, Any]:
    if isinstance(answer, str):
        return {"unknown": answer}
    return {**asdict(answer), "at": answer.at.isoformat()}


@app.command()
def logs(
    device: Annotated[
        str | None,
        typer.Argument(
            metavar="DEVICE", help="The core device's thing name; optional for the only one."
        ),
    ] = None,
    component: Annotated[
        str, typer.Option(help="The component; without it, the stack's service.")
    ] = "",
    stack: Annotated[str | None, typer.Option(help="Only this stack's devices.")] = None,
) -> None:
    """Print a component's log, by FLEET_LOGS or from CloudWatch, or say where the log lies."""
    clients, found, names = _find_device(device, stack, component)
    for line in tail(clients, found, component or names.service):
        sys.stdout.write(f"{printable(line)}\n")


def _find_device(
    name: str | None, stack: str | None, component: str
) -> tuple[Clients, Device, Names]:
    """A device by its name, and the component names of the stack that is meant there."""
    found, skipped = places(stack).ask(lambda one: (one, observe(one, project(), stack)))
    _say(skipped)
    there: dict[str, dict[Names, tuple[Clients, Device, Names]]] = {}
    for clients, fleet in found:
        for target in fleet.targets:
            for device in target.devices:
                models = there.setdefault(device.name, {})
                models[target.names] = (clients, device, target.names)
    if name is None and len(there) == 1:
        name = next(iter(there))
    if name not in there:
        raise NoStack(
            f"no stack of this project deploys to {name}." if name else "which device?",
            f"The devices here: {', '.join(sorted(there)) or 'none'}. Name one:",
            "make logs DEVICE=NAME",
        )
    models = there[name]
    if len(models) > 1 and not component:
        services = ", ".join(sorted(names.service for names in models))
        raise NoStack(
            f"{name} has several models.",
            f"Their services are {services}. Name the component, or the stack:",
            f"make logs DEVICE={name} COMPONENT=NAME",
            f"make logs DEVICE={name} STACK=NAME",
        )
    return next(iter(models.values()))


@app.command()
def new_device(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="The stack's name, and the thing's.")
    ] = "",
    from_: Annotated[
        str, typer.Option("--from", help="Follow this stack: deploy its release, build nothing.")
    ] = "",
    group: Annotated[str, typer.Option(help="Deploy to this thing group instead of a thing.")] = "",
    arch: Annotated[str, typer.Option(help="amd64 or aarch64, if it publishes.")] = "",
    region: Annotated[str, typer.Option(help="The AWS region; without it, --from's.")] = "",
) -> None:
    """Write the stack file of one more device, and print the next commands."""
    if not name:
        raise typer.BadParameter(
            told("the device has no name.", "Name it:", "make new-device NAME=press-3")
        )
    path = stackfile.write(name, group=group, follows=from_, architecture=arch, region=region)
    console.print(path.read_text(), end="")
    console.print(f"\n{path.name} is written. Next:")
    for command in (
        f"pulumi stack init {name}",
        f"make plan STACK={name}",
        f"pulumi up --stack {name}",
    ):
        console.print(f"    {command}")


@app.command()
def model(
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="A file of XGBoost's save_model.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Some rows for it, as JSON, CSV or Parquet.")
    ] = None,
) -> None:
    """Describe a model file: its kind, its limits, and the commands that release it."""
    if not file:
        raise typer.BadParameter(
            told("no model file is named.", "Name one:", "make model FILE=model.json")
        )
    tell(file, data, console)


@app.command()
def abandon_device(
    device: Annotated[str, typer.Argument(metavar="DEVICE", help="The core device's thing name.")],
    stack: StackName,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask for the name again.")] = False,
) -> None:
    """Stop waiting for a device that is gone for good. Deletes only its record in AWS."""
    abandon(Stack.read(stack), device, console, sure=yes)


@app.command()
def rollback(
    stack: StackName,
    release: Annotated[
        str,
        typer.Option(
            help=f"Which one to deploy, or {PREVIOUS}, or {NEWEST}; without it, they are listed."
        ),
    ] = "",
) -> None:
    """List the kept releases, or deploy one of them, older or newer. Builds nothing."""
    if not release:
        console.print(listing(Stack.read(stack)))
        console.print(f"\nmake rollback STACK={stack} RELEASE=…")
    elif code := roll_back(Stack.read(stack), release, console):
        raise typer.Exit(code)


@app.command("prune")
def prune_releases(
    stack: StackName,
    yes: Annotated[bool, typer.Option("--yes", help="Remove them; without it, list them.")] = False,
) -> None:
    """List or remove old releases that no device needs, and leftovers of interrupted updates."""
    prune(Stack.read(stack), console, sure=yes)


@app.command()
def sbom(
    stack: StackName,
    release: Annotated[str, typer.Option(help="A kept release; without it, the newest.")] = "",
    as_json: Annotated[
        bool, typer.Option("--json", help="The CycloneDX documents, by architecture.")
    ] = False,
) -> None:
    """Print the packages, versions, licences and files of a release's images."""
    found = documents(Stack.read(stack), release)
    if as_json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        return
    for document in found.values():
        console.print(table(document))


@app.command()
def schema() -> None:
    """Print the JSON schema of stack files. Pulumi.schema.json stores it for editors."""
    sys.stdout.write(json.dumps(stackfile.schema(), indent=2) + "\n")


app.command()(lint)
app.command("console")(serve)
app.add_typer(ci, name="ci")


def main() -> int:
    """Run a command. An expected failure prints one message and no traceback."""
    try:
        app()
    except (NoStack, NoLog, Misconfigured, preview.NoPreview, pulumi_cli.NoPulumi) as error:
        said = str(error)
    except (ClientError, BotoCoreError) as error:
        said = f"AWS: {error}"
    terminal.console(stderr=True).print(printable_lines(said), soft_wrap=True)
    return 1


if __name__ == "__main__":
    sys.exit(main())
