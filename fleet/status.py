"""Shows the fleet to an operator: health, releases, times, and who deployed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from botocore.exceptions import ClientError
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fleet.logs import UNANSWERED, WAITING, Answer, answered
from fleet.observe import Device, Fleet, Target, observe
from fleet.stacks import Places, project
from fleet.terminal import words
from infra.account.clients import Clients, at_once
from infra.account.context import Context
from infra.account.greengrass import FAILED, SUCCEEDED
from infra.publish.release_records import newest

Answers = Mapping[tuple[str, str], Answer | str]  # The last answers, by stack and device.

GOOD = {"HEALTHY", "RUNNING", "FINISHED", "ACTIVE", *SUCCEEDED}
_EACH_LISTED = 8  # A target with more devices is only counted.
BAD = {"UNHEALTHY", "BROKEN", "ERRORED", *FAILED}
# A nucleus, Java or Lite, reports at least once a day (periodicStatusPublishIntervalSeconds: 86400,
# its default and, by the developer guide, its minimum). One report may get lost. A consumer also
# asks at least once a day.
_QUIET = timedelta(days=2)


@dataclass(frozen=True, kw_only=True)
class FleetStatus:
    """The fleet of each region with its last answers, and the stacks that couldn't be read."""

    fleets: Sequence[tuple[Fleet, Answers]]
    skipped: Sequence[str] = ()

    @property
    def well(self) -> bool:
        """Whether all could be read, and nothing needs a look."""
        return not self.skipped and all(
            target_well(target, answers, fleet.seen)
            for fleet, answers in self.fleets
            for target in fleet.targets
        )

    @property
    def worst_first(self) -> FleetStatus:
        """The same, with targets and regions that need a look first."""

        def fine(fleet: Fleet, answers: Answers) -> list[bool]:
            return [target_well(one, answers, fleet.seen) for one in fleet.targets]

        ordered = []
        for fleet, answers in sorted(self.fleets, key=lambda one: all(fine(*one))):
            by_need = sorted(
                zip(fine(fleet, answers), fleet.targets, strict=True), key=lambda one: one[0]
            )
            targets = tuple(target for _, target in by_need)
            ordered.append((replace(fleet, targets=targets), answers))
        return replace(self, fleets=ordered)


def read_fleet(there: Places, released: Callable[[str], str] = lambda _: "") -> FleetStatus:
    """Read AWS, and the last answers from devices' logs. Raises NoStack if nothing can be read.

    `released` says which release a stack has by Pulumi's state, "" if it is unknown.
    """
    fleets, skipped = there.ask(lambda clients: _look(clients, there, released))
    return FleetStatus(fleets=fleets, skipped=skipped)


def _look(clients: Clients, there: Places, released: Callable[[str], str]) -> tuple[Fleet, Answers]:
    fleet = observe(clients, project(), there.stack)
    targets = [
        replace(
            one,
            newer=_newer(clients, one, there.follows.get(one.stack, "")),
            drift=(*one.drift, *_otherwise_in_state(one, released(one.stack))),
        )
        for one in fleet.targets
    ]
    fleet = replace(fleet, targets=tuple(targets))
    asked = {
        (target.stack, device.name): (device, target.names.consumer)
        for target in fleet.targets
        for device in target.devices
    }
    # An unreachable log fails only after 20 s.
    answers = at_once(lambda one: answered(clients, *one), asked.values())
    return fleet, dict(zip(asked, answers, strict=True))


def _otherwise_in_state(target: Target, release: str) -> Iterator[str]:
    """A note if Pulumi's state has another release than this stack deployed last."""
    latest = target.latest
    if release and latest and latest.stack == target.stack and target.release != release:
        yield (
            f"Pulumi's state says release {release}, but {target.release or 'no complete release'}"
            " was deployed last. Most likely the last update failed or was interrupted:"
            f" pulumi up --stack {target.stack} deploys what this tree has. Otherwise the state is"
            " an older one, or another backend deploys here"
        )


def _newer(clients: Clients, target: Target, publisher: str) -> str:
    """A note for a follower whose publisher has another release. It is no failure."""
    if not publisher or target.latest is None:
        return ""
    place = Context.of_target(target.arn, clients, project=project(), stack=target.stack)
    try:
        found = newest(clients, place.bucket_of(publisher))
    except ClientError as error:
        return f"AWS doesn't say whether {publisher} has published a newer release: {error}"
    if found is None or found[0] == target.release:
        return ""
    release, stored = found
    return (
        f"{publisher} has published release {release} on {stored:%Y-%m-%d %H:%M} UTC:"
        f" pulumi up --stack {target.stack} deploys it, unless its file names another"
    )


def silence(device: Device, now: datetime) -> str:
    """A note if the device has been silent for longer than a running device can be."""
    return f"silent for {_ago(device.heard, now)}" if now - device.heard > _QUIET else ""


def unheard(answer: Answer | str, now: datetime) -> str:
    """A note if its consumer has had no answer for too long; empty if that is unknown."""
    if isinstance(answer, str):
        return answer if answer in (UNANSWERED, WAITING) else ""
    return f"no answer for {_ago(answer.at, now)}" if now - answer.at > _QUIET else ""


