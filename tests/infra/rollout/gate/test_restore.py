"""A release that stays broken is replaced by the last good release."""

from __future__ import annotations

from dataclasses import replace

import pytest

from infra.account.clients import Clients
from infra.names import CONSUMER, SERVICE
from infra.policies import read_release
from infra.rollout.restore import restore_previous
from tests.infra.fakes import (
    CONTEXT,
    DEVICE_ROLE,
    NAME,
    OTHER,
    THING_ARN,
    WANTED,
    Account,
    Device,
    component_arn,
    spec,
)
from tests.infra.rollout.gate.waiting import BEFORE, arriving

pytestmark = pytest.mark.usefixtures("account")


def test_a_release_that_stays_broken_makes_room_for_the_last_that_was_good(
    account: Account,
) -> None:
    press = account.devices["press-1"]
    others = {"com.other": spec("1.0.0")}
    good = {name: spec(one) for name, one in BEFORE.items()} | others
    press.deploys(account.deploy(THING_ARN, NAME, good), "COMPLETED")
    failed = {name: spec("1.1.0") for name in WANTED} | others
    press.deploys(account.deploy(THING_ARN, NAME, failed), "FAILED")

    def back() -> None:
        press.deploys(account.deployments[-1]["deploymentId"], "COMPLETED")
        press.installed = {name: (version, "RUNNING") for name, version in BEFORE.items()}

    red = {name: spec(one) for name, one in WANTED.items()} | others
    said, latest = arriving(account, back, red=red)
    assert f"{CONSUMER} 1.3.4 BROKEN" in said
    assert f"restored and answers again: {SERVICE} 1.0.0" in said
    assert account.deployments[-1]["components"] == good, "others' stay as they were"
    assert latest.startswith(f"{NAME} (after "), "this stack's own, and none that is made again"


def test_a_release_that_a_device_was_off_for_was_good_on_the_others(account: Account) -> None:
    """The next deployment makes it CANCELED there."""
    good = account.deploy(THING_ARN, NAME, {name: spec(one) for name, one in BEFORE.items()})
    account.devices["press-1"].deploys(good, "COMPLETED")
    account.devices["press-2"] = Device()
    account.devices["press-2"].deploys(good, "CANCELED")
    arriving(account, devices=["press-1", "press-2"])
    assert account.deployments[-1]["components"] == account.deployments[0]["components"]


def test_however_long_the_history_each_device_is_asked_once_for_it(
    account: Account, clients: Clients
) -> None:
    press = account.devices["press-1"]
    for number in range(5):
        red = account.deploy(THING_ARN, NAME, {SERVICE: spec(f"0.0.{number}")})
        press.deploys(red, "FAILED")
    deployment = account.deploy(THING_ARN, NAME, {name: spec(one) for name, one in WANTED.items()})
    restore_previous(
        CONTEXT,
        failed=clients.greengrass.get_deployment(deploymentId=deployment),
        before={},
        devices=["press-1"],
        role=DEVICE_ROLE,
    )
    asked = [name for name, _ in account.asked].count("ListEffectiveDeployments")
    assert asked == len(press.executions), "each page once, and not once for each deployment"


def test_a_restored_deployment_has_the_tags_that_an_account_may_demand(
    account: Account, clients: Clients
) -> None:
    red = account.deploy(THING_ARN, NAME, {name: spec(one) for name, one in WANTED.items()})
    restore_previous(
        replace(CONTEXT, default_tags={"team": "edge"}),
        failed=clients.greengrass.get_deployment(deploymentId=red),
        before=BEFORE,
        devices=["press-1"],
        role=DEVICE_ROLE,
    )
    assert account.deployments[-1]["tags"] == {"team": "edge"} | CONTEXT.tags


def test_the_way_back_is_the_release_of_the_last_successful_update(
    account: Account,
) -> None:
    """Pulumi may have deleted its deployment, and Lite has called others a success too easily."""
    said, latest = arriving(account, before=BEFORE)
    assert account.deployments[-1]["components"] == {
        name: spec(one) for name, one in BEFORE.items()
    }
    assert latest.startswith(f"{NAME} (after ")
    assert "was removed" not in said


def test_a_failed_release_that_was_tried_before_is_no_way_back_from_itself(
    account: Account,
) -> None:
    old = {name: spec(one) for name, one in BEFORE.items()}
    account.devices["press-1"].deploys(account.deploy(THING_ARN, NAME, old), "SUCCEEDED")
    red = {name: spec(one) for name, one in WANTED.items()}
    account.devices["press-1"].deploys(account.deploy(THING_ARN, NAME, red), "SUCCEEDED")
    arriving(account)
    assert account.deployments[-1]["components"] == old, "Lite calls a success what doesn't run"


def test_no_update_goes_back_past_a_removal_of_our_release(account: Account) -> None:
    """The first release failed on Lite, so it was removed again, and so is the second."""
    first = {name: spec(one) for name, one in BEFORE.items()}
    account.devices["press-1"].deploys(account.deploy(THING_ARN, NAME, first), "SUCCEEDED")
    account.deploy(THING_ARN, f"without {NAME}", {})
    _, latest = arriving(account)
    assert latest == f"without {NAME}"


