"""`make rollback` lists who runs each kept release, and names it in the stack's file."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from fleet.__main__ import app
from fleet.pulumi_cli import NoPulumi
from fleet.rollback import listing
from fleet.stacks import NoStack, Stack
from infra.publish.versions_from_content import release_name
from tests.infra.fakes import GOOD, NAME, NOON, THING_ARN, WANTED, Account, spec

BUCKET = "edge-inference-dev"
RUNS = release_name(WANTED)
PULUMI = """#!/bin/sh
echo "$@" >> "$ASKED"
case "$*" in
    "stack output"*) cat "$OUTPUTS" ;;
    "stack history"*) cat "$HISTORY" ;;
    config*) exit "${READ_ONLY:-0}" ;;
    up*) exit "${RED:-0}" ;;
esac
"""


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Account:
    account = Account.with_a_device(monkeypatch)
    account.devices["press-1"].installed = dict(GOOD)
    account.deploy(THING_ARN, NAME, {name: spec(version) for name, version in WANTED.items()})
    account.buckets[BUCKET] = {}
    account.objects[BUCKET] = {
        f"releases/{release}.json": json.dumps(
            {
                "release": release,
                "model": model,
                "samples": f"s3://{BUCKET}/{'cd' * 32}/samples.json",
                "image": {"amd64": f"somewhere@sha256:{'ab' * 32}"},
                **({"files": {"model": "oven.json", "samples": "rows.json"}} if named else {}),
            }
        ).encode()
        for release, model, named in ((RUNS, "abc", False), ("r0ddba11", "xyz", True))
    }
    return account


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the CLI was asked. It answers with the stack's outputs."""
    (tmp_path / "pulumi").write_text(PULUMI)
    (tmp_path / "pulumi").chmod(0o755)
    (tmp_path / "outputs").write_text(
        json.dumps({"bucket": BUCKET, "release": RUNS, "model": "abc"})
    )
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("OUTPUTS", str(tmp_path / "outputs"))
    monkeypatch.setenv("HISTORY", str(tmp_path / "history"))
    (tmp_path / "history").write_text("[]")
    monkeypatch.setenv("ASKED", str(tmp_path / "asked"))
    return tmp_path / "asked"


def rollback(*options: str) -> Result:
    return CliRunner().invoke(app, ["rollback", "--stack", "dev", *options])


@pytest.mark.usefixtures("account", "asked")
def test_each_kept_release_is_listed_with_its_model_and_the_devices_that_run_it() -> None:
    _, newest, older, *_ = (line.rstrip() for line in rollback().output.splitlines())
    assert newest.startswith("r0ddba11  ")
    assert "oven.json xyz" in newest
    assert "rows.json cdcdcdcdcdcd" in newest, "samples alone make another release"
    assert " abc  " in older, "one that an earlier version recorded has no file's name"
    assert older.startswith(f"{RUNS} (this stack's)")
    assert older.endswith("press-1")


@pytest.mark.usefixtures("asked")
def test_two_releases_that_differ_in_their_samples_alone_are_told_apart(account: Account) -> None:
    kept = account.objects[BUCKET]
    twin = json.loads(kept["releases/r0ddba11.json"])
    twin |= {"release": "cafecafe", "samples": f"s3://{BUCKET}/{'ef' * 32}/samples.json"}
    kept["releases/cafecafe.json"] = json.dumps(twin).encode()
    shown = {line.split()[0]: line for line in rollback().output.splitlines() if line.strip()}
    assert "oven.json xyz" in shown["r0ddba11"]
    assert "rows.json cdcdcdcdcdcd" in shown["r0ddba11"]
    assert "oven.json xyz" in shown["cafecafe"]
    assert "rows.json efefefefefef" in shown["cafecafe"]


@pytest.mark.usefixtures("account")
def test_an_older_release_is_named_in_the_stack_s_file_and_deployed(asked: Path) -> None:
    done = rollback("--release", "r0ddba11")
    assert done.exit_code == 0, done.output
    assert asked.read_text().splitlines()[1:] == [
        "config set release r0ddba11 --stack dev --non-interactive",
        "up --yes --skip-preview --suppress-outputs --stack dev --non-interactive",
    ]
    assert (
        f"from release {RUNS} (model abc) to r0ddba11 (model oven.json xyz, published"
        in done.output
    )
    assert "make rollback STACK=dev RELEASE=newest" in done.output, "the way to undo it"


