"""What preview, up and destroy do for each stack state and each state of the account.

docs/states.md has the same table for people. In no cell an `up` succeeds while a device answers
with another model. In no cell a release is lost that a device or a pin needs.

The file is long because one table has every state in every world.
"""

from __future__ import annotations

import json
import re
import runpy
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import xgboost

import infra.dynamic
from infra.errors import RolloutFailed
from infra.names import SERVICE
from infra.resources.artifacts import Handover
from infra.rollout.clock import Clock
from infra.settings import Settings
from infra.teardown import residue
from tests.infra.fakes import CONTEXT, DEVICE_ROLE, REGION, THING_ARN, Time, spec
from tests.infra.pulumi_yaml import ROOT, config_of
from tests.infra.states.pulumi import Killed, Pulumi, State
from tests.infra.states.world import FOLLOWER, TENANT, World

STATES = ("fresh", "current", "older", "foreign backend", "renamed", "deleted in part")
ONCE = "ours by another backend"  # The world whose rows are in `make test`.
PAGE = ROOT / "docs/states.md"
COLUMNS = ("state", "world", "preview", "up", "destroy")
WORLDS = (
    "nothing",
    "our plan",
    "our plan, down",
    "our older release",
    "ours by another backend",
    "somebody else's",
    "follower pinned",
    "killed half-way",
)


class Refused(Exception):
    """A command ended by an error: the words, without the hundreds of frames."""


