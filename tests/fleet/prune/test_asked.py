"""What prune asks AWS before it removes something, and what it removes."""

from __future__ import annotations

import pytest

from fleet.in_use import in_use
from fleet.prune import Held, Superfluous, superfluous_in
from infra.names import CHECK, SERVICE
from tests.fleet.prune.releases import (
    BUCKET,
    MIDDLE,
    NEW,
    OLD,
    REPOSITORY,
    TAGS,
    Content,
    Published,
    parts,
    record,
)
from tests.infra.fakes import (
    CONTEXT,
    GROUP_ARN,
    NOON,
    THING_ARN,
    Account,
    Device,
    component_arn,
    spec,
)

pytestmark = pytest.mark.usefixtures("account")


def test_an_older_unused_release_goes_with_all_that_only_it_has(
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
    assert not account.untagged, "no other rule would remove an image without tag and index"
    assert set(account.images.values()) == {"sha256:2"}


def test_a_few_releases_are_kept_without_asking_who_uses_them(
    published: Published, account: Account
) -> None:
    assert published.prune(keep=3) == []
    asked = {operation for operation, _ in account.asked}
    assert asked == {"ListObjectsV2", "GetObject", "ListComponentVersions", "ListImages"}


def test_a_release_that_runs_on_a_device_of_any_target_stays(
    published: Published, account: Account
) -> None:
    """A device that was off for long still runs what an old deployment gave it."""
    account.groups = {"presses": ["press-1", "press-9"]}
    account.devices["press-9"] = Device(
        installed={
            name: (version, "RUNNING") for name, version in OLD.outputs["components"].items()
        }
    )
    for content in (MIDDLE, NEW):
        found = published.deploy(content, GROUP_ARN, "edge-inference/follower")
        account.devices["press-1"].deploys(found, "SUCCEEDED")
    published.prune()
    assert len(published.kept) == 3, "OLD runs on press-9, MIDDLE is the way back"


def test_a_release_that_runs_on_a_device_that_left_its_group_stays(
    published: Published, account: Account
) -> None:
    account.groups = {"presses": ["press-1"]}
    account.devices["gone"] = Device(
        installed={
            name: (version, "RUNNING") for name, version in OLD.outputs["components"].items()
        }
    )
    account.devices["gone"].deploys(published.deploy(OLD, GROUP_ARN), "SUCCEEDED")
    for content in (MIDDLE, NEW):
        account.devices["press-1"].deploys(published.deploy(content, GROUP_ARN), "SUCCEEDED")
    published.prune()
    assert len(published.kept) == 3, "it would lose what it needs to install its release again"


def test_the_release_of_the_present_tree_stays_at_any_age(published: Published) -> None:
    published.prune(own=OLD)
    assert published.kept == [f"releases/{one.outputs['release']}.json" for one in (OLD, NEW)]


def test_a_release_that_a_device_was_off_for_is_a_way_back_all_the_same(
    published: Published, account: Account
) -> None:
    """On that device the next deployment makes it CANCELED, but it was good on the others."""
    account.groups = {"presses": ["press-1", "press-2"]}
    account.devices["press-2"] = Device()
    for content in (OLD, MIDDLE, NEW):
        found = published.deploy(content, GROUP_ARN)
        account.devices["press-1"].deploys(found, "SUCCEEDED")
        account.devices["press-2"].deploys(found, "CANCELED")
    published.prune()
    assert len(published.kept) == 2, "MIDDLE is the way back, and no device goes on to OLD"


def test_the_newest_release_with_a_version_that_was_deployed_by_hand_stays(
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
    published.deploy(OLD, GROUP_ARN)
    published.deploy(MIDDLE, THING_ARN.replace("press-1", "press-8"))
    published.prune()
    assert len(published.kept) == 1


def test_deployments_of_others_are_looked_at_no_closer_than_needed(
    account: Account,
) -> None:
    account.deploy(GROUP_ARN, "theirs", {"com.other": spec("1.0.0")})
    assert in_use(CONTEXT.clients, "edge-inference", CONTEXT.names) == frozenset()
    asked = [operation for operation, _ in account.asked]
    assert asked == ["ListDeployments", "GetDeployment"], "nor are their devices"


@pytest.mark.parametrize(
    "withheld",
    ["ListDeployments", "ListInstalledComponents", "GetObject", "ListComponentVersions"],
)
def test_missing_answers_of_aws_are_not_guessed(
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


# What an interrupted update has left


STRAY = Content(7, 7, 7)


@pytest.fixture
def cut_short(published: Published, account: Account) -> Published:
    """Everything that STRAY consists of, without a record, because the next tree was another."""
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


def test_the_version_of_another_stack_is_not_a_leftover(
    cut_short: Published, account: Account
) -> None:
    theirs = component_arn(SERVICE, STRAY.outputs["components"][SERVICE])
    account.components[theirs] = TAGS | {"edge-inference:stack": "press-2"}
    cut_short.prune(keep=3)
    assert of_stray(account) == {theirs}


def test_an_image_that_made_way_is_not_a_leftover(cut_short: Published, account: Account) -> None:
    """A device may run it under the version that has another image now (docs/decisions/0012)."""
    account.images[REPOSITORY, "was-amd64-7-777777777777"] = "sha256:7"
    cut_short.prune(keep=3)
    assert of_stray(account) == {"sha256:7"}


@pytest.mark.usefixtures("cut_short")
def test_a_version_in_the_state_is_not_a_leftover(account: Account) -> None:
    """A running update has registered it, and its release has no record until the end."""
    held = Held(record=record(NEW).key, parts=parts(NEW, STRAY))
    assert superfluous_in(CONTEXT, held, keep=3) == Superfluous()
    assert len(of_stray(account)) == 8


def test_without_a_record_of_the_tree_s_own_release_nothing_is_known_to_be_cut_short(
    cut_short: Published, account: Account
) -> None:
    cut_short.prune(keep=4, own=STRAY)
    assert len(of_stray(account)) == 8