def well(device: Device, answer: Answer | str, now: datetime) -> bool:
    """Whether it reports and answers, without drift or a bad state."""
    states = {device.health, *(one.state for one in device.concerns)}
    states |= {one.status for one in device.timeline[:1]}
    return not (silence(device, now) or unheard(answer, now) or device.drift or states & BAD)


def target_well(target: Target, answers: Answers, now: datetime) -> bool:
    """Whether the target, its latest deployment and its devices need no look."""
    return (
        not target.drift
        and not (target.latest and target.latest.status in BAD)
        and all(well(one, answers[target.stack, one.name], now) for one in target.devices)
    )


def show(seen: FleetStatus) -> RenderableType:
    """Print everything, a table for each target. Targets that need a look come first."""
    seen = seen.worst_first
    skipped = (words(f"! {line}", "yellow") for line in seen.skipped)
    return Group(*skipped, *(_fleet(fleet, answers) for fleet, answers in seen.fleets))


def _fleet(fleet: Fleet, answers: Answers) -> RenderableType:
    if not fleet.targets:
        return words(f"{fleet.region}: no stack of {fleet.project} has deployed anything here")
    parts: list[RenderableType] = []
    for target in fleet.targets:
        parts += [_heading(target), *_failures(target), *_drift(target)]
        if target.newer:
            parts.append(words(f"  {target.newer}", "cyan"))
        listed = _listed(target, answers, fleet.seen)
        parts.append(_table(listed, fleet.seen))
        parts += [_answer(target, one.name, answers, fleet.seen) for one in listed]
        if alike := len(target.devices) - len(listed):
            parts.append(
                Text(f"{alike} more are well and run this release; each one: make status JSON=1")
            )
        parts.append(Text())
    return Group(*parts[:-1])


def _heading(target: Target) -> Text:
    kind = "thing group" if target.is_group else "thing"
    text = words(target.stack, "bold") + words(f" → {kind} {target.name}, {target.names.prefix}.*")
    if target.latest:
        text.append_text(words(f", release {target.release or 'of others'}, deployment "))
        text.append_text(_state(target.latest.status))
        text.append(f" of {target.latest.created:%Y-%m-%d %H:%M} UTC")
    return text


def _failures(target: Target) -> list[RenderableType]:
    """The devices where the latest deployment failed, the reason, and what they have instead."""
    return [
        words(
            f"  ! {device.name}: {one.status}{f', {one.reason}' if one.reason else ''};"
            f" it runs {f'release {device.release}' if device.release else 'no whole release'}",
            "red",
        )
        for device in target.devices
        for one in device.timeline
        if target.latest and one.deployment == target.latest.id and one.status in BAD
    ]


def _drift(target: Target) -> list[RenderableType]:
    lines = [*target.drift, *(f"{d.name}: {line}" for d in target.devices for line in d.drift)]
    lines += [f"{thing} has never reported as a core device" for thing in target.strangers]
    return [words(f"  ! {line}", "yellow") for line in lines]


def _listed(target: Target, answers: Answers, now: datetime) -> Sequence[Device]:
    """The devices to list; of many, those that aren't well or lack the target's release."""
    if len(target.devices) <= _EACH_LISTED:
        return target.devices
    wanted = target.release
    return [
        one
        for one in target.devices
        if not well(one, answers[target.stack, one.name], now) or one.release != wanted
    ]


def _table(devices: Sequence[Device], now: datetime) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("device", "health", "heard of", "runs", "component", "version", "state"):
        table.add_column(column, overflow="fold")
    for device in devices:
        first: tuple[str | Text, ...] = (
            words(device.name),
            _health(device, now),
            f"{_ago(device.heard, now)} ago",
            words(
                f"{device.runtime.removeprefix('aws_nucleus_')} {device.nucleus}"
                f" {device.architecture}"
            ),
        )
        for one in device.components:
            version = words(one.version, "yellow" if one.differs else "")
            name = words(one.name, "" if one.ours else "dim")
            table.add_row(*first, name, version, _state(one.state, one.reason))
            first = ("", "", "", "")
    return table


def _answer(target: Target, device: str, answers: Answers, now: datetime) -> Text:
    found = answers[target.stack, device]
    style = "red" if unheard(found, now) else "dim" if isinstance(found, str) else ""
    if isinstance(found, str):
        return words(f"{device}'s last answer: {found}", style)
    return words(
        f"{device} answered {_ago(found.at, now)} ago: {found.rows} rows in"
        f" {found.milliseconds:.1f} ms, model {target.names.prefix} {found.model}",
        style,
    )


def _health(device: Device, now: datetime) -> Text:
    if silent := silence(device, now):
        return words(f"{silent}, {device.health} before", "red")
    return _state(device.health)


def _state(word: str, reason: str = "") -> Text:
    style = "green" if word in GOOD else "red" if word in BAD else ""
    return words(f"{word} ({reason})" if reason else word, style)


def _ago(then: datetime, now: datetime) -> str:
    seconds = max(0.0, (now - then).total_seconds())
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
