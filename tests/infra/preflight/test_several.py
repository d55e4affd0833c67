"""Two stacks on one device: clashes are refused by name, everything else works in any order.

`Stack` does what the program and Pulumi's engine do with a deployment, at the fakes' speed.
tests/whole/test_several.py uses the real ones.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest

from infra.account.context import Context
from infra.account.target import Target
from infra.dynamic import NobodyFollowsProvider, ResidueProvider
from infra.errors import RolloutFailed
from infra.names import DEFAULT_NAMES, Names
from infra.preflight import neighbours
from infra.preflight.neighbours import MEMORY, SAME_NAMES, SAME_TOPIC
from infra.preflight.release_needs import Wanted
from infra.preflight.unread import NOT_READABLE
from infra.publish import recipe
from infra.rollout import gate
from infra.rollout.clock import Clock
from infra.settings import Settings
from infra.teardown.residue import Destroyed as Where
from infra.teardown.residue import list_residue
from infra.teardown.uninstall import uninstall
from recipes.findings import Finding
from tests.infra.fakes import CONTEXT, DEVICE_ROLE, GROUP_ARN, THING_ARN, Account, spec
from tests.infra.pulumi_yaml import config_of, load

WINE = CONTEXT
NOISE = replace(CONTEXT, stack="noise", component_prefix="com.noise")
TOPICS = {WINE.stack: ("local/inference", "local/result"), NOISE.stack: ("noise/ask", "noise/say")}


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Account:
    return Account.with_a_device(monkeypatch)


def settings_of(context: Context, **values: object) -> Settings:
    ask, say = TOPICS[context.stack]
    config = {
        "thing": "press-1",
        "component_prefix": context.component_prefix,
        "request_topic": ask,
        "answer_topic": say,
        **values,
    }
    return load(config_of(None, **config), context.stack)


def publish(account: Account, context: Context, settings: Settings, version: str) -> None:
    """Register the stack's component versions, as an `up` does."""
    content = recipe.Content(
        images={"amd64": f"repository@sha256:{'a' * 64}"},
        files=recipe.Files(uris={name: "s3://b/k" for of in recipe.FILES.values() for name in of}),
        memory=settings.memory,
        check_timeout=1,
        consumer_interval=1,
        names=context.names,
        request_topic=settings.request_topic,
        answer_topic=settings.answer_topic,
    )
    for name, write in recipe.recipes(context.names).items():
        arn = context.component_arn(name, version)
        account.components[arn] = context.tags
        account.recipes[arn] = write(version, content)


def of(context: Context, version: str) -> dict[str, str]:
    return dict.fromkeys(context.names.components, version)


# What clashes


def findings(context: Context, **values: object) -> list[Finding]:
    settings = settings_of(context, **values)
    target = Target.find(settings, context)
    assert target
    return list(neighbours.findings(settings, context, target, Wanted.of(settings, context)))


def has_a_neighbour(account: Account, target: str, **values: object) -> str:
    """The other stack deploys to the target, and the devices may not have heard of it."""
    publish(account, NOISE, settings_of(NOISE, **values), "1.0.0")
    account.groups = {"presses": ["press-1"]}
    components = {name: spec("1.0.0") for name in NOISE.names.components}
    return account.deploy(target, str(NOISE.deployment_name), components, NOISE.tags)


both_targets = pytest.mark.parametrize("target", [THING_ARN, GROUP_ARN], ids=["thing", "group"])


@both_targets
def test_two_models_with_names_and_topics_of_their_own_only_share_memory(
    account: Account, target: str
) -> None:
    has_a_neighbour(account, target, memory=100)
    [found] = findings(WINE)
    assert found.rule is MEMORY
    assert "588 MiB in containers (com.ml.* 288, com.noise.* 300)" in found.where


@both_targets
@pytest.mark.parametrize("key", ["request_topic", "answer_topic"])
@pytest.mark.parametrize("topic", TOPICS[WINE.stack])
def test_a_topic_of_another_model_on_the_device_is_refused_by_its_name(
    account: Account, target: str, key: str, topic: str
) -> None:
    deployment = has_a_neighbour(account, target, **{key: topic})
    [found] = [one for one in findings(WINE) if one.rule is SAME_TOPIC]
    assert found.where == (
        f"press-1: {topic}, of com.noise.xgboost by stack noise, in deployment {deployment} to"
        f" {target.rpartition(':')[2]}"
    )
    assert "pulumi config set request-topic TOPIC" in found.text


def test_a_follower_s_topics_are_those_that_its_publisher_s_recipe_has(account: Account) -> None:
    has_a_neighbour(account, GROUP_ARN)
    clashing = settings_of(WINE, request_topic="noise/ask")
    publish(account, WINE, clashing, "1.0.0")
    wanted = replace(Wanted.of(clashing, WINE), recipes=(), components=of(WINE, "1.0.0"))
    settings = settings_of(WINE)
    target = Target.find(settings, WINE)
    assert target
    found = list(neighbours.findings(settings, WINE, target, wanted))
    assert SAME_TOPIC in [one.rule for one in found]


