"""What a person sees of an update, from recorded events (Pulumi 3.276, 2026-11-30).

They were recorded on greenhouse by `pulumi up --json` and `pulumi destroy --json`. Debug messages,
unchanged resources and the resources' contents are left out.
"""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from fleet.plan.preview import EXITED
from greenhouse.updates.display import Display
from greenhouse.updates.run import show

RECORDED = Path(__file__).with_name("recorded")


def shown(events: list[str]) -> str:
    """The output without a terminal."""
    printed = io.StringIO()
    console = Console(file=printed, width=160, markup=False)
    show(events, Display(console), console)
    return printed.getvalue()


def recorded(name: str) -> list[str]:
    return (RECORDED / f"{name}.jsonl").read_text().splitlines(keepends=True)


def test_a_resource_is_shown_once_when_it_is_done() -> None:
    said = shown(recorded("changed-model"))
    assert re.findall(r"^  (\S+) aws-native:greengrassv2:Deployment \S+ (\w+)", said, re.M) == [
        ("+-", "replaced")
    ]
    assert "resources: 3 updated, 6 replaced, 22 unchanged" in said


def test_what_the_program_says_is_shown_once_and_what_changes_each_time() -> None:
    said = shown(recorded("changed-model"))
    assert said.count("keeps com.example.heartbeat 1.0.0") == 1, "its preview said so as well"
    again = [line for line in recorded("changed-model") if "quiet-1: IN_PROGRESS" in line]
    assert shown([*recorded("changed-model"), *again]).count("quiet-1: IN_PROGRESS") == 1
    under_way = recorded("changed-model")
    at = under_way.index(again[0])
    assert shown([*under_way[:at], *again, *under_way[at:]]).count("quiet-1: IN_PROGRESS") == 2


def test_a_failed_build_shows_the_builders_words() -> None:
    said = shown(recorded("failed-build"))
    assert said.count("#10 0.255 no-such-thing-here") == 1
    assert "error: registry-image-amd64: error reading build output" in said
    assert "Resource monitor has terminated" not in said


def test_a_plugin_that_says_no_more_than_an_error_has_the_builders_words_as_well() -> None:
    """Like the real plugin, it passes the builder's lines on, and repeats none of them."""
    events = [line for line in recorded("failed-build") if '"severity": "warning"' not in line]
    assert len(events) == len(recorded("failed-build")) - 1
    said = shown(events)
    assert said.count("#10 0.255 no-such-thing-here") == 1
    assert said.index("no-such-thing-here") < said.index("error: registry-image-amd64")


def test_a_successful_build_shows_no_passing_lines() -> None:
    urn = "urn:pulumi:local::edge-inference::docker:index/image:Image::image"
    step = {"metadata": {"op": "create", "urn": urn}}
    lines = ["#20 sha256:0123 done", "1da5d5aef4d9: Pushed"]
    events: list[dict[str, Any]] = [
        {"resourcePreEvent": step},
        *(
            {"diagnosticEvent": {"urn": urn, "severity": "info", "ephemeral": True, "message": one}}
            for one in lines
        ),
        {"resOutputsEvent": step},
    ]
    display = Display(Console(file=io.StringIO()))
    assert display.doing() == "preview"
    previewed = {"summaryEvent": {"isPreview": True, "resourceChanges": {"create": 1}}}
    for event in (previewed, *events[:-1]):
        display.take(event)
    assert display.doing() == "image: 1da5d5aef4d9: Pushed", "a spinner shows the last one"
    assert shown([json.dumps(one) for one in events]) == "  + docker:index:Image image created\n"


def test_the_program_s_own_error_is_not_followed_by_that_it_ended() -> None:
    urn = "urn:pulumi:local::edge-inference::pulumi:pulumi:Stack::edge-inference-local"
    own, exited = (
        json.dumps({"diagnosticEvent": {"urn": urn, "severity": "error", "message": message}})
        for message in ("memory is 3.\n    pulumi config set memory NUMBER\n", f"{EXITED}: 1\n")
    )
    assert shown([own, exited]) == (
        "  error: memory is 3.\n      pulumi config set memory NUMBER\n"
    ), "its lines stay apart"
    assert EXITED in shown([exited]), "a program that says nothing else"


def test_a_failed_rollout_says_its_reason_once_whichever_comes_first() -> None:
    """The gate raises it and prints it (infra/rollout/plain_failure.py).

    A program with one such resource was recorded. Pulumi shows both in either order.
    """
    events = recorded("failed-rollout")
    [error] = [line for line in events if '"urn"' in line]
    without = [line for line in events if line != error]
    last = next(at for at, line in enumerate(without) if "  pulumi up" in line) + 1
    reason = json.loads(error)["diagnosticEvent"]["message"].splitlines()
    for order in (events, [*without[:last], error, *without[last:]]):
        said = shown(order)
        for line in reason:
            assert said.count(line) == 1, said
        assert said.count("error: rollout-answering: ") == 1, "which resource it was"
        assert said.count("greenhouse: IN_PROGRESS") == 1
    between = [*without[: last - 2], error, *without[last - 2 :]]
    assert "error: rollout-answering: greenhouse: deployment FAILED" in shown(between), "whole"


# pulumi up --json after two ^C (Pulumi 3.276, 2026-11-30)
PENDING = """\
Attempting to deploy or update resources with 2 pending operations from previous deployment.
  * urn:pulumi:local::edge-inference::aws:s3/bucket:Bucket::artifacts-bucket, interrupted while {0}
  * urn:pulumi:local::edge-inference::aws:s3/bucket:Bucket::artifacts-bucket, interrupted while {0}
These resources are in an unknown state because the Pulumi CLI was interrupted while waiting for \
changes to these resources to complete. You should confirm whether or not the operations listed \
completed successfully by checking the state of the appropriate provider. For example, if you are \
using AWS, you can confirm using the AWS Console.

Once you have confirmed the status of the interrupted operations, you can repair your stack using \
`pulumi refresh` which will refresh the state from the provider you are using and clear the \
pending operations if there are any.

Note that `pulumi refresh` will need to be run interactively to clear pending CREATE operations.
"""


@pytest.mark.parametrize("doing", ["creating", "updating"])
def test_after_an_interrupted_update_a_person_reads_what_that_means_here(doing: str) -> None:
    message = PENDING.format(doing)
    said = shown([json.dumps({"diagnosticEvent": {"severity": "warning", "message": message}})])
    first, why, *commands = said.splitlines()
    assert first == (
        f"  warning: an earlier update was interrupted, while {doing} artifacts-bucket."
    )
    assert "takes over what is there" in why
    assert "AWS Console" not in said
    assert bool(commands) == (doing == "creating"), "only these stay in the state"


def test_what_stays_in_the_account_is_not_called_deleted() -> None:
    said = shown(recorded("destroy"))
    assert "ComponentVersion com.ml.check dropped from the state" in said
    assert "- aws:s3:Bucket artifacts-bucket deleted" in said
    assert "resources: 31 deleted" in said


def test_what_pulumi_says_beside_its_events_is_shown() -> None:
    assert shown(["warning: a new version\x1b[0m\n"]) == "  warning: a new version\\x1b[0m\n"


@pytest.mark.parametrize("event", [{"cancelEvent": {}}, {"preludeEvent": {"config": {}}}, {}])
def test_what_tells_a_person_nothing_is_not_shown(event: dict[str, Any]) -> None:
    assert shown([json.dumps(event)]) == ""