def test_a_restored_release_may_be_read_again_file_by_file(account: Account) -> None:
    """A device that joined the group with the failed release has never had them."""
    good = account.deploy(THING_ARN, NAME, {name: spec(one) for name, one in BEFORE.items()})
    account.devices["press-1"].deploys(good, "COMPLETED")
    for name, version in BEFORE.items():
        arn = component_arn(name, version)
        uris = ["docker:registry/image", f"s3://bucket/{name}/model.bz2"]
        account.components[arn] = {}
        account.recipes[arn] = {"Manifests": [{"Artifacts": [{"Uri": uri} for uri in uris]}]}
    red = read_release(objects=["arn:aws:s3:::bucket/red"], repository="arn:repository")
    account.policies[DEVICE_ROLE, CONTEXT.policy] = red
    arriving(account)
    back = {f"arn:aws:s3:::bucket/{name}/model.bz2" for name in BEFORE}
    assert account.policies[DEVICE_ROLE, CONTEXT.policy] == read_release(
        objects=["arn:aws:s3:::bucket/red", *back], repository="arn:repository"
    )
    assert account.changes.index("PutRolePolicy") < account.changes.index("CreateDeployment")


def test_an_update_that_may_not_change_the_rights_still_restores_what_the_devices_have(
    account: Account,
) -> None:
    good = account.deploy(THING_ARN, NAME, {name: spec(one) for name, one in BEFORE.items()})
    account.devices["press-1"].deploys(good, "COMPLETED")
    account.denied.add("GetComponent")
    arriving(account)
    assert account.deployments[-1]["components"] == {
        name: spec(one) for name, one in BEFORE.items()
    }


def test_a_deployment_of_others_made_meanwhile_is_never_overwritten(account: Account) -> None:
    mended = {name: spec("2.0.0") for name in WANTED} | {"com.theirs": spec("1.0.0")}

    def by_hand(line: str) -> None:
        if "BROKEN" in line:
            account.deploy(THING_ARN, "by hand", mended)

    said, latest = arriving(account, before=BEFORE, say=by_hand)
    assert latest == "by hand"
    assert f"{CONSUMER} is BROKEN" in said
    assert "while we waited: 'by hand'" in said


def test_a_deployment_that_aws_has_cancelled_as_too_many_failed_is_followed_by_what_was_before(
    account: Account,
) -> None:
    def cancel(_line: str) -> None:
        for one in account.deployments:
            one["deploymentStatus"] = "CANCELED"

    arriving(account, before=BEFORE, say=cancel)
    assert account.deployments[-1]["components"] == {
        name: spec(one) for name, one in BEFORE.items()
    }


@pytest.mark.parametrize("denied", ["CreateDeployment", "GetDeployment"])
def test_the_reason_is_told_even_if_nothing_can_be_restored(account: Account, denied: str) -> None:
    account.denied.add(denied)
    said, _ = arriving(account, before=BEFORE)
    reason, _, why = said.partition("The failed release stays, because the restore failed:")
    assert f"{CONSUMER} is BROKEN" in reason
    assert f"when calling the {denied} operation" in why


def test_the_reason_is_told_also_where_aws_can_be_asked_no_more(account: Account) -> None:
    said, _ = arriving(
        account, lambda: account.denied.add("ListEffectiveDeployments"), before=BEFORE
    )
    assert f"{CONSUMER} is BROKEN" in said
    assert "AccessDenied" in said


def test_our_release_is_removed_again_if_no_release_was_good_before(account: Account) -> None:
    """Otherwise Lite would start the broken release with every deployment, even of others."""
    others = {"com.other": spec("1.0.0")}
    account.deploy(THING_ARN, "by hand", others)

    def gone() -> None:
        account.devices["press-1"].deploys(account.deployments[-1]["deploymentId"], "COMPLETED")
        account.devices["press-1"].installed = dict(OTHER)

    red = {name: spec(one) for name, one in WANTED.items()} | others
    said, latest = arriving(account, gone, red=red)
    assert "This release was removed. There is no earlier release to restore." in said
    assert latest == f"without {NAME}", "this stack's own, and none that is made again"
    assert account.deployments[-1]["components"] == others


def test_others_stay_as_they_are_now_and_not_as_they_were_then(account: Account) -> None:
    press = account.devices["press-1"]
    old = {name: spec(one) for name, one in BEFORE.items()}
    good = account.deploy(THING_ARN, NAME, old | {"com.other": spec("1.0.0")})
    press.deploys(good, "COMPLETED")
    red = {name: spec(one) for name, one in WANTED.items()} | {"com.other": spec("2.0.0")}
    arriving(account, red=red)
    assert account.deployments[-1]["components"] == old | {"com.other": spec("2.0.0")}


def test_a_restore_that_leaves_a_component_ended_names_the_command_that_starts_it(
    account: Account,
) -> None:
    """A Java nucleus doesn't start a FINISHED component again that both releases have."""
    press = account.devices["press-1"]

    def still_ended() -> None:
        press.deploys(account.deployments[-1]["deploymentId"], "SUCCEEDED")
        press.installed = {name: (version, "RUNNING") for name, version in BEFORE.items()}
        press.installed[CONSUMER] = (BEFORE[CONSUMER], "FINISHED")

    said, _ = arriving(account, still_ended, before=BEFORE)
    _, _, still = said.partition("was restored, but doesn't answer either:")
    assert f"{CONSUMER} is FINISHED" in still
    assert "\n    sudo systemctl restart greengrass  # on the device" in still
    assert still.endswith("\n    pulumi up")


def test_a_release_of_before_that_does_not_answer_either_is_said_with_both_reasons(
    account: Account,
) -> None:
    good = account.deploy(THING_ARN, NAME, {name: spec(one) for name, one in BEFORE.items()})
    account.devices["press-1"].deploys(good, "COMPLETED")
    said, _ = arriving(account)
    assert f"{CONSUMER} 1.3.4 BROKEN" in said
    assert "was restored, but doesn't answer either" in said
    assert "not within 20 s" in said
