"""Prune keeps all that a device runs or could return to, and removes the rest in time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.in_use import Past, Version, reachable
from fleet.prune import Parts, superfluous
from infra.publish.release_records import Record
from tests.fleet.prune.releases import Content, contents, parts, record
from tests.infra.fakes import (
    NOON,
)

pytestmark = pytest.mark.usefixtures("account")

DEVICES = 2  # Of each target.


@dataclass
class Deployment:
    """A deployment to a target, and its outcome on each device that has heard of it."""

    content: Content | None  # None removes our components.
    went: dict[int, bool] = field(default_factory=dict)

    @property
    def good(self) -> bool:
        return bool(self.went) and all(self.went.values())


@dataclass
class World:
    """One publisher, its devices, and what is in the cloud."""

    clock: int = 0
    stored: dict[Content, int] = field(default_factory=dict)  # When it was last stored.
    there: Parts = field(default_factory=Parts)
    targets: list[list[Deployment]] = field(default_factory=lambda: [[], []])  # Oldest first.
    runs: dict[tuple[int, int], Content | None] = field(default_factory=dict)

    def publish(self, content: Content) -> None:
        self.clock += 1
        self.stored[content] = self.clock
        self.there |= parts(content)

    def begin(self, content: Content, *, files: bool, image: bool, versions: bool) -> None:
        """An `up` that is killed: it leaves a part of its things, and no record."""
        whole = parts(content)
        self.there |= Parts(
            components=whole.components if versions else frozenset(),
            images=whole.images if image else frozenset(),
            objects=whole.objects if files else frozenset(),
        )

    def deploy(self, target: int, content: Content | None, works: list[bool | None]) -> None:
        """For each device: success, failure, or None if the device is off."""
        self.targets[target].append(Deployment(content))
        for device, outcome in enumerate(works):
            if outcome is not None:
                self.arrive(target, device, works=outcome)

    def arrive(self, target: int, device: int, *, works: bool) -> None:
        """A device hears of the latest deployment. A failing device returns to what it ran."""
        if self.targets[target] and device not in self.targets[target][-1].went:
            latest = self.targets[target][-1]
            latest.went[device] = works
            if works:
                self.runs[target, device] = latest.content

    def newest_first(self) -> list[Record]:
        by_age = sorted(self.stored, key=self.stored.__getitem__, reverse=True)
        return [Record(outputs=one.outputs, stored=NOON) for one in by_age]

    def prune(self, keep: int) -> None:
        newest = self.newest_first()[0].key if self.stored else ""
        used: set[Version] = {
            version for one in self.runs.values() if one for version in record(one).components
        }
        for history in self.targets:
            used |= reachable(
                Past(
                    components=record(one.content).components if one.content else frozenset(),
                    good=one.good,
                )
                for one in reversed(history)
            )
        strays = self.there - Parts.of(self.newest_first()) if self.stored else Parts()
        old = superfluous(self.newest_first(), strays, used, own=newest, keep=keep)
        self.there -= old.parts | old.strays
        gone = {one.release for one in old.records}
        self.stored = {
            one: age for one, age in self.stored.items() if one.outputs["release"] not in gone
        }

    def needed(self) -> set[Content]:
        """What runs, what will run, and each target's way back, computed in another way."""
        found = {one for one in self.runs.values() if one}
        for history in self.targets:
            before = [number for number, one in enumerate(history[:-1]) if one.good]
            back = before[-1] if before else 0
            uninstalled = history and history[-1].good and history[-1].content is None
            found |= {one.content for one in history[back:] if one.content and not uninstalled}
        return found


targets = st.integers(0, 1)

outcomes = st.sampled_from([True, True, False, None])

events = st.one_of(
    st.tuples(st.just("release"), targets, contents, st.lists(outcomes, min_size=2, max_size=2)),
    st.tuples(
        st.just("pin"), targets, st.integers(0, 9), st.lists(outcomes, min_size=2, max_size=2)
    ),
    st.tuples(st.just("uninstall"), targets),
    st.tuples(st.just("killed"), targets, contents, st.booleans(), st.booleans(), st.booleans()),
    st.tuples(st.just("arrive"), targets, st.integers(0, DEVICES - 1), st.booleans()),
)


@settings(max_examples=400)
@given(st.lists(events, min_size=5, max_size=25), st.integers(1, 3))
def test_releases_that_a_device_runs_or_could_return_to_stay_and_the_rest_goes(
    history: list[Any], keep: int
) -> None:
    world = World()
    for kind, target, *details in history:
        match kind:
            case "release":
                world.publish(details[0])
                world.deploy(target, *details)
            case "pin" if world.stored:
                kept = sorted(world.stored, key=world.stored.__getitem__)
                world.deploy(target, kept[details[0] % len(kept)], details[1])
            case "uninstall":
                world.deploy(target, None, [True, True])
            case "killed":
                content, files, image, registered = details
                world.begin(content, files=files, image=image, versions=registered)
            case "arrive":
                world.arrive(target, details[0], works=details[1])
        needed = world.needed()
        newest = {one.release for one in world.newest_first()[:keep]}
        world.prune(keep)
        for content in needed:
            assert parts(content) - world.there == Parts(), "a device couldn't install it again"
            assert content in world.stored, "no stack could name it again"
        allowed = newest | {content.outputs["release"] for content in needed}
        assert {content.outputs["release"] for content in world.stored} == allowed
        if world.stored:
            assert world.there == parts(*world.stored), "no more, and no less"
