"""What an update will do to each device: pure functions from preview, targets and holdings.

A Pulumi diff says "replace deployment". A device notices something else: which of its components
stop and start again, what it loses, what it has to download. Both runtimes leave a component whose
version stays alone, and keep artifacts by component version, so a new version takes its files anew
even where one of them is the same; of an image only the layers that aren't there.
"""

from __future__ import annotations

import difflib
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from fleet.observe import Device, Target, release_name
from fleet.plan import rights
from fleet.plan.holdings import Holdings, artifacts, every_artifact, object_key, planned_recipes
from fleet.plan.preview import UNKNOWN, Preview, Resource
from fleet.plan.rights import Right
from infra.account.greengrass import SUCCEEDED
from infra.names import COMPONENTS, SERVICE
from infra.publish.recipe import FILES, MODEL

_REMEMBERED = 5  # deployments whose duration says how long the next one takes


class Kind(StrEnum):
    """What happens to a component, in the order in which a page lists it."""

    REMOVED = "removed"
    CHANGED = "changed"
    ADDED = "added"
    KEPT = "kept"


class Gate(StrEnum):
    """What a check can refuse."""

    REMOVED = "removed"  # a component leaves a device
    DOWNGRADE = "downgrade"  # an older version comes back
    RIGHTS = "rights"  # somebody gets a right
    PUBLIC = "public"  # anybody gets one
    DRIFT = "drift"  # somebody else deployed
    WARNING = "warning"  # the program warned of something


@dataclass(frozen=True, kw_only=True)
class Change:
    """One root component of a device."""

    kind: Kind
    name: str
    now: str  # version, empty where it isn't there
    then: str  # UNKNOWN only for a preview of another program
    why: tuple[str, ...]
    older: bool  # `then` was published before `now`, or has a lower major

    @property
    def moves(self) -> bool:
        return self.kind is not Kind.KEPT


@dataclass(frozen=True, kw_only=True)
class Download:
    """Bytes between two bounds, equal where both are known; one `guessed` has no upper one."""

    files: int  # artifacts, at most
    layers: int  # of images, at most
    least: int  # of both: what the device can't have by now
    unbuilt: bool  # an image isn't built yet: `layers` counts today's in its place
    unknown: tuple[str, ...]  # images and files whose size can't be told

    @property
    def most(self) -> int:
        return self.files + self.layers

    @property
    def guessed(self) -> bool:
        return self.unbuilt and bool(self.layers)


@dataclass(frozen=True, kw_only=True)
class Group:
    """Devices of one kind, to which the same happens."""

    devices: tuple[Device, ...]
    changes: tuple[Change, ...]
    download: Download
    seconds: float | None  # the median of earlier deployments here, sending to success
    counted: int  # how many these were

    @property
    def restarts(self) -> tuple[str, ...]:
        return tuple(one.name for one in self.changes if one.kind is Kind.CHANGED)


