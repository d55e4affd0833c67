"""The device plan against the device: greenhouse observes what the plan predicts.

Bytes are those of the files that appear on the device's disk, and of the image layers that it
lacked. Restarts are new containers, and for com.ml.check a new date of its state. The tests tell
one story on one greenhouse: each change comes on top of the one before.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import xgboost

from fleet.plan import account_facts, page, preview
from fleet.plan.plan import FailOn, Group, Kind, Plan
from fleet.plan.plan import plan as plan_of
from fleet.plan.stack_change import StackChange
from fleet.stacks import Stack
from greenhouse import account
from greenhouse.device.folders import Folders
from infra.account.clients import Clients
from infra.account.greengrass import SUCCEEDED, execution
from infra.names import CHECK, COMPONENTS, CONSUMER, SERVICE
from tests.whole.place import STACK, Place, wait_until

pytestmark = pytest.mark.whole

MODEL, SAMPLES = "edge/models/wine-quality.json", "edge/consumer/samples.json"
CODE = "edge/inference/settings.py"


@dataclass(frozen=True)
class Seen:
    """A device as its disk, its engine and its last report show it."""

    files: Mapping[str, int]  # Artifacts, by path.
    layers: frozenset[str]  # Uncompressed, of every image that one of its recipes names.
    containers: Mapping[str, str]
    states: Mapping[str, tuple[str, Any]]  # The version, and when its state last changed.

    @classmethod
    def of(cls, place: Place, thing: str) -> Seen:
        folders = Folders(place.home.device(thing))
        artifacts = folders.all_artifacts[0]
        installed = account.greengrass(place.ports).list_installed_components(
            coreDeviceThingName=thing
        )["installedComponents"]
        return cls(
            files={
                str(path.relative_to(artifacts)): path.stat().st_size
                for path in artifacts.rglob("*")
                if path.is_file()
            },
            layers=frozenset(
                layer for image in _images(folders) for layer in _layers(place, image)
            ),
            containers={
                name: place.docker("ps", "-q", "--no-trunc", "--filter", f"name=^{name}.{thing}$")
                for name in (SERVICE, CONSUMER)
            },
            states={
                one["componentName"]: (one["componentVersion"], one["lastStatusChangeTimestamp"])
                for one in installed
            },
        )

    def downloaded_files(self, before: Seen) -> int:
        return sum(size for path, size in self.files.items() if path not in before.files)

    def restarted(self, before: Seen) -> set[str]:
        there = self.states.keys() & before.states.keys()
        return {
            *(name for name in there - self.containers.keys() if self._moved(name, before)),
            *(
                name
                for name in there & self.containers.keys()
                if self.containers[name] != before.containers[name]
            ),
        }

    def _moved(self, name: str, before: Seen) -> bool:
        return self.states[name] != before.states[name]


def _images(folders: Folders) -> set[str]:
    return {
        image
        for path in folders.recipes.glob("*@*.json")
        for image in account_facts.docker_images(json.loads(path.read_text()))
    }


def _layers(place: Place, image: str) -> list[str]:
    """Uncompressed layers. An image that the device's clean-up is removing has none."""
    shown = place.docker("image", "inspect", "--format", "{{json .RootFS.Layers}}", image)
    layers: list[str] = json.loads(shown or "[]")
    return layers


def downloaded_layers(place: Place, thing: str, before: Seen, clients: Clients) -> int:
    """Compressed bytes that the device's images have now and none had before."""
    sizes: dict[str, int] = {}
    for image in _images(Folders(place.home.device(thing))):
        if not (layers := _layers(place, image)):
            continue
        name, _, digest = image.partition("@")
        [found] = clients.ecr.batch_get_image(
            repositoryName=name.partition("/")[2], imageIds=[{"imageDigest": digest}]
        )["images"]
        manifest = json.loads(found["imageManifest"])
        if set(layers) - before.layers:
            sizes[manifest["config"]["digest"]] = manifest["config"]["size"]
        for layer, blob in zip(layers, manifest["layers"], strict=True):
            if layer not in before.layers:
                sizes[blob["digest"]] = blob["size"]
    return sum(sizes.values())


@pytest.fixture
def clients(place: Place, monkeypatch: pytest.MonkeyPatch) -> Clients:
    for name, value in place.env.items():
        if name.startswith("AWS_"):
            monkeypatch.setenv(name, value)
    return Stack.read(STACK, place.tree).clients()


