"""The command: dry run, state, and what it refuses."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from fleet.prune import Held, Parts, held_by
from fleet.stacks import NoStack, Stack
from infra.names import SERVICE
from tests.fleet.prune.releases import MIDDLE, NEW, OLD, REPOSITORY, Published, record, run
from tests.infra.fakes import (
    NOON,
    REGION,
    Account,
    component_arn,
)

pytestmark = pytest.mark.usefixtures("account")

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


def test_versions_in_the_state_are_read_from_its_resources() -> None:
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


@pytest.mark.usefixtures("state")
def test_a_dry_run_removes_nothing_and_says_how_to_remove_it(
    published: Published, account: Account
) -> None:
    done = run()
    assert f"release {MIDDLE.outputs['release']} of {NOON:%Y-%m-%d}" in done.output
    assert "Nothing was removed. Remove it:\n    make prune STACK=dev YES=1" in done.output
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
    """Pulumi goes on listing it, even after updates that succeeded."""
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
