"""Works out what an update does to each device, from the preview, the targets and the account.

The functions are pure. A Pulumi diff says "replace deployment". A reviewer wants to know which
components restart, what a device loses, and what it downloads. Both runtimes don't restart a
component whose version stays. They keep artifacts by component version, so a new version downloads
all its files. For an image, a device downloads only the missing layers.
"""

from __future__ import annotations

import difflib
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from fleet.observe import Device, Target
from fleet.plan import rights
from fleet.plan.account_facts import AccountFacts, manifest_for
from fleet.plan.known_versions import KnownVersions
from fleet.plan.preview import UNKNOWN
from fleet.plan.rights import Right
from fleet.plan.scans import Scan
from fleet.plan.stack_change import StackChange
from infra.account.greengrass import SUCCEEDED
from infra.names import Names

_REMEMBERED = 5  # The durations of this many deployments estimate the next.


class Kind(StrEnum):
    """What happens to a component, in the order of the page."""

    REMOVED = "removed"
    CHANGED = "changed"
    ADDED = "added"
    UNCHANGED = "unchanged"


class FailOn(StrEnum):
    """The values of `--fail-on`."""

    REMOVED = "removed"  # A component leaves a device.
    DOWNGRADE = "downgrade"  # An older version comes back.
    RIGHTS = "rights"  # Somebody gets a right.
    PUBLIC = "public"  # Everyone gets a right.
    DRIFT = "drift"  # Someone else deployed.
    WARNING = "warning"  # The program printed a warning.
    VULNERABLE = "vulnerable"  # ECR's scan of an image found something of scan-severity or above.


@dataclass(frozen=True, kw_only=True)
class Change:
    """One root component of a device."""

    kind: Kind
    name: str
    now: str  # The version. Empty if it isn't there.
    then: str  # UNKNOWN only for a preview of another program.
    why: tuple[str, ...]
    older: bool  # `then` was published before `now`, or has a lower major.

    @property
    def moves(self) -> bool:
        return self.kind is not Kind.UNCHANGED


@dataclass(frozen=True, kw_only=True)
class Download:
    """A number of bytes between two bounds. A `guessed` one has no upper bound."""

    files: int  # In bytes, of artifacts, at most.
    layers: int  # In bytes, of images, at most.
    least: int  # In bytes, of both: parts that the device can't have.
    unbuilt: bool  # An image isn't built, so `layers` counts today's image.
    unknown: tuple[str, ...]  # Images and files of unknown size.

    @property
    def most(self) -> int:
        return self.files + self.layers

    @property
    def guessed(self) -> bool:
        return self.unbuilt and bool(self.layers)


@dataclass(frozen=True, kw_only=True)
class Group:
    """Devices of one kind with the same changes."""

    devices: tuple[Device, ...]
    changes: tuple[Change, ...]
    download: Download
    seconds: float | None  # The median of earlier deployments here, from creation to success.
    counted: int  # The number of these.