def pulumi_json(place: Place, *arguments: str) -> str:
    done = subprocess.run(
        ["pulumi", *arguments, "--json", "--non-interactive"],
        env=place.env,
        cwd=place.tree,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout


def planned(place: Place, clients: Clients, stack: str, *, destroy: bool = False) -> Plan:
    command = ["destroy", "--preview-only"] if destroy else ["preview", "--show-sames"]
    seen = StackChange.of(preview.read(pulumi_json(place, *command, "--stack", stack)))
    targets, held = account_facts.read_facts(clients, seen, place.tree)
    made = plan_of(seen, targets, held)
    assert page.render(made, list(FailOn)), "every plan can be shown"
    return made


def the_group(plan: Plan) -> Group:
    [target] = plan.targets
    [group] = target.groups
    return group


def names(group: Group, *kinds: Kind) -> set[str]:
    return {change.name for change in group.changes if change.kind in kinds}


def assert_comes_true(
    place: Place,
    clients: Clients,
    *,
    stack: str = STACK,
    thing: str = "",
    destroy: bool = False,
) -> Plan:
    """Plan the change, do it, and compare."""
    thing = thing or place.thing
    before = Seen.of(place, thing)
    plan = planned(place, clients, stack, destroy=destroy)
    group = the_group(plan)
    place.pulumi("destroy" if destroy else "up", "--stack", stack, "--yes", "--skip-preview")
    after = Seen.of(place, thing)
    assert after.restarted(before) == names(group, Kind.CHANGED)
    assert after.states.keys() - before.states.keys() == names(group, Kind.ADDED)
    assert before.states.keys() - after.states.keys() == names(group, Kind.REMOVED)
    assert {name: version for name, (version, _) in after.states.items()} == {
        change.name: change.then for change in group.changes if change.then
    }, "the versions that the plan named"
    files = after.downloaded_files(before)
    layers = downloaded_layers(place, thing, before, clients)
    if group.download.least == group.download.most:
        assert (files, layers) == (group.download.files, group.download.layers)
    else:
        assert group.download.least <= files + layers <= group.download.most
    assert not group.download.unknown
    return plan


def test_a_first_release(place: Place, clients: Clients) -> None:
    place.await_tenant()
    before = Seen.of(place, place.thing)
    group = the_group(planned(place, clients, STACK))
    place.up()
    after = Seen.of(place, place.thing)
    assert names(group, Kind.ADDED) == after.states.keys() - before.states.keys() == set(COMPONENTS)
    assert names(group, Kind.UNCHANGED) == {account.TENANT}
    assert after.downloaded_files(before) == group.download.files
    assert group.download.unknown == ("the image, which isn't built yet",), (
        "nothing to go by before the first build: it says so and guesses nothing"
    )


@pytest.fixture(scope="module")
def released(place: Place) -> Place:
    """With a first release, whether the test of it ran before or not."""
    place.await_tenant()
    if SERVICE not in Seen.of(place, place.thing).states:
        place.up()
    return place


def test_nothing(released: Place, clients: Clients) -> None:
    group = the_group(assert_comes_true(released, clients))
    assert names(group, Kind.UNCHANGED) == {account.TENANT, *COMPONENTS}
    assert group.download.most == 0


def cut_the_model(place: Place) -> None:
    path = place.tree / MODEL
    xgboost.Booster(model_file=path)[:40].save_model(path)


def put_the_model_back(place: Place) -> None:
    (place.tree / MODEL).write_bytes(Path(MODEL).read_bytes())


def drop_a_sample(place: Place) -> None:
    path = place.tree / SAMPLES
    path.write_text(json.dumps(json.loads(path.read_text())[:-1]))


def edit_the_code(place: Place) -> None:
    with (place.tree / CODE).open("a") as file:
        file.write("# a line that only a new image has\n")


@pytest.mark.parametrize(
    ("change", "restarts"),
    [
        pytest.param(cut_the_model, {SERVICE, CHECK}, id="a new model"),
        pytest.param(put_the_model_back, {SERVICE, CHECK}, id="back to the old model"),
        pytest.param(
            lambda place: place.configure(memory=112),
            set(COMPONENTS),
            id="more memory",
            marks=pytest.mark.matrix,
        ),
        pytest.param(
            lambda place: place.configure(consumer_interval=2),
            {CONSUMER, CHECK},
            id="another interval",
            marks=pytest.mark.matrix,
        ),
        pytest.param(
            lambda place: place.configure(check_timeout=25),
            {CHECK},
            id="more time for the check",
            marks=pytest.mark.matrix,
        ),
        pytest.param(
            drop_a_sample, {CONSUMER, CHECK}, id="other samples", marks=pytest.mark.matrix
        ),
        pytest.param(edit_the_code, set(COMPONENTS), id="new code", marks=pytest.mark.matrix),
    ],
)
def test_a_change(
    released: Place, clients: Clients, change: Callable[[Place], None], restarts: set[str]
) -> None:
    change(released)
    plan = assert_comes_true(released, clients)
    assert names(the_group(plan), Kind.CHANGED) == restarts
    older = change is put_the_model_back
    assert bool(plan.caught(FailOn.DOWNGRADE)) is older, "the only one published before"
    assert not plan.caught(FailOn.REMOVED)
    assert not plan.caught(FailOn.RIGHTS), "its own files by other hashes are no new right"


def test_others_that_the_stack_doesn_t_keep(place: Place, clients: Clients) -> None:
    place.configure(keep_components=False)
    plan = assert_comes_true(place, clients)
    assert plan.caught(FailOn.REMOVED) == (account.TENANT,)
    assert not plan.caught(FailOn.RIGHTS)


FOLLOWER = "follower"


def test_a_follower_in_a_group(place: Place, clients: Clients) -> None:
    place.add_device(f"{place.thing}-2", group=f"{place.thing}-group")
    (place.tree / f"Pulumi.{FOLLOWER}.yaml").write_text(
        json.dumps(
            {
                "config": {
                    "aws:region": clients.region,
                    "edge-inference:thing-group": f"{place.thing}-group",
                    "edge-inference:release-from": STACK,
                    "edge-inference:rollout-timeout": "120",
                }
            }
        )
    )
    place.pulumi("stack", "init", FOLLOWER)
    plan = assert_comes_true(place, clients, stack=FOLLOWER, thing=f"{place.thing}-2")
    assert names(the_group(plan), Kind.ADDED) == set(COMPONENTS)
    assert the_group(plan).download.least == the_group(plan).download.most, (
        "the image was built by another stack: every byte is known"
    )
    assert plan.caught(FailOn.RIGHTS), "the role gets to read this release by a policy of its own"


def test_what_operators_see_of_both(place: Place) -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "fleet", "status"],
        cwd=place.tree,
        env={**os.environ, **place.env},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for thing in (place.thing, f"{place.thing}-2"):
        assert f"{thing} answered" in shown, shown
    assert f"thing group {place.thing}-group" in shown


