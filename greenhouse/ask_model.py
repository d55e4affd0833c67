"""Asks a greenhouse device's model, as an application on the device would: `make ask`.

The program `asker` runs in the container of the stack's consumer. It uses the consumer's rights and
topics. Whoever can run it already controls the Docker engine, and so the machine.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from edge.inference.model import Model
from edge.inference.protocol import batches
from fleet.stacks import Stack, project
from greenhouse.home import Home
from infra.errors import told
from infra.model import samples
from infra.printable import printable, printable_lines
from infra.settings import Misconfigured

_ASKER = Path(__file__).with_name("ask_in_container.py")
_SECONDS = 60
_SHOWN_FEATURES = 4
# XGBoost's words for the kinds in a description.
_KINDS = {"integer": "int", "boolean": "i", "category": "c"}


class NotAsked(Exception):
    """The model can't be asked. The message says why, and what to do."""


def ask(home: Home, stack: Stack, rows: Path | None, console: Console) -> None:
    """Print the answers to the rows of a file.

    Without a file, print what the model can be asked.
    """
    container = _container(home, stack)
    if rows is None:
        _show_description(_describe(container, stack), stack, console)
        return
    try:
        records = samples.read(rows, described(_describe(container, stack)), "rows")
    except Misconfigured as error:
        raise NotAsked(printable_lines(str(error))) from error
    requests = [{"body": json.dumps(batch)} for batch in batches(records)]
    replies = _replies(container, requests, stack)
    for reply in replies:
        if refused := reply.get("error"):
            raise NotAsked(printable(f"{refused['code']}: {refused['message']}"))
    table = Table(title_justify="left")
    features = list(records[0])[:_SHOWN_FEATURES]
    for feature in features:
        table.add_column(Text(printable(feature)), justify="right")
    table.add_column("answer", justify="right")
    answers = [answer for reply in replies for answer in reply["predictions"]]
    for record, answer in zip(records, answers, strict=True):
        cells = [Text(printable(str(record.get(feature, "")))) for feature in features]
        table.add_row(*cells, json.dumps(answer))
    console.print(table)
    models = ", ".join(sorted({str(reply["model"]) for reply in replies}))
    console.print(Text(printable(f"answered by {stack.names().prefix} {models}")))


def _container(home: Home, stack: Stack) -> str:
    """The name of the consumer's container on the device that the stack deploys to."""
    thing = str(stack.config.get(f"{project()}:thing") or "")
    things = home.things()
    if thing not in things:
        raise NotAsked(
            told(
                f"stack {stack.name} deploys to {thing or 'no single thing'}, and greenhouse's"
                f" devices are: {', '.join(things) or 'none'}.",
                "make ask asks only these devices. Start one:",
                "make up",
            )
        )
    return f"{stack.names().consumer}.{thing}"


def described(description: dict[str, Any]) -> Model:
    """The columns by which rows are read, from the device's own description."""
    return Model(
        id=description["model"],
        feature_names=tuple(one["name"] for one in description["features"]),
        feature_types=tuple(_KINDS.get(one["type"], "float") for one in description["features"]),
        missing_allowed=description["missing_allowed"],
        outputs=description["outputs"],
        trees=0,  # A description names no trees, and reading rows needs none.
    )


def _describe(container: str, stack: Stack) -> dict[str, Any]:
    """The whole description, put together from its messages."""
    [reply] = _replies(container, [{"describe": True}], stack)
    description: dict[str, Any] = reply["description"]
    while (following := description["next"]) is not None:
        [reply] = _replies(container, [{"describe": True, "first": following}], stack)
        description["features"] += reply["description"]["features"]
        description["next"] = reply["description"]["next"]
    return description


def _show_description(description: dict[str, Any], stack: Stack, console: Console) -> None:
    facts = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    facts.add_row("model", f"{stack.names().prefix} {description['model']}")
    facts.add_row("numbers a row", str(description["outputs"]))
    facts.add_row("missing values", "allowed" if description["missing_allowed"] else "refused")
    for name, most in description["limits"].items():
        facts.add_row(f"at most {name.replace('_', ' ')}", f"{most:,}")
    console.print(facts)
    table = Table()
    for column in ("feature", "type"):
        table.add_column(column)
    for one in description["features"]:
        table.add_row(Text(printable(one["name"])), one["type"])
    console.print(table)


def _replies(
    container: str, requests: Sequence[dict[str, Any]], stack: Stack
) -> list[dict[str, Any]]:
    topics = _topics(container, stack)
    asker = ["/usr/bin/python3", "-c", _ASKER.read_text(), *topics]
    done = _docker("exec", "-i", container, *asker, said=json.dumps(requests))
    if done.returncode:
        why = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise NotAsked(
            told(
                f"{container} gets no answer: {printable(''.join(why))}.",
                "See its log:",
                "make logs",
            )
        )
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return [line["reply"] for line in lines if "reply" in line]


def _topics(container: str, stack: Stack) -> list[str]:
    """The topics on which the consumer asks and listens, from its container's arguments."""
    done = _docker("inspect", "--type", "container", "--format", "{{json .Args}}", container)
    if done.returncode:
        raise NotAsked(
            told(
                f"{container} isn't running.",
                "See how the device is, or deploy to it:",
                f"make status STACK={stack.name}",
                f"pulumi up --stack {stack.name}",
            )
        )
    arguments: list[str] = json.loads(done.stdout)
    return [arguments[arguments.index(f"--{one}-topic") + 1] for one in ("request", "answer")]


def _docker(*arguments: str, said: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["docker", *arguments],
        input=said,
        capture_output=True,
        text=True,
        check=False,
        timeout=_SECONDS,
    )