@dataclass(frozen=True, kw_only=True)
class TargetPlan:
    """One target, with its devices grouped by their changes."""

    target: Target
    deploys: bool
    groups: tuple[Group, ...]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All facts for a reviewer."""

    project: str
    stack: str
    destroys: bool
    releases: tuple[str, str]  # The current and the next. Empty if there is none.
    models: tuple[str, str]
    names: Names  # The names of the stack's components.
    targets: tuple[TargetPlan, ...]
    rights: tuple[Right, ...]  # Those in the account, then those on the device.
    unread: tuple[str, ...]  # Components whose recipe is unknown until the image is built.
    findings: tuple[str, ...]
    scans: tuple[Scan, ...]
    severity: str  # The lowest severity of a scan's findings that counts.

    def caught(self, reason: FailOn) -> tuple[str, ...]:
        """The reasons in this plan to fail; empty if there is none."""
        found: set[str] = set()
        for one in self.targets:
            changes = [change for group in one.groups for change in group.changes]
            if reason is FailOn.REMOVED:
                found |= {change.name for change in changes if change.kind is Kind.REMOVED}
            elif reason is FailOn.DOWNGRADE:
                found |= {change.name for change in changes if change.older}
            elif reason is FailOn.DRIFT:
                found |= set(one.target.drift)
                found |= {line for device in one.target.devices for line in device.drift}
        if reason is FailOn.RIGHTS:
            found |= {f"{right.who}: {right.what}" for right in self.rights if right.widens}
        elif reason is FailOn.PUBLIC:
            found |= {f"{right.who}: {right.what}" for right in self.rights if right.public}
        elif reason is FailOn.WARNING:
            found |= set(self.findings)
        elif reason is FailOn.VULNERABLE:
            found |= {name for one in self.scans for _, name in one.at_least(self.severity)}
        return tuple(sorted(found))


def plan(stack_change: StackChange, targets: Sequence[Target], account_facts: AccountFacts) -> Plan:
    """The changes of the previewed update for these targets."""
    known = KnownVersions(stack_change, account_facts)
    plans = tuple(_target_plan(one, stack_change, known) for one in targets)
    changes = {
        (change.name, change.now, change.then): change
        for one in plans
        for group in one.groups
        for change in group.changes
        if change.moves
    }
    return Plan(
        project=stack_change.project,
        stack=stack_change.stack,
        destroys=stack_change.destroys,
        releases=(stack_change.outputs.get("release", ""), known.release()),
        models=(stack_change.outputs.get("model", ""), known.model()),
        names=stack_change.names,
        targets=plans,
        rights=(*stack_change.rights, *_device_rights(changes.values(), known)),
        unread=tuple(
            sorted(
                {
                    change.name
                    for change in changes.values()
                    if change.name in stack_change.names.components
                    and change.then
                    and known.recipe(change.name, change.then) is None
                }
            )
        ),
        findings=stack_change.findings,
        scans=account_facts.scans,
        severity=stack_change.severity,
    )


def _target_plan(target: Target, stack_change: StackChange, known: KnownVersions) -> TargetPlan:
    wanted = _wanted(target, stack_change)
    alike: dict[tuple[tuple[Change, ...], Download, tuple[str, ...]], list[Device]] = {}
    for device in sorted(target.devices, key=lambda one: one.name):
        changes = tuple(_changes(target, device, wanted, known))
        download = _download(device, changes, known)
        kind = (device.architecture, device.runtime, device.nucleus)
        alike.setdefault((changes, download, kind), []).append(device)
    groups = []
    for (changes, download, _), devices in alike.items():
        seconds = [time for device in devices for time in _durations(device)]
        groups.append(
            Group(
                devices=tuple(devices),
                changes=changes,
                download=download,
                seconds=statistics.median(seconds) if seconds else None,
                counted=len(seconds),
            )
        )
    return TargetPlan(target=target, deploys=wanted is not None, groups=tuple(groups))


def _wanted(target: Target, stack_change: StackChange) -> Mapping[str, str] | None:
    """Component versions of the next deployment; None if the target gets none."""
    deployment = stack_change.deployment
    if deployment is None or not deployment.changes:
        return None
    if deployment.after.get("targetArn") == target.arn:
        return {
            name: stack_change.answering.get(name, UNKNOWN)
            if spec["componentVersion"] == UNKNOWN
            else spec["componentVersion"]
            for name, spec in deployment.after["components"].items()
        }
    # The target changes: infra/teardown/uninstall.py removes only our components from the old one.
    latest, ours = target.latest, stack_change.names.components
    taken_over = latest and latest.stack and latest.stack != target.stack
    if latest and taken_over and latest.names == stack_change.names:
        return None
    deployed = latest.components if latest else {}
    there = {one.name for device in target.devices for one in device.components}
    if not {*deployed, *there}.intersection(ours):
        return None
    return {name: version for name, version in deployed.items() if name not in ours}


def _changes(
    target: Target, device: Device, wanted: Mapping[str, str] | None, known: KnownVersions
) -> Iterator[Change]:
    there = {one.name: one.version for one in device.components}
    if wanted is None:
        wanted = there
    ours = {*known.names.components, *(target.latest.components if target.latest else ())}
    elsewhere = known.elsewhere(target, device)
    found = []
    for name in {*wanted, *there}:
        now, then = there.get(name, ""), wanted.get(name, "")
        why: Iterable[str] = ()
        if not then and name not in ours:
            then = now  # It is another target's. This deployment doesn't change it.
        elif not then and name in elsewhere:
            then, why = now, [f"{elsewhere[name]} deploys it, too"]
        kind = Kind.UNCHANGED
        if now != then:
            kind = Kind.CHANGED if now and then else Kind.ADDED if then else Kind.REMOVED
        if kind is Kind.CHANGED:
            why = _why(name, now, then, device.architecture, known)
        found.append(
            Change(
                kind=kind,
                name=name,
                now=now,
                then=then,
                why=tuple(why),
                older=kind is Kind.CHANGED and known.older(name, now, then),
            )
        )
    order = list(Kind)
    yield from sorted(found, key=lambda one: (order.index(one.kind), one.name))


def _why(name: str, now: str, then: str, architecture: str, known: KnownVersions) -> Iterator[str]:
    """The differences of a component, the most important first."""
    before, after = known.recipe(name, now), known.recipe(name, then)
    stood = known.files(name, now, "", architecture)
    stands = known.files(name, then, now, architecture)
    for file in sorted(stood.keys() | stands.keys()):
        if stood.get(file) != stands.get(file):
            yield file
    if after is None:
        yield "the image (to be built)"
        return
    if known.images(name, now, architecture) != known.images(name, then, architecture):
        yield "the image"
    if before is None:
        return
    yield from _words(_script(before, architecture), _script(after, architecture))
    if _dependencies(before) != _dependencies(after):
        yield "dependencies"
    if before.get("ComponentConfiguration") != after.get("ComponentConfiguration"):
        yield "configuration"


def _dependencies(recipe: Mapping[str, Any]) -> dict[str, str]:
    """Name to type, without the range, which the cloud rewrites. The default type is HARD."""
    return {
        name: one.get("DependencyType", "HARD")
        for name, one in recipe.get("ComponentDependencies", {}).items()
    }


def _script(recipe: Mapping[str, Any], architecture: str) -> list[str]:
    """Every word of the matching lifecycle, without image and artifacts."""
    words: list[str] = []
    for name, step in sorted(manifest_for(recipe, architecture).get("Lifecycle", {}).items()):
        text = step if isinstance(step, str) else step.get("Script", "")
        limit = [] if isinstance(step, str) else [f"Timeout={step.get('Timeout')}"]
        words += [f"{name}:", *limit, *text.split()]
    return [word for word in words if "@sha256:" not in word]


def _words(before: Sequence[str], after: Sequence[str]) -> Iterator[str]:
    """Changed words, with the option before them: `--memory 64m → 80m`."""
    said = set()
    matcher = difflib.SequenceMatcher(a=before, b=after, autojunk=False)
    for operation, low, high, from_, to in matcher.get_opcodes():
        if operation == "equal":
            continue
        option = before[low - 1] if low and before[low - 1].startswith("-") else ""
        old, new = " ".join(before[low:high]), " ".join(after[from_:to])
        line = f"{option} {old or 'nothing'} → {new or 'nothing'}".strip()
        if line not in said:
            said.add(line)
            yield line


def _download(device: Device, changes: Sequence[Change], known: KnownVersions) -> Download:
    there: dict[str, int] = {}
    for one in device.components:
        for image in known.images(one.name, one.version, device.architecture):
            there |= known.blobs(image) or {}
    files = least_files = 0
    layers: dict[str, int] = {}
    new: dict[str, int] = {}  # Blobs that the device can't have.
    unknown, unbuilt = set(), False
    for change in changes:
        if change.kind not in (Kind.ADDED, Kind.CHANGED):
            continue
        known_there = known.may_be_on(device, change.name, change.then)
        for file, key in known.files(
            change.name, change.then, change.now, device.architecture
        ).items():
            size = known.size(key)
            if size is None:
                unknown.add(f"{change.name}'s {file}")
            files += size or 0
            least_files += 0 if known_there else size or 0
        if known.recipe(change.name, change.then) is None and change.name in known.names.components:
            unbuilt = True
            today = known.blobs(known.today(device.architecture))
            if today is None:
                unknown.add("the image, which isn't built yet")
            layers |= today or {}
            continue
        for image in known.images(change.name, change.then, device.architecture):
            blobs = known.blobs(image)
            if blobs is None:
                unknown.add(image)
                continue
            lacking = {digest: size for digest, size in blobs.items() if digest not in there}
            layers |= lacking
            new |= {} if known_there else lacking
    return Download(
        files=files,
        layers=sum(layers.values()),
        least=least_files + sum(new.values()),
        unbuilt=unbuilt,
        unknown=tuple(sorted(unknown)),
    )


def _durations(device: Device) -> list[float]:
    """Seconds of this device's last successful deployments, of all stacks of ours."""
    done = [one for one in device.timeline if one.stack and one.status in SUCCEEDED]
    return [(one.modified - one.created).total_seconds() for one in done[:_REMEMBERED]]


def _device_rights(changes: Any, known: KnownVersions) -> tuple[Right, ...]:
    found: set[Right] = set()
    for change in changes:
        before = known.recipe(change.name, change.now) if change.now else None
        after = known.recipe(change.name, change.then) if change.then else None
        if not change.then or after is not None:
            found |= set(rights.on_the_device(before, after))
    return tuple(sorted(found))