def test_a_destroy(place: Place, clients: Clients) -> None:
    plan = assert_comes_true(place, clients, stack=FOLLOWER, thing=f"{place.thing}-2", destroy=True)
    assert plan.caught(FailOn.REMOVED) == tuple(sorted(COMPONENTS))


def test_a_destroy_leaves_components_that_another_target_deploys_as_well(
    place: Place, clients: Clients
) -> None:
    place.pulumi("up", "--stack", FOLLOWER, "--yes", "--skip-preview")
    thing = f"{place.thing}-2"
    greengrass = account.greengrass(place.ports)
    states = Seen.of(place, thing).states
    by_hand = greengrass.create_deployment(
        targetArn=account.thing_arn(place.ports, thing),
        deploymentName="by hand",
        components={name: {"componentVersion": states[name][0]} for name in COMPONENTS},
    )["deploymentId"]
    wait_until(
        lambda: execution(greengrass, thing, by_hand)[0] in SUCCEEDED,
        seconds=120,
        why="the device hasn't taken it",
    )
    plan = assert_comes_true(place, clients, stack=FOLLOWER, thing=thing, destroy=True)
    assert names(the_group(plan), Kind.UNCHANGED) >= set(COMPONENTS), (
        "a device runs what all of them name"
    )
    assert {change.why for change in the_group(plan).changes if change.name in COMPONENTS} == {
        (f"thing/{thing} deploys it, too",)
    }


def test_a_stack_that_leaves_its_device(place: Place, clients: Clients) -> None:
    place.configure(thing=None)
    plan = assert_comes_true(place, clients)
    assert plan.caught(FailOn.REMOVED) == tuple(sorted(COMPONENTS))