@pytest.mark.parametrize(
    ("strange", "why"),
    [
        ({}, "KeyError: 'ComponentConfiguration'"),
        ({"ComponentConfiguration": {"DefaultConfiguration": None}}, "TypeError"),
        ({"ComponentConfiguration": {}}, "KeyError: 'DefaultConfiguration'"),
        ([], "TypeError"),
    ],
)
def test_a_neighbour_s_recipe_of_another_form_is_a_warning(
    account: Account, strange: Any, why: str
) -> None:
    has_a_neighbour(account, GROUP_ARN)
    account.recipes[NOISE.component_arn("com.noise.xgboost", "1.0.0")] = strange
    [found] = findings(WINE)
    assert found.rule is NOT_READABLE
    assert found.where == "com.noise.xgboost 1.0.0"
    assert why in found.text


def test_another_stack_s_components_of_the_same_names_are_refused_by_name(
    account: Account,
) -> None:
    account.groups = {"presses": ["press-1", "press-2"]}
    components = {WINE.names.service: spec("1.0.0")}
    tags = replace(WINE, stack="theirs").tags
    account.deploy(GROUP_ARN, "edge-inference/theirs", components, tags)
    [found] = [one for one in findings(WINE) if one.rule is SAME_NAMES]
    assert re.search(r"press-1: stack theirs \(deployment .* to thinggroup/presses\)", found.where)
    assert "pulumi config set component-prefix PREFIX" in found.text


def test_a_group_without_a_device_of_the_target_is_no_neighbour(account: Account) -> None:
    has_a_neighbour(account, GROUP_ARN, request_topic="local/inference")
    account.groups = {"presses": ["press-7"]}
    assert findings(WINE) == []


def test_a_component_that_was_removed_from_the_target_is_no_neighbour(account: Account) -> None:
    has_a_neighbour(account, THING_ARN, request_topic="local/inference")
    assert findings(WINE, keep_components=False) == []


def test_the_names_of_a_stack_that_exists_can_t_be_changed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    provider = ResidueProvider()
    known = {key: value for key, value in WINE.props.items() if key != "component_prefix"}
    now = {**WINE.props, "target": "", "role": ""}
    assert provider.diff("kept", {**known, "target": "", "role": ""}, now).changes, "one key more"
    with pytest.raises(
        RolloutFailed, match=r"component-prefix is com\.x, and .* called com\.ml\.\*"
    ):
        provider.diff("kept", known, {**now, "component_prefix": "com.x"})
    assert "pulumi config set component-prefix com.ml" in capsys.readouterr().out


def test_models_side_by_side_are_told_by_their_names() -> None:
    assert Names.among([*WINE.names.components, *NOISE.names.components, "com.other.check"]) == (
        DEFAULT_NAMES,
        NOISE.names,
    )
    assert Names.of(NOISE.names.components) == NOISE.names
    assert Names.of([]) == DEFAULT_NAMES


# Every order


@dataclass
class Stack:
    """A stack as its state and the account have it."""

    account: Account
    context: Context
    deployment: str = ""  # The deployment in the state.
    inputs: Any = None  # Its inputs.
    answered: Any = None  # The deployment that the last wait was for.

    def up(self, version: str, *, killed: bool = False) -> None:
        """If it is killed, its deployment exists, and the state doesn't know it."""
        settings, context = settings_of(self.context), self.context
        publish(self.account, context, settings, version)
        target = Target.find(settings, context)
        assert target
        assert target.takeover is None, "no other stack has touched ours"
        planned, own = of(context, version), context.deployment_name
        wanted = target.carried_on(settings) | {name: spec(version) for name in planned}
        inputs = target.deployment_name(own, planned), wanted
        ignored = target.is_carried_on(own, planned)
        if not self.deployment or (inputs != self.inputs and not ignored):
            made = self.account.deploy(THING_ARN, inputs[0], wanted, context.tags)
            if killed:
                return
            before, self.deployment, self.inputs = self.deployment, made, inputs
            self._delete(before)
        if (self.deployment, planned) == self.answered:
            return
        deliver(self.account)
        gate.await_devices(
            context.clients.greengrass,
            deployment=self.deployment,
            components=planned,
            devices=["press-1"],
            quorum=100,
            stack=context.stack,
            clock=clock(self.account),
        )
        self.answered = self.deployment, planned

    def destroy(self, *, killed: bool = False) -> None:
        """If it is killed, it has asked the device to uninstall."""
        NobodyFollowsProvider().delete("kept", self.context.props | {"target": THING_ARN})
        names = frozenset(self.context.names.components)
        if killed:
            latest = next(one for one in self.account.deployments if one["isLatestForTarget"])
            others = {n: one for n, one in latest["components"].items() if n not in names}
            without = str(self.context.deployment_name.without)
            self.account.deploy(THING_ARN, without, others, self.context.tags)
            return
        uninstall(
            self.context,
            target=THING_ARN,
            devices=["press-1"],
            components=names,
            clock=clock(self.account),
        )
        self.deployment, self.inputs = "", None
        for arn in [
            arn for arn, tags in self.account.components.items() if tags == self.context.tags
        ]:
            del self.account.components[arn]

    def _delete(self, deployment: str) -> None:
        """Delete as Pulumi deletes a replaced resource."""
        kept = [one for one in self.account.deployments if one["deploymentId"] != deployment]
        self.account.deployments[:] = kept


