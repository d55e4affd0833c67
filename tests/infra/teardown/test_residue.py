"""A destroy ends by saying that nothing is left, or lists each thing with what to type."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from infra.names import COMPONENTS, PROJECT_TAG, STACK_TAG
from infra.teardown.residue import Destroyed, list_residue
from tests.infra.fakes import (
    CONTEXT,
    DEVICE_ROLE,
    GOOD,
    GROUP_ARN,
    NAME,
    OTHER,
    THING_ARN,
    Account,
    Device,
    Time,
    component_arn,
    spec,
)

pytestmark = pytest.mark.usefixtures("account")

TAGS = {PROJECT_TAG: "edge-inference", STACK_TAG: "dev"}


def left(*meanwhile: Callable[[], object], target: str = THING_ARN) -> list[str]:
    stack = Destroyed(context=CONTEXT, target=target, role=DEVICE_ROLE)
    return list_residue(stack, Time(*meanwhile).pause)


def test_a_removed_stack_leaves_nothing(account: Account) -> None:
    account.deploy(THING_ARN, "by hand", {"com.other": spec("1.0.0")})
    account.devices["press-1"].installed = dict(OTHER)
    account.components[component_arn("com.ml.check", "1.0.0")] = TAGS | {STACK_TAG: "press-2"}
    account.buckets["somebody-else-s"] = {}
    account.repositories["edge-inference/press-2"] = {}
    assert left() == []
    assert account.changes == [], "it only looks"


def a_version(account: Account) -> None:
    account.components[component_arn("com.ml.check", "1.2.3")] = TAGS


def a_bucket(account: Account) -> None:
    account.buckets[CONTEXT.bucket] = TAGS


def a_repository(account: Account) -> None:
    account.repositories[NAME] = TAGS


def a_policy(account: Account) -> None:
    account.policies[DEVICE_ROLE, "edge-inference-dev"] = {}


def a_deployment(account: Account) -> None:
    account.deploy(THING_ARN, NAME, {name: spec("1.2.3") for name in COMPONENTS})


@pytest.mark.parametrize(
    ("leave", "says"),
    [
        (a_version, f"delete-component --arn {component_arn('com.ml.check', '1.2.3')}"),
        (a_bucket, f"aws s3 rb --force s3://{CONTEXT.bucket}"),
        (a_repository, f"delete-repository --force --repository-name {NAME}"),
        (a_policy, f"--role-name {DEVICE_ROLE} --policy-name edge-inference-dev"),
        (a_deployment, f"deployment '{NAME}' (00000001-of-edge-inference-dev)"),
    ],
)
def test_each_thing_that_is_left_is_named_with_what_to_type(
    account: Account, leave: Callable[[Account], None], says: str
) -> None:
    leave(account)
    [line] = left()
    assert says in line


@pytest.mark.parametrize("leave", [a_version, a_bucket, a_repository, a_policy])
def test_things_that_aws_shows_for_a_moment_after_their_deletion_are_not_left(
    account: Account, leave: Callable[[Account], None]
) -> None:
    leave(account)

    def settle() -> None:
        for kind in (account.components, account.buckets, account.repositories, account.policies):
            kind.clear()

    assert left(settle) == []


def test_a_deployment_that_stays_for_others_says_for_whom(account: Account) -> None:
    account.deploy(THING_ARN, f"without {NAME}", {"com.other": spec("1.0.0")})
    [line] = left()
    assert "keeps com.other on the target" in line


def test_a_component_on_a_device_is_named_with_its_device(account: Account) -> None:
    account.groups = {"presses": ["press-2", "a-sensor"]}
    account.devices["press-2"] = Device(installed={**OTHER, **GOOD})
    lines = left(target=GROUP_ARN)
    assert len(lines) == 3, "a thing without Greengrass has nothing of ours"
    assert all("on press-2 (RUNNING)\n    pulumi up\n    pulumi destroy" in line for line in lines)


def test_components_that_another_stack_runs_by_now_belong_to_that_stack(account: Account) -> None:
    account.deploy(THING_ARN, "edge-inference/press-2", {})
    account.devices["press-1"].installed = dict(GOOD)
    assert all("it is stack press-2's by now" in line for line in left())


def test_components_that_another_target_deploys_belong_to_that_target(account: Account) -> None:
    account.groups = {"presses": ["press-1"]}
    group = account.deploy(GROUP_ARN, NAME, {"com.ml.check": spec("1.2.3")})
    account.devices["press-1"].installed = dict(GOOD)
    account.devices["press-1"].deploys(group, "SUCCEEDED")
    [line] = [one for one in left() if "com.ml.check" in one]
    assert line.endswith("thinggroup/presses deploys it too"), "to destroy again would be in vain"


def test_a_deleted_group_has_no_devices_to_ask() -> None:
    assert left(target=GROUP_ARN) == []


def test_an_abandoned_device_is_named_as_one_without_a_record(account: Account) -> None:
    account.devices.clear()
    [line] = left()
    assert "press-1: AWS has no record of it" in line


def test_a_publisher_has_no_devices_to_ask(account: Account) -> None:
    assert left(target="") == []
    assert not {"ListDeployments", "ListInstalledComponents"} & {one for one, _ in account.asked}


@pytest.mark.parametrize(
    ("operation", "what"),
    [
        ("ListComponentVersions", "component versions"),
        ("HeadBucket", "the bucket"),
        ("DescribeRepositories", "the repository"),
        ("GetRolePolicy", "the devices' rights"),
        ("ListInstalledComponents", "devices"),
    ],
)
def test_a_place_that_may_not_be_read_is_named_and_is_no_failure(
    account: Account, operation: str, what: str
) -> None:
    account.denied = {operation}
    [line] = left()
    assert line.startswith(f"{what}: AWS doesn't tell (")
    assert "AccessDenied" in line
