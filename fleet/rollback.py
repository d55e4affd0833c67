"""Back to an older release, and forward again: the stack's file names it, and an `up` deploys it.

Nothing is built: a kept release has its versions, its image and its files still in the account.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from fleet import engine
from fleet.observe import observe
from fleet.stacks import NoStack, Stack, project
from infra.records import Record, kept

NEWEST, PREVIOUS = "newest", "previous"
_KEY = "release"


def listing(stack: Stack) -> Table:
    """The kept releases, the newest first: what each is, and which devices have it."""
    outputs = _outputs(stack)
    runs: dict[str, list[str]] = {}
    for target in observe(stack.clients(), project()).targets:
        for device in target.devices:
            runs.setdefault(device.release, []).append(device.name)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for title in ("release", "published", "model", "image", "runs on"):
        table.add_column(title, no_wrap=title != "runs on")
    for record in _kept(stack, outputs):
        named = " (this stack's)" if record.release == outputs["release"] else ""
        table.add_row(
            f"{record.release}{named}",
            f"{record.stored:%Y-%m-%d %H:%M}",
            str(record.outputs["model"]),
            ", ".join(sorted(digest[7:19] for digest in record.images)),
            ", ".join(sorted(runs.get(record.release, []))),
        )
    return table


def roll_back(stack: Stack, release: str, console: Console) -> int:
    """Let the stack name a release and deploy it; pulumi's exit code.

    NEWEST takes the name out, PREVIOUS is the one before the stack's own. Raises NoStack where the
    release isn't kept, NoPulumi where the stack's file can't be changed.
    """
    outputs = _outputs(stack)
    if release == NEWEST:
        change = ["config", "rm", _KEY]
    else:
        kept_ones = _kept(stack, outputs)
        if release == PREVIOUS:
            release = _before(outputs["release"], kept_ones)
        record = _find(release, kept_ones, stack)
        change = ["config", "set", _KEY, release]
        console.print(
            f"stack {stack.name}: from release {outputs['release']} (model {outputs['model']})"
            f" to {release} (model {record.outputs['model']},"
            f" published {record.stored:%Y-%m-%d %H:%M})",
            markup=False,
            soft_wrap=True,
        )
    engine.change(stack.name, *change)
    done = engine.pulumi(stack.name, "up", "--yes", "--suppress-outputs").returncode
    file = f"Pulumi.{stack.name}.yaml"
    says = (
        f"{file} names no release any more: commit it, and the stack deploys what the tree holds."
        if release == NEWEST
        else f"{file} names release {release} from now on: commit it. Forward again:"
        f" make rollback STACK={stack.name} RELEASE={NEWEST}"
    )
    console.print(says, markup=False, soft_wrap=True)
    return done


def _before(release: str, records: Sequence[Record]) -> str:
    names = [record.release for record in records]
    older = names[names.index(release) + 1 :] if release in names else []
    if not older:
        raise NoStack(f"no release before {release} is kept; there are: {', '.join(names)}")
    return older[0]


def _find(release: str, records: Iterable[Record], stack: Stack) -> Record:
    there = {record.release: record for record in records}
    if release not in there:
        raise NoStack(
            f"stack {stack.name} has no kept release {release}; there are, the newest first:"
            f" {', '.join(there) or 'none'}. make rollback STACK={stack.name} lists them"
        )
    return there[release]


def _kept(stack: Stack, outputs: dict[str, Any]) -> Sequence[Record]:
    return kept(stack.clients(), outputs["bucket"])


def _outputs(stack: Stack) -> dict[str, Any]:
    done = engine.pulumi(stack.name, "stack", "output", "--json", capture=True)
    outputs: dict[str, Any] = json.loads(done.stdout) if done.returncode == 0 else {}
    if "bucket" not in outputs:
        raise NoStack(
            f"stack {stack.name} has no release to come from: pulumi up --stack {stack.name}"
        )
    return outputs
