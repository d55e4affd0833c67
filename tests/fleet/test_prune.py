"""Whatever happens, what a device runs or could go back to stays whole; the rest goes in time."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from fleet.__main__ import app
from fleet.prune import Held, Parts, Superfluous, held_by, remove, superfluous, superfluous_in
from fleet.stacks import NoStack, Stack
from infra.account.in_use import Past, Version, in_use, reachable
from infra.names import CHECK, CONSUMER, SERVICE
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


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Account:
    return Account.with_a_device(monkeypatch)


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
            "sboms": {"amd64": f"s3://{BUCKET}/sbom-{self.code}"},
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
        self.there -= old.parts | old.strays
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
        self.account.objects[BUCKET].setdefault(f"sbom-{content.code}", b"")
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
        """What is said before all of it is removed."""
        held = Held(record=record(own or NEW).key, parts=parts(own or NEW))
        found = superfluous_in(CONTEXT, held, keep=keep)
        remove(CONTEXT, found)
        return list(found.lines(BUCKET, keep=keep))


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
    first, second, *rest = published.prune()
    for line, one in ((first, MIDDLE), (second, OLD)):
        assert line.startswith(f"release {one.outputs['release']} of {NOON:%Y-%m-%d}: 1 newer ones")
    assert rest == [
        "with what only these releases have:",
        *sorted(
            f"  {name} {version}"
            for one in (OLD, MIDDLE)
            for name, version in one.outputs["components"].items()
        ),
        *("  image sha256:0", "  image sha256:1"),
        *(f"  s3://{BUCKET}/{key}-{one}" for key in ("golden", "model", "sbom") for one in (0, 1)),
    ]
    assert set(account.components) == {
        component_arn(name, version) for name, version in NEW.outputs["components"].items()
    }
    assert set(account.images.values()) == {"sha256:2"}
    assert set(account.objects[BUCKET]) == {
        *("model-2", "golden-2", "consumer-0", "sbom-2"),
        f"releases/{NEW.outputs['release']}.json",
    }


def test_an_index_goes_with_the_image_and_what_is_attested_of_it(
    published: Published, account: Account
) -> None:
    listed = [{"digest": "sha256:0-image"}, {"digest": "sha256:0-attested"}]
    account.indexes = {"sha256:0": {"manifests": listed}}
    account.untagged = {one["digest"] for one in listed}
    published.prune()
    assert not account.untagged, "nobody else would remove what has no tag and no index"
    assert set(account.images.values()) == {"sha256:2"}


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
    account: Account,
) -> None:
    account.deploy(GROUP, "theirs", {"com.other": spec("1.0.0")})
    assert in_use(CONTEXT.clients, "edge-inference", CONTEXT.names) == frozenset()
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
    return there | set(account.objects[BUCKET]) & {"model-7", "golden-7", "consumer-7", "sbom-7"}


def test_it_goes_though_no_release_is_old(cut_short: Published, account: Account) -> None:
    assert len(of_stray(account)) == 8
    said = cut_short.prune(keep=3)
    assert of_stray(account) == set()
    assert len(cut_short.kept) == 3
    assert said[:2] == ["left by an interrupted update, in no release:", f"  {CHECK} 1.0.777"]
    assert len(said) == 9


def test_it_stays_whole_where_somebody_deployed_it_by_hand(
    cut_short: Published, account: Account
) -> None:
    version = STRAY.outputs["components"][SERVICE]
    account.deploy(THING_ARN, "by hand", {SERVICE: spec(version)})
    assert cut_short.prune(keep=3) == []
    assert len(of_stray(account)) == 8


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


@pytest.mark.usefixtures("cut_short")
def test_what_the_state_has_is_none_of_it(account: Account) -> None:
    """An update that is under way has registered it, and its release has no record so far."""
    held = Held(record=record(NEW).key, parts=parts(NEW, STRAY))
    assert superfluous_in(CONTEXT, held, keep=3) == Superfluous()
    assert len(of_stray(account)) == 8


def test_without_a_record_of_the_tree_s_own_release_nothing_is_known_to_be_cut_short(
    cut_short: Published, account: Account
) -> None:
    cut_short.prune(keep=4, own=STRAY)
    assert len(of_stray(account)) == 8


# The command


ARN = component_arn(SERVICE, NEW.outputs["components"][SERVICE])
IMAGE = f"somewhere/{REPOSITORY}@sha256:2"
RESOURCES: list[dict[str, Any]] = [
    {"type": "pulumi:pulumi:Stack", "outputs": {"release": "an older one, which is pinned"}},
    {"type": "aws-native:greengrassv2:ComponentVersion", "id": ARN, "outputs": {}},
    {"type": "docker:index/image:Image", "outputs": {"repoDigest": IMAGE}},
    {"type": "aws:s3/bucketObjectv2:BucketObjectv2", "outputs": {"key": "model-2"}},
    {"type": "aws:s3/bucketObjectv2:BucketObjectv2", "outputs": {"key": record(NEW).key}},
    {"type": "pulumi-python:dynamic/edge:Sbom", "outputs": {"key": "sbom-2"}},
]
for _number, _one in enumerate(RESOURCES):
    _one["urn"] = f"urn:{_number}"


def test_what_the_state_has_is_read_from_its_resources() -> None:
    assert held_by(RESOURCES) == Held(
        record=record(NEW).key,
        parts=Parts(
            components=frozenset({(SERVICE, NEW.outputs["components"][SERVICE])}),
            images=frozenset({"sha256:2"}),
            objects=frozenset({"model-2", "sbom-2"}),
        ),
    )


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What `pulumi stack export` prints."""
    file = tmp_path / "state.json"
    (tmp_path / "history.json").write_text("[]")
    (tmp_path / "export.json").symlink_to(file)
    (tmp_path / "pulumi").write_text(f'#!/bin/sh\ncat "{tmp_path}/$2.json"\n')
    (tmp_path / "pulumi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    file.write_text(json.dumps({"deployment": {"resources": RESOURCES}}))
    stack = Stack(name="dev", config={"aws:region": REGION, "edge-inference:keep-releases": "1"})
    monkeypatch.setattr(Stack, "read", lambda name: replace(stack, name=name))
    return file


def run(*options: str) -> Result:
    return CliRunner().invoke(app, ["prune", "--stack", "dev", *options])


@pytest.mark.usefixtures("state")
def test_a_dry_run_removes_nothing_and_says_how_to_remove_it(
    published: Published, account: Account
) -> None:
    done = run()
    assert f"release {MIDDLE.outputs['release']} of {NOON:%Y-%m-%d}" in done.output
    assert "nothing was removed. To remove it: make prune STACK=dev YES=1" in done.output
    assert account.changes == []
    assert "all of it was removed" in run("--yes").output
    assert published.kept == [record(NEW).key]
    assert "there is nothing to remove" in run().output


def test_the_way_back_stays_though_pulumi_has_deleted_its_deployment(
    published: Published, state: Path
) -> None:
    history = [
        {
            "kind": "update",
            "result": result,
            "startTime": "2026-11-23T13:00:00Z",
            "endTime": "2026-11-23T13:01:00Z",
            "config": {"edge-inference:release": {"value": one.outputs["release"]}},
        }
        for one, result in ((NEW, "succeeded"), (MIDDLE, "failed"), (OLD, "succeeded"))
    ]
    (state.parent / "history.json").write_text(json.dumps(history))
    published.deploy(NEW)
    run("--yes")
    assert set(published.kept) == {record(NEW).key, record(OLD).key}


def pending(urn: str) -> dict[str, Any]:
    return {"type": "creating", "resource": {"urn": urn}}


def test_an_interrupted_creation_that_a_later_update_has_made_is_no_update_under_way(
    state: Path, published: Any
) -> None:
    """Pulumi goes on listing it, also after updates that succeeded."""
    made = [pending(RESOURCES[-1]["urn"])]
    state.write_text(
        json.dumps({"deployment": {"resources": RESOURCES, "pending_operations": made}})
    )
    assert published
    assert run("--yes").exception is None


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize(
    ("exported", "says"),
    [
        ({"resources": RESOURCES, "pending_operations": [pending("urn:another")]}, "is under way"),
        ({"resources": RESOURCES[:1]}, "has no release"),
        (None, "has no release"),
    ],
)
def test_a_state_that_may_not_know_what_an_update_has_made_is_refused(
    state: Path, account: Account, exported: Any, says: str
) -> None:
    state.write_text(json.dumps({"deployment": exported}))
    done = run("--yes")
    assert isinstance(done.exception, NoStack)
    assert says in str(done.exception)
    assert "pulumi up --stack dev" in str(done.exception)
    assert account.changes == []


@pytest.mark.usefixtures("state")
def test_a_follower_has_nothing_to_prune(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    follower = Stack(name="press-2", config={"edge-inference:release-from": "dev"})
    monkeypatch.setattr(Stack, "read", lambda _name: follower)
    with pytest.raises(NoStack, match="make prune STACK=dev"):
        raise cast(Exception, run("--yes").exception)
    assert account.asked == []
