"""The look-up before anything is made: what exists, what runs there, and what is unknown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from infra.account.clients import Clients
from infra.account.greengrass import FAILED
from infra.account.target import Target
from infra.errors import RolloutFailed
from infra.names import CHECK, COMPONENTS, CONSUMER, SERVICE
from infra.resources.rollout import check_unchanged
from infra.settings import Misconfigured
from tests.infra.fakes import CONTEXT, GROUP_ARN, THING_ARN, Account, Device, spec
from tests.infra.pulumi_yaml import config_of, load

pytestmark = pytest.mark.usefixtures("account")

WANTED = "edge-inference/dev"
OURS = {name: spec("1.2.3") for name in COMPONENTS}
PLANNED = dict.fromkeys(OURS, "1.2.3")


def find(**values: str) -> Target | None:
    return Target.find(load(config_of(None, **values)), CONTEXT)


def found(**values: str) -> Target:
    target = find(**values)
    assert target
    return target


def refusal(**values: str) -> str:
    with pytest.raises(Misconfigured) as refused:
        find(**values)
    return str(refused.value)


def test_a_stack_that_only_publishes_asks_for_no_device(account: Account) -> None:
    assert find() is None
    assert account.asked == [], "a publisher may have no right to ask"


def test_a_new_device_has_nothing_that_would_be_replaced() -> None:
    target = found(thing="press-1")
    assert (target.arn, target.devices, target.latest) == (THING_ARN, ("press-1",), None)
    assert target.deployment_name(CONTEXT.deployment_name, PLANNED) == WANTED


def test_a_group_is_every_core_device_in_it_and_in_its_groups(account: Account) -> None:
    account.groups = {"presses": ["press-3", "a-sensor", "press-2"]}
    account.devices |= {"press-2": Device(), "press-3": Device()}
    target = found(thing_group="presses")
    assert target.arn == GROUP_ARN
    assert target.devices == ("press-2", "press-3"), (
        "a thing without Greengrass would be waited for until the time is over"
    )


def test_all_of_a_group_is_asked_for_by_one_client(clients: Clients) -> None:
    assert clients.greengrass is clients.greengrass, "each has its own pace, and takes time to make"


@pytest.mark.parametrize("key", ["thing", "thing_group"])
def test_a_name_that_is_not_there_is_refused_with_a_way_to_find_one(key: str) -> None:
    said = refusal(**{key: "pres-1"})
    assert "'pres-1' does not exist in eu-west-1" in said
    assert f"pulumi config set {key.replace('_', '-')} NAME" in said
    assert "\n    aws " in said, "the command that lists the right names"


@pytest.mark.parametrize("key", ["thing", "thing_group"])
def test_things_without_greengrass_are_no_target(account: Account, key: str) -> None:
    account.things = {"lamp": "arn:aws:iot:eu-west-1:123456789012:thing/lamp"}
    account.groups = {"lamp": ["lamp-1", "lamp-2"]}
    said = refusal(**{key: "lamp"})
    assert "has no Greengrass core device" in said
    assert "lamp" in said
    assert f"pulumi config set {key.replace('_', '-')} NAME" in said


@pytest.mark.parametrize(
    "operation", ["DescribeThing", "GetCoreDevice", "ListDeployments", "GetDeployment"]
)
def test_a_withheld_answer_is_not_taken_for_an_empty_device(
    account: Account, operation: str
) -> None:
    account.deploy(THING_ARN, "by hand", {"com.other": spec("1.0.0")})
    account.denied = {operation}
    said = refusal(thing="press-1")
    assert "AccessDenied" in said
    assert "could remove what others deployed" in said


def test_without_a_network_the_refusal_names_the_region(account: Account) -> None:
    account.reachable = False
    assert "AWS can't be reached in eu-west-1" in refusal(thing="press-1")


# What others run there


def test_components_of_others_stay_theirs_with_their_configuration(account: Account) -> None:
    theirs: dict[str, Any] = {
        "aws.greengrass.Nucleus": spec("2.18.0", configurationUpdate={"merge": '{"a":1}'}),
        "com.other": spec("1.0.0", runWith={"posixUser": "someone"}),
    }
    account.deploy(THING_ARN, WANTED, {**OURS, **theirs})
    latest = found(thing="press-1").latest
    assert latest
    assert latest.others(COMPONENTS) == theirs, "a device uninstalls what a deployment doesn't name"


def test_only_the_latest_deployment_of_this_very_target_counts(account: Account) -> None:
    account.deploy(THING_ARN, "first", {"com.gone": spec("1.0.0")})
    second = account.deploy(THING_ARN, "second", {"com.other": spec("1.0.0")})
    account.deploy(GROUP_ARN, "the group's", {"com.elsewhere": spec("1.0.0")})
    latest = found(thing="press-1").latest
    assert latest
    assert latest.id == second
    assert set(latest.others(COMPONENTS)) == {"com.other"}, "a removed component must not come back"


POLICIES = {
    "failureHandlingPolicy": "DO_NOTHING",
    "componentUpdatePolicy": {"timeoutInSeconds": 300, "action": "SKIP_NOTIFY_COMPONENTS"},
    "configurationValidationPolicy": {"timeoutInSeconds": 45},
}


@pytest.mark.parametrize(
    ("others", "keep", "expected"),
    [({"com.other": spec("1.0.0")}, "true", POLICIES), ({}, "true", {}),
     ({"com.other": spec("1.0.0")}, "false", {})],
    ids=["carried on", "nothing of theirs is there", "theirs are removed"],
)  # fmt: skip
def test_how_others_deploy_is_carried_on_with_their_components(
    account: Account, others: dict[str, Any], keep: str, expected: Any
) -> None:
    account.deploy(THING_ARN, "by hand", others, policies=POLICIES)
    settings = load(config_of(thing="press-1", keep_components=keep))
    assert found(thing="press-1").policies_of_others(settings) == expected


def test_aws_s_own_policies_are_not_spelt_out(account: Account) -> None:
    account.deploy(THING_ARN, "by hand", {"com.other": spec("1.0.0")})
    settings = load(config_of(thing="press-1"))
    assert found(thing="press-1").policies_of_others(settings) == {}, (
        "the next preview would show a change"
    )


# A name that changes exactly when something has to be done


def deployed(account: Account, name: str, status: str = "COMPLETED") -> str:
    deployment = account.deploy(THING_ARN, name, OURS)
    account.devices["press-1"].deploys(deployment, status)
    account.devices["press-1"].installed = dict.fromkeys(OURS, ("1.2.3", "RUNNING"))
    account.deployments[-1]["deploymentStatus"] = status
    return deployment


def name_of(planned: Mapping[str, str] = PLANNED) -> str:
    return found(thing="press-1").deployment_name(CONTEXT.deployment_name, planned)


def test_a_good_deployment_of_ours_keeps_its_name(account: Account) -> None:
    deployed(account, WANTED)
    assert name_of() == WANTED, "an `up` of an unchanged tree would deploy again"


def test_a_restored_state_deploys_again_what_the_account_no_longer_has(account: Account) -> None:
    """The latest deployment is ours and good, but it carries another release."""
    newer = deployed(account, WANTED)
    older = PLANNED | {CHECK: "1.1.1"}
    assert name_of(older) == f"{WANTED} (after {newer[:8]})", (
        "a state from a backup has this very deployment name, and would see no change"
    )
    [why] = found(thing="press-1").reasons_to_deploy(CONTEXT.deployment_name, older)
    assert newer in why
    assert f"has 1.2.3 of {CHECK}, not 1.1.1" in why


@pytest.mark.parametrize("status", sorted(FAILED & {"FAILED", "CANCELED"}))
def test_after_a_failure_the_same_release_is_deployed_again(account: Account, status: str) -> None:
    red = deployed(account, WANTED, status)
    assert name_of() == f"{WANTED} (after {red[:8]})", (
        "all of a deployment is create-only: with the same name Pulumi would see no change"
    )


def test_after_somebody_else_s_the_release_comes_back(account: Account) -> None:
    deployed(account, WANTED)
    by_hand = deployed(account, "by hand")
    assert name_of() == f"{WANTED} (after {by_hand[:8]})"


def test_a_stack_whose_name_begins_like_ours_is_somebody_else(account: Account) -> None:
    theirs = deployed(account, f"{WANTED}2")
    assert name_of() == f"{WANTED} (after {theirs[:8]})"


def test_after_our_own_uninstall_the_release_comes_back(account: Account) -> None:
    leaving = deployed(account, f"without {WANTED}")
    assert name_of() == f"{WANTED} (after {leaving[:8]})"


def test_a_name_from_after_a_failure_stays_as_long_as_it_is_good(account: Account) -> None:
    deployed(account, WANTED, "FAILED")
    second = name_of()
    deployed(account, second)
    assert name_of() == second, "or every `up` from then on would deploy again"


def test_names_do_not_grow_with_every_failure(account: Account) -> None:
    for _ in range(12):
        deployed(account, name_of(), "FAILED")
    assert len(name_of()) < 256, "Greengrass takes no longer name"
    assert len({one["deploymentName"] for one in account.deployments}) == 12


@pytest.mark.parametrize(
    ("name", "now", "why"),
    [
        (CHECK, ("1.2.3", "BROKEN"), f"press-1 has {CHECK} BROKEN"),
        (CONSUMER, ("1.2.3", "FINISHED"), f"press-1 has {CONSUMER} FINISHED"),
        (SERVICE, ("1.2.3", "FINISHED"), f"press-1 has {SERVICE} FINISHED"),
        (CHECK, ("1.1.1", "RUNNING"), f"press-1 has 1.1.1 of {CHECK}, not 1.2.3"),
        (CHECK, None, f"press-1 has none of {CHECK}, not 1.2.3"),
    ],
    ids=["broken since", "ended", "ended too", "replaced by hand", "another device of that name"],
)
def test_a_device_that_has_lost_its_release_gets_it_again(
    account: Account, name: str, now: tuple[str, str] | None, why: str
) -> None:
    lost = deployed(account, WANTED)
    del account.devices["press-1"].installed[name]
    if now:
        account.devices["press-1"].installed[name] = now
    assert name_of() == f"{WANTED} (after {lost[:8]})"
    target = found(thing="press-1")
    assert target.reasons_to_deploy(CONTEXT.deployment_name, PLANNED) == (why,)


@pytest.mark.parametrize("name", [CHECK, CONSUMER, SERVICE])
@pytest.mark.parametrize("state", ["FINISHED", "ERRORED", "STARTING", "STOPPING", ""])
def test_a_state_that_may_be_over_is_no_reason_to_deploy_again(
    account: Account, name: str, state: str
) -> None:
    """The Java nucleus tells AWS of a recovery only in its daily report."""
    deployed(account, WANTED)
    account.devices["press-1"].installed[name] = ("1.2.3", state)
    assert (name_of() == WANTED) is (state != "FINISHED" or name == CHECK), "a check may end"


@pytest.mark.parametrize("status", sorted(FAILED))
def test_a_group_s_deployment_fails_when_one_device_says_so(account: Account, status: str) -> None:
    account.groups = {"presses": ["press-1", "press-2"]}
    account.devices["press-2"] = Device()
    deployment = account.deploy(GROUP_ARN, WANTED, OURS)
    account.devices["press-1"].deploys(deployment, "SUCCEEDED")
    account.devices["press-1"].installed = dict.fromkeys(OURS, ("1.2.3", "RUNNING"))
    account.devices["press-2"].deploys("an-older-one", "SUCCEEDED")
    account.devices["press-2"].deploys(deployment, status)
    target = found(thing_group="presses")
    assert target.deployment_name(CONTEXT.deployment_name, PLANNED) != WANTED, (
        "the group's own status stays ACTIVE for any state of its devices"
    )


def test_a_device_s_older_failure_is_not_this_deployment_s(account: Account) -> None:
    account.devices["press-1"].deploys("an-older-one", "FAILED")
    deployed(account, WANTED)
    assert name_of() == WANTED


def test_a_device_that_has_not_heard_of_it_yet_is_no_failure(account: Account) -> None:
    account.deploy(THING_ARN, WANTED, OURS)
    assert name_of() == WANTED, "a device that is off keeps its deployment waiting"


# What happens while a release is built


def test_a_deployment_of_others_while_a_release_is_built_is_not_overwritten(
    account: Account,
) -> None:
    deployed(account, WANTED)
    target = found(thing="press-1")
    check_unchanged(target, CONTEXT)
    account.deploy(GROUP_ARN, "another target's", {})
    check_unchanged(target, CONTEXT)
    account.deploy(THING_ARN, "by hand", {**OURS, "com.other": spec("1.0.0")})
    with pytest.raises(RolloutFailed) as refused:
        check_unchanged(target, CONTEXT)
    assert f"{THING_ARN} has got deployment 'by hand' (00000003-of-by-hand" in str(refused.value)
    assert str(refused.value).endswith("\n    pulumi up")
    check_unchanged(found(thing="press-1"), CONTEXT)


def test_a_late_deployment_of_a_killed_update_of_this_stack_stops_nothing(
    account: Account,
) -> None:
    target = found(thing="press-1")
    account.deploy(THING_ARN, WANTED, OURS)
    check_unchanged(target, CONTEXT)
    account.deploy(THING_ARN, WANTED, OURS, tags={})
    with pytest.raises(RolloutFailed, match="by no stack of this program"):
        check_unchanged(target, CONTEXT)


# Somebody else's deployment after ours


def change(**versions: str) -> dict[str, Any]:
    """Our components, some in other versions. "" leaves a component out."""
    named = {f"com.ml.{name}": version for name, version in versions.items()}
    return {name: spec(one) for name in COMPONENTS if (one := named.get(name, "1.2.3"))}


def taken_over() -> tuple[str, ...]:
    takeover = found(thing="press-1").takeover
    return takeover.changes if takeover else ()


@pytest.mark.parametrize(
    ("theirs", "said"),
    [
        (change(check="9.9.9"), ("com.ml.check 1.2.3 became 9.9.9",)),
        (change(consumer=""), ("removes com.ml.consumer 1.2.3",)),
        ({}, tuple(f"removes {name} 1.2.3" for name in COMPONENTS)),
        (change(), ()),
        (change() | {"com.other": spec("1.0.0")}, ()),
    ],
    ids=["another version", "one dropped", "all dropped", "as it was", "one more of their own"],
)
def test_a_later_deployment_takes_over_where_it_changes_what_is_ours(
    account: Account, theirs: dict[str, Any], said: tuple[str, ...]
) -> None:
    deployed(account, WANTED)
    account.deploy(THING_ARN, "by hand", theirs)
    assert taken_over() == said


def test_components_that_others_had_before_us_are_theirs_and_no_takeover(account: Account) -> None:
    account.deploy(THING_ARN, "by hand", {"com.other": spec("1.0.0")})
    assert taken_over() == ()


def test_the_first_of_two_stacks_on_one_target_has_it(account: Account) -> None:
    account.deploy(THING_ARN, "edge-inference/press-2", OURS)
    takeover = found(thing="press-1").takeover
    assert takeover
    assert "'edge-inference/press-2'" in takeover.summary
    assert "2026-11-23 12:00 UTC" in takeover.summary
    assert "by stack press-2" in takeover.summary
    assert "deploys com.ml.xgboost 1.2.3" in takeover.summary


@pytest.mark.parametrize("name", [WANTED, f"{WANTED} (after 1234)"])
def test_a_deployment_of_ours_revised_by_hand_is_not_ours_although_it_has_our_name(
    account: Account, name: str
) -> None:
    deployed(account, name)
    account.deploy(THING_ARN, name, change(xgboost="9.9.9"), tags={})
    takeover = found(thing="press-1").takeover
    assert takeover
    assert "by no stack of this program" in takeover.summary


@pytest.mark.parametrize("name", [WANTED, f"{WANTED} (after 1234)", f"without {WANTED}"])
@pytest.mark.parametrize("status", ["COMPLETED", "FAILED"])
def test_leftovers_of_this_stack_are_ours_in_any_state(
    account: Account, name: str, status: str
) -> None:
    deployed(account, WANTED)
    account.deploy(THING_ARN, name, change(xgboost="9.9.9", check=""))
    account.deployments[-1]["deploymentStatus"] = status
    assert taken_over() == ()


def test_after_our_uninstall_the_target_is_everybody_s(account: Account) -> None:
    deployed(account, WANTED)
    account.deploy(THING_ARN, f"without {WANTED}", {"com.other": spec("1.0.0")})
    account.deploy(THING_ARN, "by hand", {"com.another": spec("1.0.0")})
    assert taken_over() == ()


def test_a_member_whose_name_docker_refuses_is_named_before_anything_is_made(
    account: Account,
) -> None:
    """IoT allows a colon in a thing's name.

    A container that is named after the device can't have it.
    """
    account.groups = {"presses": ["press-1", "press:2"]}
    account.devices["press:2"] = Device()
    said = refusal(thing_group="presses")
    assert "'press:2' is no name for a device here" in said
    account.devices.pop("press:2")
    assert found(thing_group="presses").devices == ("press-1",), "a thing that is no device"


def orphaned(device: Device, **versions: str) -> None:
    """What a deployment brought that was deleted since."""
    for name, version in versions.items():
        component = name.replace("_", ".")
        device.installed[component] = (version, "RUNNING")
        device.sources[component] = "deleted"


def test_others_components_are_carried_on_when_their_deployment_was_deleted(
    account: Account,
) -> None:
    press = account.devices["press-1"]
    orphaned(press, com_other="1.0.0", com_locally="1.0.0")
    press.sources["com.locally"] = "LOCAL"
    press.installed |= dict.fromkeys(COMPONENTS, ("1.2.3", "RUNNING"))
    target = found(thing="press-1")
    assert target.carried_on(load(config_of(None))) == {"com.other": spec("1.0.0")}
    assert target.carried_on(load(config_of(None, keep_components=False))) == {}


def test_components_of_another_target_do_not_belong_to_the_deleted_deployment(
    account: Account,
) -> None:
    account.groups = {"presses": ["press-1"]}
    orphaned(account.devices["press-1"], com_other="1.0.0")
    group = account.deploy(GROUP_ARN, "group's", {"com.other": spec("1.0.0")})
    account.devices["press-1"].deploys(group, "SUCCEEDED")
    account.devices["press-1"].sources["com.other"] = group
    assert found(thing="press-1").carried_on(load(config_of(None))) == {}


def test_devices_that_differ_in_what_a_deleted_deployment_left_are_told_apart(
    account: Account,
) -> None:
    account.groups = {"presses": ["press-1", "press-2"]}
    account.devices["press-2"] = Device()
    orphaned(account.devices["press-1"], com_other="1.0.0")
    orphaned(account.devices["press-2"], com_other="2.0.0")
    said = refusal(thing_group="presses")
    assert "com.other in 1.0.0 and 2.0.0" in said
    assert "aws greengrassv2 create-deployment --region eu-west-1 --target-arn" in said
