"""Whatever happens, what a device runs or could go back to stays whole; the rest goes in time."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.account.clients import Clients
from infra.account.in_use import Past, Version, in_use, reachable
from infra.names import CHECK, CONSUMER, SERVICE
from infra.publish.old_releases import Parts, prune, superfluous
from infra.publish.records import Record
from tests.infra.fakes import (
    ACCOUNT,
    CONTEXT,
    NAME,
    NOON,
    REGION,
    THING_ARN,
    Account,
    Device,
    component_arn,
    spec,
)

pytestmark = pytest.mark.usefixtures("account")

TAGS = {"edge-inference:project": "edge-inference", "edge-inference:stack": "dev"}
BUCKET, REPOSITORY = CONTEXT.bucket, CONTEXT.repository
GROUP = f"arn:aws:iot:{REGION}:{ACCOUNT}:thinggroup/presses"
DEVICES = 2  # of each target


# The rule, over histories


@dataclass(frozen=True)
class Content:
    """A tree that is published: releases share what is the same in both."""

    model: int
    consumer: int
    code: int

    @property
    def outputs(self) -> dict[str, Any]:
        release = f"{self.model}{self.consumer}{self.code}"
        arns = (f"model-{self.model}", f"golden-{self.model}", f"consumer-{self.consumer}")
        return {
            "release": release,
            "components": {
                SERVICE: f"1.{self.model}.{self.code}",
                CONSUMER: f"1.{self.consumer}.{self.code}",
                CHECK: f"1.0.{release}",
            },
            "objects": [f"arn:aws:s3:::{BUCKET}/{arn}" for arn in arns],
            "image": {"amd64": f"{REPOSITORY}@sha256:{self.code}"},
        }


@dataclass
class Deployment:
    """One of a target, and how it went on each device that has heard of it."""

    content: Content | None  # None takes our components off
    went: dict[int, bool] = field(default_factory=dict)

    @property
    def good(self) -> bool:
        return bool(self.went) and all(self.went.values())


@dataclass
class World:
    """One publisher, its devices, and what is in the cloud."""

    clock: int = 0
    stored: dict[Content, int] = field(default_factory=dict)  # to when
    there: Parts = field(default_factory=Parts)
    targets: list[list[Deployment]] = field(default_factory=lambda: [[], []])  # oldest first
    runs: dict[tuple[int, int], Content | None] = field(default_factory=dict)

    def publish(self, content: Content) -> None:
        self.clock += 1
        self.stored[content] = self.clock
        self.there |= parts(content)

    def begin(self, content: Content, *, files: bool, image: bool, versions: bool) -> None:
        """An up that is killed: some of it is there, and no record."""
        whole = parts(content)
        self.there |= Parts(
            components=whole.components if versions else frozenset(),
            images=whole.images if image else frozenset(),
            objects=whole.objects if files else frozenset(),
        )

    def deploy(self, target: int, content: Content | None, works: list[bool | None]) -> None:
        """For each device: it works there, it doesn't, or the device is off (None)."""
        self.targets[target].append(Deployment(content))
        for device, outcome in enumerate(works):
            if outcome is not None:
                self.arrive(target, device, works=outcome)

    def arrive(self, target: int, device: int, *, works: bool) -> None:
        """A device hears of the latest deployment; one that fails goes back to what it ran."""
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
        self.there -= old.parts
        gone = {one.release for one in old.records}
        self.stored = {
            one: age for one, age in self.stored.items() if one.outputs["release"] not in gone
        }

    def needed(self) -> set[Content]:
        """What runs, what is about to, and the way back of each target: said another way."""
        found = {one for one in self.runs.values() if one}
        for history in self.targets:
            before = [number for number, one in enumerate(history[:-1]) if one.good]
            back = before[-1] if before else 0
            uninstalled = history and history[-1].good and history[-1].content is None
            found |= {one.content for one in history[back:] if one.content and not uninstalled}
        return found


def record(content: Content) -> Record:
    return Record(outputs=content.outputs, stored=NOON)


def parts(*contents: Content) -> Parts:
    return Parts.of([record(content) for content in contents])