@pytest.mark.usefixtures("account")
def test_the_previous_is_the_one_before_the_stack_s_own(asked: Path, tmp_path: Path) -> None:
    done = rollback("--release", "previous")
    assert isinstance(done.exception, NoStack), "the stack's own is the oldest"
    assert f"no release before {RUNS} is kept" in str(done.exception)
    outputs = {"bucket": BUCKET, "release": "r0ddba11", "model": "xyz"}
    (tmp_path / "outputs").write_text(json.dumps(outputs))
    assert rollback("--release", "previous").exit_code == 0
    assert f"config set release {RUNS} --stack dev" in asked.read_text()


def update(result: str, minute: int, **config: str) -> dict[str, Any]:
    """An entry of `pulumi stack history --json`. Records are stored in minute 0."""
    began = NOON + timedelta(minutes=minute)
    return {
        "kind": "update",
        "result": result,
        "startTime": f"{began - timedelta(seconds=20):%Y-%m-%dT%H:%M:%S.000Z}",
        "endTime": f"{began + timedelta(seconds=20):%Y-%m-%dT%H:%M:%S.000Z}",
        "config": {f"edge-inference:{key}": {"value": one} for key, one in config.items()},
    }


@pytest.mark.usefixtures("account")
@pytest.mark.parametrize(
    ("history", "taken"),
    [
        ([update("succeeded", 0)], RUNS),
        ([update("failed", 0)], ""),
        ([update("failed", 0), update("succeeded", -5)], ""),
        ([update("succeeded", 5, release=RUNS), update("failed", 0)], RUNS),
        ([update("failed", 5), update("succeeded", 0)], RUNS),
        ([{"kind": "preview"}], RUNS),
    ],
    ids=["green", "red", "red after a green one", "green when rolled back to", "red since", "none"],
)
def test_a_release_whose_update_failed_is_listed_as_such_and_is_no_previous_one(
    asked: Path, tmp_path: Path, history: list[dict[str, Any]], taken: str
) -> None:
    """A, B (failed), C: the way back from C is not B, which the devices have refused."""
    outputs = {"bucket": BUCKET, "release": "r0ddba11", "model": "xyz"}
    (tmp_path / "outputs").write_text(json.dumps(outputs))
    (tmp_path / "history").write_text(json.dumps(history))
    assert (f"{RUNS} (its update failed)" in rollback().output) is not bool(taken)
    done = rollback("--release", "previous")
    if taken:
        assert f"config set release {taken} --stack dev" in asked.read_text()
    else:
        assert isinstance(done.exception, NoStack)
        assert f" failed: {RUNS}.\nName the one to deploy all the same:" in str(done.exception)
        assert rollback("--release", RUNS).exit_code == 0, "a person who names it means it"


@pytest.mark.usefixtures("account")
def test_a_follower_asks_the_history_of_whom_it_follows(asked: Path) -> None:
    config = {"aws:region": "eu-west-1", "edge-inference:release-from": "dev"}
    assert listing(Stack(name="press-2", config=config)).row_count == 2
    assert "stack history --json --page-size 100 --stack dev" in asked.read_text()


@pytest.mark.usefixtures("account")
def test_the_newest_is_what_no_name_stands_for(asked: Path) -> None:
    assert rollback("--release", "newest").exit_code == 0
    assert "config rm release --stack dev --non-interactive" in asked.read_text()


@pytest.mark.usefixtures("account", "asked")
def test_a_failed_update_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RED", "255")
    assert rollback("--release", "r0ddba11").exit_code == 255


@pytest.mark.usefixtures("account")
def test_a_stack_file_that_can_t_be_changed_is_told_and_nothing_is_deployed(
    asked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("READ_ONLY", "1")
    done = rollback("--release", "r0ddba11")
    assert isinstance(done.exception, NoPulumi)
    assert str(done.exception).splitlines() == [
        "nothing was deployed, because Pulumi ended with 1.",
        "Its own words are above. This command failed:",
        "    pulumi config set release r0ddba11 --stack dev",
    ]
    assert "up " not in asked.read_text()


@pytest.mark.usefixtures("account")
def test_a_release_that_is_not_kept_changes_nothing(asked: Path) -> None:
    done = rollback("--release", "r0000000")
    assert isinstance(done.exception, NoStack)
    assert f"the newest first: r0ddba11, {RUNS}." in str(done.exception)
    assert "config" not in asked.read_text()


@pytest.mark.usefixtures("account")
def test_a_stack_without_outputs_has_nothing_to_come_from(tmp_path: Path, asked: Path) -> None:
    (tmp_path / "outputs").write_text("{}")
    done = rollback("--release", "r0ddba11")
    assert "pulumi up --stack dev" in str(done.exception)
    assert "config" not in asked.read_text()
