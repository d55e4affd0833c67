"""Clears only things with exactly our name and our tags, and leaves others to the provider."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pulumi
import pytest
from botocore.exceptions import ClientError

from infra.account.clients import Clients
from infra.account.context import Context
from infra.dynamic import KeptVersionsProvider
from infra.names import CHECK, COMPONENTS, STACK_TAG
from infra.publish.already_there import (
    StackExists,
    before_build,
    before_create,
    check_unknown_stack,
    clear_bucket,
    clear_component_version,
    clear_image,
    clear_repository,
    sweep,
)
from tests.infra.fakes import CONTEXT, Account, Refused, component_arn
from tests.infra.pulumi_engine import DIGEST, Engine

OURS = {"edge-inference:project": "edge-inference", "edge-inference:stack": "dev"}
MORE_OF_OURS = OURS | {"cost-centre": "7"}  # An account's own rules add it.
THEIRS = {"edge-inference:project": "edge-inference", "edge-inference:stack": "press-2"}
HALF = {"edge-inference:stack": "dev"}
NOT_OURS = pytest.mark.parametrize("tags", [THEIRS, HALF, {}], ids=["theirs", "half", "none"])
BUCKET, REPOSITORY = CONTEXT.bucket, CONTEXT.repository
KEPT = component_arn("com.ml.check", "1.2.3")


@pytest.mark.parametrize("tags", [OURS, MORE_OF_OURS])
def test_our_kept_component_version_makes_way(
    account: Account, clients: Clients, tags: dict[str, str]
) -> None:
    other = component_arn("com.ml.check", "1.2.33")
    account.components = {KEPT: tags, other: OURS}
    assert clear_component_version(clients, KEPT, OURS)
    assert account.components == {other: OURS}, "the one of that version, and no other"


@NOT_OURS
def test_somebody_else_s_component_version_stays(
    account: Account, clients: Clients, tags: dict[str, str]
) -> None:
    account.components = {KEPT: tags}
    assert not clear_component_version(clients, KEPT, OURS)
    assert account.components == {KEPT: tags}, "devices of theirs may run it"


def test_a_removal_counts_even_if_its_answer_was_lost(
    account: Account, clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    """botocore asks again, and AWS then says that nothing of that name exists."""
    account.components = {KEPT: OURS}

    def removed_before(*, arn: str) -> None:
        del account.components[arn]
        raise Refused("ResourceNotFoundException")

    monkeypatch.setattr(account, "_delete_component", removed_before)
    clear_component_version(clients, KEPT, OURS)
    assert account.components == {}


def test_nothing_is_touched_if_nothing_is_left(account: Account, clients: Clients) -> None:
    clear_component_version(clients, KEPT, OURS)
    clear_repository(CONTEXT)
    clear_image(clients, REPOSITORY, "amd64-1")
    clear_bucket(CONTEXT)
    assert account.changes == [], "a first `up` finds an empty account"


def test_only_the_tag_that_is_about_to_be_pushed_is_taken_from_its_image(
    account: Account, clients: Clients
) -> None:
    account.repositories = {REPOSITORY: OURS}
    others = {
        (REPOSITORY, "amd64-12"): DIGEST,
        ("edge-inference/press-2", "amd64-1"): DIGEST,
    }
    for again in range(2):
        account.images = account.images | others | {(REPOSITORY, "amd64-1"): DIGEST}
        clear_image(clients, REPOSITORY, "amd64-1")
        assert account.images == others | {(REPOSITORY, "was-amd64-1-dddddddddddd"): DIGEST}, (
            f"time {again}: a device may run it, and ECR deletes an image with its last tag"
        )


def test_a_tag_is_taken_from_an_index_as_from_an_image(account: Account, clients: Clients) -> None:
    account.repositories = {REPOSITORY: OURS}
    account.images = {(REPOSITORY, "amd64-1"): DIGEST}
    account.indexes = {DIGEST: {"manifests": [{"digest": "sha256:image"}]}}
    account.untagged = {"sha256:image"}
    clear_image(clients, REPOSITORY, "amd64-1")
    assert account.images == {(REPOSITORY, "was-amd64-1-dddddddddddd"): DIGEST}
    assert account.untagged, "a device may run it"


def test_our_repository_goes_with_what_an_interrupted_push_left_in_it(account: Account) -> None:
    account.repositories = {REPOSITORY: OURS, "edge-inference/press-2": THEIRS}
    account.images = {(REPOSITORY, "amd64-1"): DIGEST}
    clear_repository(CONTEXT)
    assert account.repositories == {"edge-inference/press-2": THEIRS}
    assert not account.images


@NOT_OURS
def test_somebody_else_s_repository_stays(account: Account, tags: dict[str, str]) -> None:
    account.repositories = {REPOSITORY: tags}
    clear_repository(CONTEXT)
    assert account.changes == []


def test_our_bucket_goes_with_the_files_in_it(account: Account) -> None:
    account.buckets = {BUCKET: MORE_OF_OURS, "other": OURS}
    account.objects = {
        BUCKET: {"1/model.json": b"", "2/golden.json": b""},
        "other": {"3/model.json": b""},
    }
    clear_bucket(CONTEXT)
    assert account.buckets == {"other": OURS}
    assert account.objects["other"] == {"3/model.json": b""}


def test_a_bucket_from_an_up_that_was_killed_before_it_could_tag_it_goes(account: Account) -> None:
    account.buckets = {BUCKET: {}}
    clear_bucket(CONTEXT)
    assert account.buckets == {}, "S3 tags a bucket after it has made it"


@pytest.mark.parametrize(
    ("tags", "keys"),
    [(THEIRS, []), (THEIRS, ["a"]), (HALF, []), ({}, ["somebody's only copy"])],
)
def test_a_bucket_that_may_be_somebody_else_s_keeps_every_file(
    account: Account, tags: dict[str, str], keys: list[str]
) -> None:
    account.buckets, account.objects = {BUCKET: tags}, {BUCKET: dict.fromkeys(keys, b"")}
    clear_bucket(CONTEXT)
    assert (account.buckets, list(account.objects[BUCKET])) == ({BUCKET: tags}, keys)
    assert account.changes == []


@pytest.mark.parametrize("clear", [check_unknown_stack, clear_bucket, clear_repository])
def test_a_stack_that_the_state_does_not_know_keeps_its_releases(
    account: Account, clear: Callable[[Context], None]
) -> None:
    """A new state, or a state from a backup, is about to make what exists."""
    account.buckets, account.repositories = {BUCKET: OURS}, {REPOSITORY: OURS}
    account.objects = {BUCKET: {"1/model.json": b"", "releases/r1234abcd.json": b"{}"}}
    with pytest.raises(StackExists) as refused:
        clear(CONTEXT)
    assert account.changes == [], "devices run these releases, and followers are pinned to them"
    for told in (BUCKET, "r1234abcd", "pulumi stack import --file"):
        assert told in str(refused.value)


@pytest.mark.parametrize("objects", [{}, {"1/model.json": b""}])
def test_the_leftovers_of_a_killed_first_up_are_no_stack(
    account: Account, objects: dict[str, bytes]
) -> None:
    account.buckets, account.objects = {BUCKET: OURS}, {BUCKET: objects}
    check_unknown_stack(CONTEXT)


def test_another_account_s_bucket_of_that_name_is_left_for_s3_to_refuse(account: Account) -> None:
    account.foreign_buckets = {BUCKET}
    check_unknown_stack(CONTEXT)
    clear_bucket(CONTEXT)
    assert account.changes == []


def test_an_answer_that_is_withheld_is_not_taken_for_an_absence(
    account: Account, clients: Clients
) -> None:
    account.buckets, account.repositories = {BUCKET: OURS}, {REPOSITORY: OURS}
    account.components = {KEPT: OURS}
    account.denied = {
        "GetComponent",
        "DescribeRepositories",
        "BatchGetImage",
        "GetBucketTagging",
    }
    for clear in (
        lambda: clear_component_version(clients, KEPT, OURS),
        lambda: clear_repository(CONTEXT),
        lambda: clear_image(clients, REPOSITORY, "amd64-1"),
        lambda: clear_bucket(CONTEXT),
    ):
        with pytest.raises(ClientError, match="AccessDenied"):
            clear()


def test_a_destroy_sweeps_every_version_that_was_kept_and_no_stranger_s(
    account: Account, clients: Clients
) -> None:
    mine = [component_arn(name, f"1.{n}.0") for name in COMPONENTS for n in range(3)]
    near = component_arn("com.ml.check.more", "1.0.0")
    theirs = component_arn("com.ml.check", "9.9.9")
    account.components = {**dict.fromkeys(mine, OURS), near: OURS, theirs: THEIRS}
    said: list[str] = []
    for name in COMPONENTS:
        component = component_arn(name, "").removesuffix(":versions:")
        sweep(clients, component, OURS, said.append)
        sweep(clients, component, OURS, said.append)  # As after an interruption.
    assert account.components == {near: OURS, theirs: THEIRS}
    assert said == [f"removed {arn}" for arn in mine], "each is named once"


def test_a_stack_that_was_renamed_leaves_no_version_of_its_older_names(account: Account) -> None:
    """`pulumi stack rename` changes the tags of new resources, not of existing resources."""
    mine = [component_arn(CHECK, f"1.{number}.0") for number in range(3)]
    tags = [OURS | {STACK_TAG: stack} for stack in ("press", "presse", "dev")]
    theirs = component_arn(CHECK, "9.9.9")
    account.components = {**dict(zip(mine, tags, strict=True)), theirs: THEIRS}
    provider, state = KeptVersionsProvider(), CONTEXT.props | {"stack": "press"}
    for stack in ("presse", "presse", "dev"):
        state = provider.update("kept", state, CONTEXT.props | {"stack": stack}).outs or {}
    assert not provider.diff("kept", state, CONTEXT.props).changes, "a preview would show it"
    provider.delete("kept", state)
    assert account.components == {theirs: THEIRS}


def test_an_image_is_also_cleared_before_an_update() -> None:
    done: list[str] = []

    async def program() -> None:
        made = before_create("version", lambda: done.append("version"))
        built = before_build("image", lambda: done.append("image"))
        assert made.before_create
        assert built.before_create
        assert not made.before_update, "an update of a version's tags must not delete it"
        assert built.before_create == built.before_update, "a new tag only updates the image"
        assert done == [], "to register a hook is not to run it"
        for [hook] in (made.before_create, built.before_create):
            assert isinstance(hook, pulumi.ResourceHook)
            await cast(Any, hook.callback)(None)  # The hook ignores its arguments.
        assert done == ["version", "image"]

    Engine().run(program)
