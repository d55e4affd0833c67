"""Deploys an older or newer release: writes its name into the stack's file, and runs an `up`.

Nothing is built, because the account has a kept release's versions, images and files.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from fleet import pulumi_cli
from fleet.observe import observe
from fleet.stacks import NoStack, Stack, project
from fleet.terminal import words
from infra.errors import told
from infra.printable import printable_lines
from infra.publish.release_records import Record, stored_releases

NEWEST, PREVIOUS = "newest", "previous"
_KEY = "release"
_HISTORY = ("--json", "--page-size", "100")


def listing(stack: Stack) -> Table:
    """The kept releases, the newest first: model, samples, and the devices that have it."""
    outputs = _outputs(stack)
    runs: dict[str, list[str]] = {}
    for target in observe(stack.clients(), project()).targets:
        for device in target.devices:
            runs.setdefault(device.release, []).append(device.name)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for title in ("release", "published", "model", "samples", "image", "runs on"):
        table.add_column(title, no_wrap=title != "runs on")
    records = _stored(stack, outputs)
    failed = _failed(stack, records)
    for record in records:
        named = " (this stack's)" if record.release == outputs["release"] else ""
        note = " (its update failed)" if record.release in failed else ""
        table.add_row(
            words(f"{record.release}{named}{note}"),
            f"{record.stored:%Y-%m-%d %H:%M}",
            words(record.named("model")),
            words(record.named("samples")),
            ", ".join(sorted(digest[7:19] for digest in record.images)),
            words(", ".join(sorted(runs.get(record.release, [])))),
        )
    return table


def roll_back(stack: Stack, release: str, console: Console) -> int:
    """Write the release into the stack's file and deploy it. Returns pulumi's exit code.

    NEWEST removes the key. PREVIOUS is the last earlier release whose update didn't fail. Raises
    NoStack if there is no such release, and NoPulumi if the stack's file can't be changed.
    """
    outputs = _outputs(stack)
    if release == NEWEST:
        change = ["config", "rm", _KEY]
    else:
        records = _stored(stack, outputs)
        if release == PREVIOUS:
            failed = _failed(stack, records)
            release = _before(outputs["release"], records, failed, stack.name)
        record = named_release(release, records, stack)
        change = ["config", "set", _KEY, release]
        console.print(
            words(
                f"stack {stack.name}: from release {outputs['release']} (model {outputs['model']})"
                f" to {release} (model {record.named('model')}, published"
                f" {record.stored:%Y-%m-%d %H:%M})"
            ),
            soft_wrap=True,
        )
    pulumi_cli.change(stack.name, *change)
    # Nobody is asked, so a preview would only print every line twice.
    up = ("up", "--yes", "--skip-preview", "--suppress-outputs")
    done = pulumi_cli.pulumi(stack.name, *up).returncode
    file = f"Pulumi.{stack.name}.yaml"
    says = (
        f"{file} names no release any more: commit it, and the stack deploys what the tree holds."
        if release == NEWEST
        else told(
            f"{file} names release {release} from now on: commit it.",
            "Go forward again:",
            f"make rollback STACK={stack.name} RELEASE={NEWEST}",
        )
    )
    console.print(printable_lines(says), soft_wrap=True)
    return done


def _before(release: str, records: Sequence[Record], failed: AbstractSet[str], stack: str) -> str:
    names = [record.release for record in records]
    older = names[names.index(release) + 1 :] if release in names else []
    for one in older:
        if one not in failed:
            return one
    if older:
        raise NoStack(
            f"the update of each kept release before {release} failed: {', '.join(older)}.",
            "Name the one to deploy all the same:",
            f"make rollback STACK={stack} RELEASE=ID",
        )
    raise NoStack(
        f"no release before {release} is kept.",
        f"There are: {', '.join(names)}. Name one of these:",
        f"make rollback STACK={stack} RELEASE=ID",
    )


def _failed(stack: Stack, records: Iterable[Record]) -> frozenset[str]:
    """The releases whose updates all failed, by the publisher's Pulumi history.

    AWS can't say it: Pulumi deletes a replaced deployment, and its status is lost with it. An
    update concerns the release in its config, and the release whose record it stored.
    """
    publisher = stack.publisher() or stack.name
    updates = _updates(publisher)
    results = {
        record.release: {one["result"] for one in updates if _concerns(one, record)}
        for record in records
    }
    return frozenset(release for release, ends in results.items() if ends == {"failed"})


def last_good(stack: Stack, records: Sequence[Record]) -> tuple[Record, ...]:
    """The last two good releases of this stack's updates.

    The second is the one to go back to. AWS doesn't know it, because Pulumi deletes a replaced
    deployment.
    """
    found: list[Record] = []
    for update in _updates(stack.name):
        if update["result"] == "succeeded":
            found += [one for one in records if one not in found and _concerns(update, one)]
    return tuple(found[:2])


def _updates(stack: str) -> list[dict[str, Any]]:
    """The newest first."""
    done = pulumi_cli.pulumi(stack, "stack", "history", *_HISTORY, capture=True)
    listed: list[dict[str, Any]] = json.loads(done.stdout or "[]")
    return [one for one in listed if one["kind"] == "update" and "endTime" in one]


def _concerns(update: Mapping[str, Any], record: Record) -> bool:
    named = update["config"].get(f"{project()}:{_KEY}", {}).get("value", "")
    began, ended = (datetime.fromisoformat(update[key]) for key in ("startTime", "endTime"))
    return bool(named == record.release or (not named and began <= record.stored <= ended))


def named_release(release: str, records: Iterable[Record], stack: Stack) -> Record:
    """The release of that name; raises NoStack, with the names there are."""
    there = {record.release: record for record in records}
    if release not in there:
        raise NoStack(
            f"stack {stack.name} has no kept release {release}.",
            f"There are, the newest first: {', '.join(there) or 'none'}. List them:",
            f"make rollback STACK={stack.name}",
        )
    return there[release]


def _stored(stack: Stack, outputs: dict[str, Any]) -> Sequence[Record]:
    return stored_releases(stack.clients(), outputs["bucket"])


def _outputs(stack: Stack) -> dict[str, Any]:
    outputs = pulumi_cli.outputs(stack.name)
    if "bucket" not in outputs:
        raise NoStack(
            f"stack {stack.name} has no release to come from.",
            "",
            f"pulumi up --stack {stack.name}",
        )
    return outputs