small = st.integers(0, 2)
contents = st.builds(Content, small, small, small)
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
def test_what_a_device_runs_or_could_go_back_to_stays_and_the_rest_goes(
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
            assert content in world.stored, "nobody could name it again"
        allowed = newest | {content.outputs["release"] for content in needed}
        assert {content.outputs["release"] for content in world.stored} == allowed
        if world.stored:
            assert world.there == parts(*world.stored), "no more, and no less"


# What AWS is asked, and what goes


@dataclass
class Published:
    """Releases of a stack in the account, oldest first."""

    account: Account

    def __post_init__(self) -> None:
        self.account.buckets[BUCKET] = TAGS
        self.account.repositories[REPOSITORY] = TAGS
        self.account.objects[BUCKET] = {}

    def add(self, content: Content) -> dict[str, Any]:
        outputs = content.outputs
        for name, version in outputs["components"].items():
            self.account.components[component_arn(name, version)] = TAGS
        for arn in outputs["objects"]:
            self.account.objects[BUCKET].setdefault(arn.partition("/")[2], b"")
        self.account.images[REPOSITORY, f"amd64-{content.code}"] = f"sha256:{content.code}"
        key = f"releases/{outputs['release']}.json"
        self.account.objects[BUCKET][key] = json.dumps(outputs).encode()
        return outputs

    def deploy(self, content: Content, target: str = THING_ARN, name: str = NAME) -> str:
        versions = content.outputs["components"].items()
        return self.account.deploy(target, name, {one: spec(version) for one, version in versions})

    @property
    def kept(self) -> list[str]:
        return [key for key in self.account.objects[BUCKET] if key.startswith("releases/")]

    def prune(self, keep: int = 1, own: Content | None = None) -> list[str]:
        said: list[str] = []
        prune(
            CONTEXT,
            own=record(own or NEW).key,
            keep=keep,
            say=said.append,
        )
        return said


OLD, MIDDLE, NEW = Content(0, 0, 0), Content(1, 0, 1), Content(2, 0, 2)


@pytest.fixture
def published(account: Account) -> Published:
    found = Published(account)
    for content in (OLD, MIDDLE, NEW):
        found.add(content)
    return found


def test_what_is_older_and_unused_goes_with_all_that_is_only_its_own(
    published: Published, account: Account
) -> None:
    said = published.prune()
    assert said == [
        f"removed release {one.outputs['release']} of {NOON:%Y-%m-%d}: older, and unused"
        for one in (MIDDLE, OLD)
    ]
    assert set(account.components) == {
        component_arn(name, version) for name, version in NEW.outputs["components"].items()
    }
    assert set(account.images.values()) == {"sha256:2"}
    assert set(account.objects[BUCKET]) == {
        *("model-2", "golden-2", "consumer-0"),
        f"releases/{NEW.outputs['release']}.json",
    }


def test_while_there_are_few_nobody_is_asked_who_uses_them(
    published: Published, account: Account
) -> None:
    assert published.prune(keep=3) == []
    asked = {operation for operation, _ in account.asked}
    assert asked == {"ListObjectsV2", "GetObject", "ListComponentVersions", "ListImages"}


def test_what_runs_on_a_device_of_any_target_stays(published: Published, account: Account) -> None:
    """A device that was off for long still has what a deployment before the last two gave it."""
    account.groups = {"presses": ["press-1", "press-9"]}
    account.devices["press-9"] = Device(
        installed={
            name: (version, "RUNNING") for name, version in OLD.outputs["components"].items()
        }
    )
    for content in (MIDDLE, NEW):
        found = published.deploy(content, GROUP, "edge-inference/follower")
        account.devices["press-1"].deploys(found, "SUCCEEDED")
    published.prune()
    assert len(published.kept) == 3, "OLD runs on press-9, MIDDLE is the way back"


def test_what_runs_on_a_device_that_left_its_group_stays(
    published: Published, account: Account
) -> None:
    account.groups = {"presses": ["press-1"]}
    account.devices["gone"] = Device(
        installed={
            name: (version, "RUNNING") for name, version in OLD.outputs["components"].items()
        }
    )
    account.devices["gone"].deploys(published.deploy(OLD, GROUP), "SUCCEEDED")
    for content in (MIDDLE, NEW):
        account.devices["press-1"].deploys(published.deploy(content, GROUP), "SUCCEEDED")
    published.prune()
    assert len(published.kept) == 3, "it would lose what it needs to install its release again"


def test_what_the_tree_has_published_stays_however_old_it_is(published: Published) -> None:
    published.prune(own=OLD)
    assert published.kept == [f"releases/{one.outputs['release']}.json" for one in (OLD, NEW)]


def test_a_release_that_a_device_was_off_for_is_a_way_back_all_the_same(
    published: Published, account: Account
) -> None:
    """It is CANCELED there as soon as the next one comes, and was good on the others."""
    account.groups = {"presses": ["press-1", "press-2"]}
    account.devices["press-2"] = Device()
    for content in (OLD, MIDDLE, NEW):
        found = published.deploy(content, GROUP)
        account.devices["press-1"].deploys(found, "SUCCEEDED")
        account.devices["press-2"].deploys(found, "CANCELED")
    published.prune()
    assert len(published.kept) == 2, "MIDDLE is the way back, and nobody goes on to OLD"


def test_of_releases_with_a_version_that_was_deployed_by_hand_the_newest_stays(
    account: Account,
) -> None:
    published = Published(account)
    older = Content(OLD.model, OLD.consumer + 1, OLD.code)
    for content in (older, OLD, MIDDLE, NEW):
        published.add(content)
    shared = OLD.outputs["components"][SERVICE]
    assert shared == older.outputs["components"][SERVICE]
    account.deploy(THING_ARN, "by hand", {SERVICE: spec(shared)})
    published.prune()
    assert published.kept == [f"releases/{one.outputs['release']}.json" for one in (OLD, NEW)]


def test_a_target_that_is_gone_needs_nothing(published: Published) -> None:
    published.deploy(OLD, GROUP)
    published.deploy(MIDDLE, THING_ARN.replace("press-1", "press-8"))
    published.prune()
    assert len(published.kept) == 1


def test_deployments_of_others_are_looked_at_no_closer_than_needed(
    account: Account, clients: Clients
) -> None:
    account.deploy(GROUP, "theirs", {"com.other": spec("1.0.0")})
    assert in_use(clients, "edge-inference") == frozenset()
    asked = [operation for operation, _ in account.asked]
    assert asked == ["ListDeployments", "GetDeployment"], "nor are their devices"


@pytest.mark.parametrize(
    "withheld",
    ["ListDeployments", "ListInstalledComponents", "GetObject", "ListComponentVersions"],
)
def test_what_aws_does_not_tell_is_not_guessed(
    published: Published, account: Account, withheld: str
) -> None:
    published.deploy(NEW)
    account.denied = {withheld}
    with pytest.raises(Exception, match="AccessDenied"):
        published.prune()
    assert account.changes == []


def test_versions_of_another_stack_stay_under_any_name(
    published: Published, account: Account
) -> None:
    theirs = component_arn(SERVICE, OLD.outputs["components"][SERVICE])
    account.components[theirs] = TAGS | {"edge-inference:stack": "press-2"}
    published.prune()
    assert theirs in account.components


# What an update that was cut short has left


STRAY = Content(7, 7, 7)


@pytest.fixture
def cut_short(published: Published, account: Account) -> Published:
    """All that STRAY is made of, and no record: the next tree was another one."""
    outputs = published.add(STRAY)
    del account.objects[BUCKET][f"releases/{outputs['release']}.json"]
    return published


def of_stray(account: Account) -> set[str]:
    outputs = STRAY.outputs
    versions = {component_arn(*one) for one in outputs["components"].items()}
    there = versions & account.components.keys()
    there |= set(account.images.values()) & {"sha256:7"}
    return there | set(account.objects[BUCKET]) & {"model-7", "golden-7", "consumer-7"}


def test_it_goes_though_no_release_is_old(cut_short: Published, account: Account) -> None:
    assert len(of_stray(account)) == 7
    said = cut_short.prune(keep=3)
    assert of_stray(account) == set()
    assert len(cut_short.kept) == 3
    assert len(said) == 7
    assert said[0] == (
        f"removed {CHECK} 1.0.777: an update that was cut short had made it, for no release"
    )


def test_it_stays_whole_where_somebody_deployed_it_by_hand(
    cut_short: Published, account: Account
) -> None:
    version = STRAY.outputs["components"][SERVICE]
    account.deploy(THING_ARN, "by hand", {SERVICE: spec(version)})
    assert cut_short.prune(keep=3) == []
    assert len(of_stray(account)) == 7


def test_the_version_of_another_stack_is_none_of_it(cut_short: Published, account: Account) -> None:
    theirs = component_arn(SERVICE, STRAY.outputs["components"][SERVICE])
    account.components[theirs] = TAGS | {"edge-inference:stack": "press-2"}
    cut_short.prune(keep=3)
    assert of_stray(account) == {theirs}


def test_an_image_that_made_way_is_none_of_it(cut_short: Published, account: Account) -> None:
    """A device may run it under the version that has another image now (decision 12)."""
    account.images[REPOSITORY, "was-amd64-7-777777777777"] = "sha256:7"
    cut_short.prune(keep=3)
    assert of_stray(account) == {"sha256:7"}


def test_without_a_record_of_the_tree_s_own_release_nothing_is_known_to_be_cut_short(
    cut_short: Published, account: Account
) -> None:
    cut_short.prune(keep=4, own=STRAY)
    assert len(of_stray(account)) == 7