def deliver(account: Account) -> None:
    """The device carries out its target's latest deployment."""
    device = account.devices["press-1"]
    for one in account.deployments:
        if one["isLatestForTarget"]:
            device.installed = {
                name: (it["componentVersion"], "RUNNING") for name, it in one["components"].items()
            }
            device.executions = {one["deploymentId"]: {"coreDeviceExecutionStatus": "SUCCEEDED"}}


def clock(account: Account) -> Clock:
    now = itertools.count(step=3.0)
    return Clock(seconds=1000, now=lambda: next(now), pause=lambda _: deliver(account))


def orders() -> Iterator[tuple[str, ...]]:
    """Each stack's updates in their order, then both destroys, in every mixture."""
    wine, noise = ("wine 1", "wine 2", "wine gone"), ("noise 1", "noise 2", "noise gone")
    for places in itertools.combinations(range(6), 3):
        first, second = iter(wine), iter(noise)
        yield tuple(next(first) if at in places else next(second) for at in range(6))


def run(account: Account, order: tuple[str, ...], killed: int | None = None) -> None:
    stacks = {"wine": Stack(account, WINE), "noise": Stack(account, NOISE)}
    wanted: dict[str, Mapping[str, str]] = {}
    for at, step in enumerate(order):
        whose, _, what = step.partition(" ")
        stack, other = stacks[whose], stacks["noise" if whose == "wine" else "wine"]
        if at == killed:
            act(stack, what, killed=True)
            if other.deployment:  # The other's update comes between, and changes nothing.
                version = next(iter(wanted[other.context.stack].values()))
                other.up(version)
        act(stack, what)
        wanted[stack.context.stack] = {} if what == "gone" else of(stack.context, f"1.0.{what}")
        device = account.devices["press-1"]
        runs = {name: version for name, (version, _) in device.installed.items()}
        assert runs == {n: v for one in wanted.values() for n, v in one.items()}, (at, step)
        before = account.made
        for one in stacks.values():  # A second time: there is nothing to do, whoever was last.
            if one.deployment:
                one.up(next(iter(wanted[one.context.stack].values())))
        assert account.made == before, "taking turns, they would deploy without end"
        listed = [one["deploymentName"] for one in account.deployments]
        assert len(listed) <= 3, listed
    assert account.deployments == []
    assert account.devices["press-1"].installed == {}
    for context in (WINE, NOISE):
        where = Where(context=context, target=THING_ARN, role=DEVICE_ROLE)
        assert list_residue(where, pause=lambda _: None) == []


def act(stack: Stack, what: str, *, killed: bool = False) -> None:
    if what == "gone":
        stack.destroy(killed=killed)
    else:
        stack.up(f"1.0.{what}", killed=killed)


@pytest.mark.parametrize("order", orders(), ids=", ".join)
def test_two_stacks_on_one_thing_take_turns_in_any_order(
    account: Account, order: tuple[str, ...]
) -> None:
    run(account, order)


def test_a_release_is_waited_for_by_the_deployment_that_carries_it_on(account: Account) -> None:
    """The first one ended before its `up`, and the device has never heard of it."""
    wine = {name: spec("1.0.0") for name in WINE.names.components}
    first = account.deploy(THING_ARN, str(WINE.deployment_name), wine, WINE.tags)
    noise = {name: spec("1.0.0") for name in NOISE.names.components}
    account.deploy(THING_ARN, str(NOISE.deployment_name), wine | noise, NOISE.tags)

    def wait(version: str) -> None:
        gate.await_devices(
            WINE.clients.greengrass,
            deployment=first,
            components=of(WINE, version),
            devices=["press-1"],
            quorum=100,
            stack=WINE.stack,
            clock=clock(account),
        )

    wait("1.0.0")
    account.devices["press-1"].executions.clear()
    with pytest.raises(RolloutFailed, match="another deployment has replaced"):
        wait("2.0.0")


@pytest.mark.parametrize("killed", range(6))
@pytest.mark.parametrize("order", list(orders())[::6], ids=", ".join)
def test_after_a_kill_of_one_process_the_other_goes_on_and_the_next_run_converges(
    account: Account, order: tuple[str, ...], killed: int
) -> None:
    run(account, order, killed)