@dataclass
class Scene:
    """A world, the commands that people type there, and the states that they know of it."""

    world: World
    models: dict[str, Path]

    def run(self, command: Pulumi, model: str, **values: str) -> None:
        """The program of this tree, with one of the models."""
        config = config_of(None, thing="press-1", model=str(self.models[model]), **values)
        try:
            command.run_program(
                lambda: runpy.run_path("__main__.py") and None, config | {"aws:region": REGION}
            )
        except Exception as error:  # Whatever a program or a provider raises.
            killed = isinstance(error, Killed)
            raise Killed if killed else Refused(f"{type(error).__name__}: {error}") from None

    def up(self, state: State, model: str, *, killed_after: str = "") -> None:
        self.run(Pulumi(state, self.world, killed_after=killed_after), model)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("models")
    shipped = xgboost.Booster(model_file=ROOT / "edge/models/wine-quality.json")
    models = {name: folder / f"{name}.json" for name in ("older", "planned", "another")}
    for trees, path in enumerate(models.values(), start=2):
        shipped[:trees].save_model(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        time = Time()
        patch.setattr(infra.dynamic, "Clock", partial(Clock, now=time.now, pause=time.pause))
        look = residue.list_residue
        patch.setattr(residue, "list_residue", partial(look, pause=time.pause))
        patch.setattr("infra.resources.artifacts.Handover.read", once(Handover.read))
        # There are no layers here.
        patch.setattr("infra.provenance.store.store", lambda *_, **__: "sbom")
        yield Scene(World.with_a_device(patch), models)


def once(read: Callable[[Settings], Handover]) -> Callable[[Settings], Handover]:
    """Ask XGBoost once for each model, as the same settings have the same answers."""
    known: dict[Path, Handover] = {}

    def remembered(settings: Settings) -> Handover:
        if settings.model not in known:
            known[settings.model] = read(settings)
        return known[settings.model]

    return remembered


# The words that tell a refusal from the others, as on the page
REFUSALS = {
    "(taken-over)": "refused: taken over",
    "exists in this account": "refused: exists",
    "NoSuchBucket": "refused by AWS: no bucket",
    "this account has no com.ml.": "refused: versions deleted",
    "others deploy what this stack published": "refused: followed",
}


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of the page: a cell of the table, with what each command does."""

    state: str
    world: str
    preview: str
    up: str
    destroy: str


def rows() -> list[Row]:
    lines = re.findall(r"^\| (.*) \|$", PAGE.read_text(), flags=re.M)
    cells = [line.split(" | ") for line in lines]
    return [
        Row(**dict(zip(COLUMNS, words, strict=True)))
        for words in cells
        if len(words) == len(COLUMNS) and words[0] in STATES
    ]


@dataclass(frozen=True, kw_only=True)
class Past:
    """What happened before: the account's contents, and what a state knows of them."""

    snapshot: dict[str, Any]
    state: State


@pytest.fixture(scope="module")
def pasts(scene: Scene) -> dict[tuple[str, str], Past]:
    """By state and world."""
    world, first = scene.world, State()
    bare = world.snapshot()
    world.settle_tenant()
    with suppress(Killed):
        scene.up(State(), "planned", killed_after="com.ml.consumer")
    killed_at_first = world.snapshot()
    world.restore(bare)
    world.settle_tenant()
    scene.up(first, "older")
    older, second = first.copy(), first.copy()
    scene.up(second, "another")
    scene.up(first, "planned")
    states = {
        "fresh": State(),
        "current": first,
        "older": older,
        "foreign backend": second,
        "renamed": first.renamed("press"),
        "deleted in part": first.without("artifacts", "record", "rollout-deployment"),
    }
    planned = world.snapshot()
    since: dict[str, Callable[[], object]] = {
        "nothing": lambda: world.restore(bare),
        "our plan": lambda: None,
        "our plan, down": lambda: end(world, SERVICE),
        "our older release": lambda: scene.up(first.copy(), "older"),
        "ours by another backend": lambda: scene.up(older.copy(), "another"),
        "somebody else's": lambda: world.deploy(
            THING_ARN, "panel", {TENANT: spec("1.0.0"), "com.panel": spec("1.0.0")}
        ),
        "follower pinned": partial(follow, world, older),
        "killed half-way": partial(be_killed, scene, first.copy()),
    }
    found = {}
    for name, happen in since.items():
        world.restore(planned)
        happen()
        after = world.snapshot()
        for known, state in states.items():
            first_killed = (known, name) == ("fresh", "killed half-way")
            snapshot = killed_at_first if first_killed else after
            found[known, name] = Past(snapshot=snapshot, state=state)
    return found


def end(world: World, component: str) -> None:
    """Somebody stops it on the device, and AWS hears of it."""
    installed = world.devices["press-1"].installed
    installed[component] = (installed[component][0], "FINISHED")


def follow(world: World, older: State) -> None:
    """Another stack deploys the older release to a device of its own, and is pinned to it."""
    [record] = [one for one in older.resources.values() if one.name == "record"]
    release = json.loads(record.inputs["content"])["components"]
    world.deploy(
        FOLLOWER,
        "edge-inference/follower",
        {name: spec(version) for name, version in release.items()},
    )


def be_killed(scene: Scene, state: State) -> None:
    """An update to another model ends as soon as its deployment is made."""
    with suppress(Killed):
        scene.up(state, "another", killed_after="rollout-deployment")


def refusal(error: Exception) -> str:
    """The kind of refusal, in the page's words."""
    words = [word for sign, word in REFUSALS.items() if sign in str(error)]
    return words[0] if words else str(error)


def running(world: World) -> list[dict[str, str]]:
    """Our components on each device that has any."""
    return [ours for thing in world.devices if (ours := world.ours_on(thing))]


def assert_nothing_is_lost(world: World, before: Mapping[str, Any]) -> None:
    """All earlier releases are complete, and the device still has what belongs to others."""
    now = world.records()
    for release, record in before["releases"].items():
        assert release in now, f"the record of {release} is gone"
        assert world.missing_of(now[release]) == [], "a device couldn't install it again"
        assert world.missing_of(record) == [], "nor one that is pinned to it as it was"
    for others in before["others"]:
        assert others in world.devices["press-1"].installed


def seen(world: World) -> dict[str, Any]:
    installed = world.devices["press-1"].installed
    return {
        "releases": {
            name: record for name, record in world.records().items() if not world.missing_of(record)
        },
        "others": [one for one in installed if not one.startswith("com.ml.")],
        "running": running(world),
    }


def needed(world: World, releases: Mapping[str, Any]) -> dict[str, Any]:
    """The releases that a device runs now."""
    return {name: one for name, one in releases.items() if one["components"] in running(world)}


def test_every_cell_is_on_the_page() -> None:
    assert [(row.state, row.world) for row in rows()] == list(product(STATES, WORLDS))


def row_of(state: str, world: str) -> Row:
    [row] = [one for one in rows() if (one.state, one.world) == (state, world)]
    return row


CELLS = [
    pytest.param(state, world, marks=() if ONCE in (state, world) else pytest.mark.matrix)
    for state, world in product(STATES, WORLDS)
]


@pytest.mark.parametrize(("state", "account"), CELLS)
def test_a_preview_changes_nothing_and_says_what_the_update_will_do(
    scene: Scene, pasts: dict[tuple[str, str], Past], state: str, account: str
) -> None:
    past, world = pasts[state, account], scene.world
    world.restore(past.snapshot)
    preview = Pulumi(past.state.copy(), world, dry=True)
    try:
        scene.run(preview, "planned")
        said = words_of(preview)
    except Refused as error:
        said = refusal(error)
    assert said == row_of(state, account).preview
    assert world.changes == []


def words_of(done: Pulumi) -> str:
    """What an update did, or will do by its preview."""
    return "deploys" if "rollout-deployment" in done.steps else "changes nothing"


@pytest.mark.parametrize(("state", "account"), CELLS)
def test_an_up_ends_with_the_planned_model_on_the_device_or_is_refused_and_loses_nothing(
    scene: Scene, pasts: dict[tuple[str, str], Past], state: str, account: str
) -> None:
    past, world = pasts[state, account], scene.world
    world.restore(past.snapshot)
    before, after = seen(world), past.state.copy()
    update = Pulumi(after, world)
    try:
        scene.run(update, "planned")
        said = words_of(update)
    except Refused as error:
        said = refusal(error)
    if said not in ("deploys", "changes nothing"):
        assert running(world) == before["running"], f"touches a device: {said}"
    else:
        [answering] = [one for one in after.resources.values() if one.name == "rollout-answering"]
        assert world.ours_on("press-1") == answering.inputs["components"], (
            "successful, while the device answers with another model"
        )
        states = [state for _, state in world.devices["press-1"].installed.values()]
        assert {*states} == {"RUNNING"}, "successful, with nothing running"
        if state == "renamed":  # The releases of the older name go with its bucket.
            before |= {"releases": needed(world, before["releases"])}
    assert_nothing_is_lost(world, before)
    assert said == row_of(state, account).up


@pytest.mark.parametrize(("state", "account"), CELLS)
def test_a_destroy_leaves_nothing_that_it_does_not_name_and_takes_nothing_that_is_needed(
    scene: Scene,
    pasts: dict[tuple[str, str], Past],
    state: str,
    account: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    past, world = pasts[state, account], scene.world
    world.restore(past.snapshot)
    before, after = seen(world), past.state.copy()
    capsys.readouterr()
    try:
        Pulumi(after, world).destroy()
    except RolloutFailed as error:
        assert_nothing_is_lost(world, before)
        assert running(world) == before["running"]
        said = refusal(error)
    else:
        left = [*world.buckets, *world.repositories, *world.components]
        printed = capsys.readouterr().out
        if not past.state.resources:
            said = "nothing to do"
            assert_nothing_is_lost(world, before)
        elif left:
            assert [one for one in left if one not in printed] == [], "left without a word"
            said = f"names what it leaves: {', '.join(sorted(map(kind, left)))}"
        else:
            assert (world.policies, running(world)) == ({}, []), printed
            said = "cleans up"
        for others in before["others"]:
            assert others in world.devices["press-1"].installed
    assert said == row_of(state, account).destroy


def kind(name: str) -> str:
    return "the bucket" if name.startswith("edge-inference-") else name


@pytest.mark.parametrize("account", ["our plan", "our older release", "ours by another backend"])
def test_a_renamed_stack_that_takes_over_its_own_deployment_leaves_nothing_of_the_older_name(
    scene: Scene, pasts: dict[tuple[str, str], Past], account: str
) -> None:
    past, world = pasts["renamed", account], scene.world
    world.restore(past.snapshot)
    after = past.state.copy()
    scene.run(Pulumi(after, world), "planned", override=override(world))
    assert [one for one in (*world.buckets, *world.repositories) if "press" not in one] == []
    assert set(world.policies) == {("GreengrassV2TokenExchangeRole", "edge-inference-press")}
    Pulumi(after, world).destroy()
    assert (world.buckets, world.repositories, world.components, world.policies) == ({}, {}, {}, {})


def test_a_stack_that_is_renamed_there_and_back_leaves_nothing_of_either_name(
    scene: Scene, pasts: dict[tuple[str, str], Past]
) -> None:
    past, world = pasts["renamed", "our plan"], scene.world
    world.restore(past.snapshot)
    state = past.state.copy()
    for name in ("press", "dev"):
        state = state.renamed(name)
        scene.run(Pulumi(state, world), "planned", override=override(world))
        assert [one for one in (*world.buckets, *world.repositories) if name not in one] == []
    Pulumi(state, world).destroy()
    assert (world.buckets, world.repositories, world.components, world.policies) == ({}, {}, {}, {})


def test_a_backup_that_is_restored_twice_ends_each_time_with_the_planned_model(
    scene: Scene, pasts: dict[tuple[str, str], Past]
) -> None:
    past, world = pasts["older", "our plan"], scene.world
    world.restore(past.snapshot)
    before = seen(world)
    for model in ("older", "planned", "older"):
        state = past.state.copy()
        scene.run(Pulumi(state, world), model)
        [answering] = [one for one in state.resources.values() if one.name == "rollout-answering"]
        assert world.ours_on("press-1") == answering.inputs["components"]
        assert_nothing_is_lost(world, before)
    again = Pulumi(state, world)
    scene.run(again, "older")
    assert words_of(again) == "changes nothing"
    Pulumi(state, world).destroy()
    assert running(world) == []
    assert world.devices["press-1"].installed[TENANT] == ("1.0.0", "RUNNING")


def test_a_renamed_stack_keeps_what_a_follower_is_pinned_to(
    scene: Scene, pasts: dict[tuple[str, str], Past]
) -> None:
    past, world = pasts["renamed", "follower pinned"], scene.world
    for dry in (True, False):
        world.restore(past.snapshot)
        before = seen(world)
        command = Pulumi(past.state.copy(), world, dry=dry)
        with pytest.raises(Refused, match="stack dev can't become press: others deploy"):
            scene.run(command, "planned", override=override(world))
        assert_nothing_is_lost(world, before)


def override(world: World) -> str:
    """The deployment that the refusal tells to name."""
    [latest] = [
        one["deploymentId"]
        for one in world.deployments
        if one["isLatestForTarget"] and one["targetArn"] == THING_ARN
    ]
    return str(latest)


@pytest.mark.parametrize("state", ["current", "older"])
def test_after_every_deployment_was_deleted_by_hand_what_others_have_stays_on_the_device(
    scene: Scene, pasts: dict[tuple[str, str], Past], state: str
) -> None:
    past, world = pasts[state, "our plan"], scene.world
    world.restore(past.snapshot)
    world.lose_deployments(THING_ARN)
    after = past.state.copy()
    update = Pulumi(after, world)
    scene.run(update, "planned")
    assert words_of(update) == "deploys"
    assert world.devices["press-1"].installed[TENANT] == ("1.0.0", "RUNNING")
    Pulumi(after, world).destroy()
    assert world.devices["press-1"].installed == {TENANT: ("1.0.0", "RUNNING")}


@pytest.mark.parametrize("dry", [True, False])
def test_a_deployment_that_only_the_state_has_is_refused_with_the_way_on(
    scene: Scene, pasts: dict[tuple[str, str], Past], dry: bool
) -> None:
    """The first deployment to a target has the name that the next one would have as well."""
    world, state = scene.world, State()
    world.restore(pasts["fresh", "nothing"].snapshot)
    scene.up(state, "planned")
    world.lose_deployments(THING_ARN)
    refused = Pulumi(state.copy(), world, dry=dry)
    with pytest.raises(Refused, match=r"(?s)is gone, .* pulumi up --refresh"):
        scene.run(refused, "planned")
    update = Pulumi(state.without("rollout-deployment"), world)  # As a refresh leaves it.
    scene.run(update, "planned")
    assert words_of(update) == "deploys"


def test_a_destroy_after_every_deployment_was_deleted_takes_nothing_of_others(
    scene: Scene, pasts: dict[tuple[str, str], Past]
) -> None:
    past, world = pasts["current", "our plan"], scene.world
    world.restore(past.snapshot)
    world.lose_deployments(THING_ARN)
    Pulumi(past.state.copy(), world).destroy()
    assert world.devices["press-1"].installed == {TENANT: ("1.0.0", "RUNNING")}


def test_after_a_restore_and_a_good_update_the_role_may_read_what_the_state_says(
    scene: Scene, pasts: dict[tuple[str, str], Past]
) -> None:
    """A restore adds an older release's files. The state has the same document all the time."""
    past, world = pasts["older", "our plan"], scene.world
    world.restore(past.snapshot)
    state = past.state.copy()
    [policy] = world.policies
    world.policies[policy]["Statement"][0]["Resource"].append("arn:aws:s3:::bucket/older")
    scene.run(Pulumi(state, world), "planned")
    [said] = [one for one in state.resources.values() if one.name == "rollout-rights"]
    assert world.policies[policy] == json.loads(said.inputs["policy"])


@pytest.mark.parametrize(
    ("what", "to"), [("region", "us-east-1"), ("account", "999999999999"), ("partition", "aws-cn")]
)
def test_a_stack_that_would_move_is_refused_at_preview(what: str, to: str) -> None:
    """Pulumi's plugins replace nothing for it: they would look for the old names in a new place."""
    olds = CONTEXT.props | {"target": THING_ARN, "role": DEVICE_ROLE}
    provider = infra.dynamic.ResidueProvider()
    assert not provider.diff("kept", olds, dict(olds)).changes
    with pytest.raises(RolloutFailed, match=f"in {what} {olds[what]}, and .* say {to}"):
        provider.diff("kept", olds, olds | {what: to})


def test_docker_s_plugin_is_given_nothing_unknown_to_build(
    scene: Scene, pasts: dict[tuple[str, str], Past]
) -> None:
    """Unknown arguments or skipPush end its process (records docker.Check.args-all-unknown, …)."""
    past, world = pasts["fresh", "nothing"], scene.world
    world.restore(past.snapshot)
    previewed, updated = Pulumi(State(), world, dry=True), Pulumi(State(), world)
    scene.run(previewed, "planned")
    scene.run(updated, "planned")
    [before], [after] = previewed.of_type("Image"), updated.of_type("Image")
    for known in ("build", "skipPush", "buildOnPreview"):
        assert before.inputs[known] == after.inputs[known]
    assert all(isinstance(value, str) for value in after.inputs["build"]["args"].values())