@dataclass(frozen=True, kw_only=True)
class TargetPlan:
    """One target, with its devices grouped by what happens to them."""

    target: Target
    deploys: bool
    groups: tuple[Group, ...]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that a reviewer should know."""

    project: str
    stack: str
    destroys: bool
    releases: tuple[str, str]  # now and then, empty where there is none
    models: tuple[str, str]
    targets: tuple[TargetPlan, ...]
    rights: tuple[Right, ...]  # in the account, then on the device
    unread: tuple[str, ...]  # components whose recipe is known only once the image is built
    findings: tuple[str, ...]

    def caught(self, gate: Gate) -> tuple[str, ...]:
        """What a check for this would refuse; empty: nothing."""
        found: set[str] = set()
        for one in self.targets:
            changes = [change for group in one.groups for change in group.changes]
            if gate is Gate.REMOVED:
                found |= {change.name for change in changes if change.kind is Kind.REMOVED}
            elif gate is Gate.DOWNGRADE:
                found |= {change.name for change in changes if change.older}
            elif gate is Gate.DRIFT:
                found |= set(one.target.drift)
                found |= {line for device in one.target.devices for line in device.drift}
        if gate is Gate.RIGHTS:
            found |= {f"{right.who}: {right.what}" for right in self.rights if right.widens}
        elif gate is Gate.PUBLIC:
            found |= {f"{right.who}: {right.what}" for right in self.rights if right.public}
        elif gate is Gate.WARNING:
            found |= set(self.findings)
        return tuple(sorted(found))


def plan(preview: Preview, targets: Sequence[Target], holdings: Holdings) -> Plan:
    """What the previewed update does to these targets."""
    known = _Known(preview, holdings)
    planned = tuple(_target_plan(one, preview, known) for one in targets)
    changes = {
        (change.name, change.now, change.then): change
        for one in planned
        for group in one.groups
        for change in group.changes
        if change.moves
    }
    stack = preview.first("pulumi:pulumi:Stack")
    outputs = stack.stood if stack else {}
    return Plan(
        project=preview.project,
        stack=preview.stack,
        destroys=preview.destroys,
        releases=(outputs.get("release", ""), known.release()),
        models=(outputs.get("model", ""), known.model()),
        targets=planned,
        rights=(*rights.changes(preview), *_device_rights(changes.values(), known)),
        unread=tuple(
            sorted(
                {
                    change.name
                    for change in changes.values()
                    if change.name in COMPONENTS
                    and change.then
                    and known.recipe(change.name, change.then) is None
                }
            )
        ),
        findings=preview.findings,
    )


class _Known:
    """Recipes and sizes of both sides, wherever they come from."""

    def __init__(self, preview: Preview, holdings: Holdings) -> None:
        self._holdings = holdings
        self._planned = planned_recipes(preview)
        stored = list(preview.of_type(":BucketObjectv2"))
        self._keys = {
            one.after["key"].rpartition("/")[2]: one.after["key"] for one in stored if one.after
        }
        stack, answering = preview.first("pulumi:pulumi:Stack"), preview.first("edge:Answering")
        stands = answering.after if answering else stack.stood if stack else {}
        self._versions: Mapping[str, str] = stands.get("components", {})
        today: Mapping[str, str] = (stack.stood if stack else {}).get("image", {})
        retargeted = {_architecture(one) for one in preview.of_type(":Image") if _retargeted(one)}
        self._today = {name: image for name, image in today.items() if name not in retargeted}

    def elsewhere(self, target: Target, device: Device) -> dict[str, str]:
        """The components that another target deploys to the device, too: by which."""
        arns = {one.target for one in device.timeline} - {target.arn}
        return {
            name: arn.rpartition(":")[2]
            for arn in sorted(arns)
            for name in self._holdings.elsewhere.get(arn, ())
        }

    def recipe(self, name: str, version: str) -> Mapping[str, Any] | None:
        return self._planned.get((name, version)) or self._holdings.recipes.get((name, version))

    def files(self, name: str, version: str, before: str, architecture: str) -> dict[str, str]:
        """File name to object key of a version's artifacts, also while its recipe is unknown."""
        recipe = self.recipe(name, version)
        if recipe is None:
            older = self.files(name, before, "", architecture) if before else {}
            return {file: self._keys.get(file, older.get(file, "")) for file in FILES.get(name, ())}
        keys = [object_key(uri) for uri in artifacts(recipe, architecture) if uri.startswith("s3:")]
        return {key.rpartition("/")[2]: key for key in keys}

    def images(self, name: str, version: str, architecture: str) -> list[str]:
        recipe = self.recipe(name, version) or {}
        return [
            uri.removeprefix("docker:")
            for uri in artifacts(recipe, architecture)
            if uri.startswith("docker:")
        ]

    def blobs(self, image: str) -> Mapping[str, int] | None:
        return self._holdings.images.get(image)

    def size(self, key: str) -> int | None:
        return self._holdings.objects.get(key)

    def today(self, architecture: str) -> str:
        """The image that the stack's last update built for that architecture."""
        return self._today.get(architecture, "")

    def release(self) -> str:
        """The release to come; a destroy has none."""
        return "" if UNKNOWN in self._versions.values() else release_name(self._versions)

    def model(self) -> str:
        """The id of the model to come: how its content's hash begins (infra.golden)."""
        recipe = self.recipe(SERVICE, self._versions.get(SERVICE, ""))
        if recipe is None:  # its image is still to be built
            return str(self._keys.get(MODEL, ""))[:12]
        keys = (object_key(uri) for uri in every_artifact(recipe))
        return next((key[:12] for key in keys if key.endswith(f"/{MODEL}")), "")

    def older(self, name: str, now: str, then: str) -> bool:
        if then == UNKNOWN:
            return False
        if int(then.partition(".")[0]) != int(now.partition(".")[0]):
            return int(then.partition(".")[0]) < int(now.partition(".")[0])
        dates = self._holdings.published
        return (name, then) in dates and dates[name, then] < dates.get(
            (name, now), dates[name, then]
        )

    def may_be_on(self, device: Device, name: str, version: str) -> bool:
        """Whether the device may have taken this version before: nucleus keeps one back."""
        date = self._holdings.published.get((name, version))
        return date is not None and any(one.created > date for one in device.timeline)


def _architecture(image: Resource) -> str:
    return image.name.rpartition("-")[2]


def _retargeted(image: Resource) -> bool:
    """Whether it becomes another engine's: the size of today's says nothing of it."""
    now, then = (side.get("build", {}).get("target") for side in (image.before, image.after))
    return bool(image.before) and now != then


def _target_plan(target: Target, preview: Preview, known: _Known) -> TargetPlan:
    wanted = _wanted(target, preview)
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


def _wanted(target: Target, preview: Preview) -> Mapping[str, str] | None:
    """Component versions of the deployment to come; None where none is made for the target."""
    deployment = preview.first(":Deployment")
    if deployment is None or not deployment.changes:
        return None
    if deployment.after.get("targetArn") == target.arn:
        answering = preview.first("edge:Answering")
        planned = answering.after.get("components", {}) if answering else {}
        return {
            name: planned.get(name, UNKNOWN)
            if spec["componentVersion"] == UNKNOWN
            else spec["componentVersion"]
            for name, spec in deployment.after["components"].items()
        }
    # the target is left: infra.uninstall takes our components off it, and no others'
    latest = target.latest
    if latest and latest.stack and latest.stack != target.stack:
        return None
    deployed = latest.components if latest else {}
    there = {one.name for device in target.devices for one in device.components}
    if not {*deployed, *there}.intersection(COMPONENTS):
        return None
    return {name: version for name, version in deployed.items() if name not in COMPONENTS}


def _changes(
    target: Target, device: Device, wanted: Mapping[str, str] | None, known: _Known
) -> Iterator[Change]:
    there = {one.name: one.version for one in device.components}
    if wanted is None:
        wanted = there
    ours = {*COMPONENTS, *(target.latest.components if target.latest else ())}
    elsewhere = known.elsewhere(target, device)
    found = []
    for name in {*wanted, *there}:
        now, then = there.get(name, ""), wanted.get(name, "")
        why: Iterable[str] = ()
        if not then and name not in ours:
            then = now  # another target's, which this deployment doesn't touch
        elif not then and name in elsewhere:
            then, why = now, [f"{elsewhere[name]} deploys it, too"]
        kind = Kind.KEPT
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


def _why(name: str, now: str, then: str, architecture: str, known: _Known) -> Iterator[str]:
    """What of a component differs, most telling first."""
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
    """Name to type; the cloud spells a range anew, and writes down that the default is hard."""
    return {
        name: one.get("DependencyType", "HARD")
        for name, one in recipe.get("ComponentDependencies", {}).items()
    }


def _script(recipe: Mapping[str, Any], architecture: str) -> list[str]:
    """Every word of the lifecycle that fits, without image and artifacts."""
    for manifest in recipe.get("Manifests", []):
        if manifest.get("Platform", {}).get("architecture", "*") in ("*", architecture):
            words: list[str] = []
            for name, step in sorted(manifest.get("Lifecycle", {}).items()):
                text = step if isinstance(step, str) else step.get("Script", "")
                limit = [] if isinstance(step, str) else [f"Timeout={step.get('Timeout')}"]
                words += [f"{name}:", *limit, *text.split()]
            return [word for word in words if "@sha256:" not in word]
    return []


def _words(before: Sequence[str], after: Sequence[str]) -> Iterator[str]:
    """Changed words with the option before them: `--memory 64m → 80m`."""
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


def _download(device: Device, changes: Sequence[Change], known: _Known) -> Download:
    there: dict[str, int] = {}
    for one in device.components:
        for image in known.images(one.name, one.version, device.architecture):
            there |= known.blobs(image) or {}
    files = least_files = 0
    layers: dict[str, int] = {}
    new: dict[str, int] = {}  # those that the device can't have
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
        if known.recipe(change.name, change.then) is None and change.name in COMPONENTS:
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
    """Seconds of this device's last successful deployments of any stack of ours."""
    done = [one for one in device.timeline if one.stack and one.status in SUCCEEDED]
    return [(one.modified - one.created).total_seconds() for one in done[:_REMEMBERED]]


def _device_rights(changes: Any, known: _Known) -> tuple[Right, ...]:
    found: set[Right] = set()
    for change in changes:
        before = known.recipe(change.name, change.now) if change.now else None
        after = known.recipe(change.name, change.then) if change.then else None
        if not change.then or after is not None:
            found |= set(rights.on_the_device(before, after))
    return tuple(sorted(found))
