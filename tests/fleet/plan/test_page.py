"""The page of a plan, from previews that a real engine made on greenhouse (see recording.py)."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from fleet.ci import comment
from fleet.plan import page, preview
from fleet.plan.plan import FailOn
from greenhouse.account import TENANT
from tests.fleet.recording import FOLDER, Recording

NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))


@pytest.mark.parametrize("name", NAMES)
def test_the_page_is_as_it_was_looked_at(name: str) -> None:
    wanted = (FOLDER / f"{name}.md").read_text()
    assert Recording.read(name).page() == wanted, (
        "if the new page is better: python -m tests.fleet.recording, and look at all of them"
    )


def test_there_are_recordings_to_look_at() -> None:
    assert len(NAMES) >= 5


def test_a_page_too_long_for_a_comment_is_whole_and_begins_with_what_must_not_be_missed() -> None:
    recording = Recording.read("first")
    document = json.loads(recording.preview)
    document["diagnostics"] = [{"severity": "warning", "message": "lite-thing: never arrives"}]
    [target] = recording.targets
    fleet = tuple(  # Each has a kind of its own.
        replace(
            target.devices[0], name=f"press-{number:04}", nucleus=f"2.{number}.0", drift=("odd",)
        )
        for number in range(300)
    )
    text = replace(
        recording,
        preview=json.dumps(document),
        targets=(replace(target, devices=fleet),),
    ).page()
    assert len(text) > comment.MOST
    assert "press-0299" in text, "make plan prints all of it"
    begins = text[:4000]
    assert "Allow s3:GetObject" in begins
    assert "lite-thing: never arrives" in begins


def test_another_engine_s_image_is_not_taken_to_be_as_large_as_today_s() -> None:
    recording = Recording.read("image")
    document = json.loads(recording.preview)
    said = recording.page()
    assert "about 13.9 MB to download, if the image is as large as today's" in said
    assert "at most" not in said, "nothing bounds an image before it is built"
    for step in document["steps"]:
        if step["urn"].endswith("::registry-image-amd64"):
            step["newState"]["inputs"]["build"]["target"] = "xgboost"
    text = replace(recording, preview=json.dumps(document)).page()
    assert "to download and what has no known size yet" in text


def test_devices_that_fare_alike_share_a_table() -> None:
    recording = Recording.read("model-and-memory")
    [target] = recording.targets
    fleet = tuple(
        replace(target.devices[0], name=f"press-{number:04}", drift=("an oddity",))
        for number in range(1500)
    )
    text = replace(recording, targets=(replace(target, devices=fleet),)).page()
    assert text.count("| `com.ml.check` |") == 1
    assert "`press-0000`, `press-0001`" in text
    assert "and 1490 more" in text


def test_components_that_another_target_deploys_to_the_device_stay_there() -> None:
    recording = Recording.read("drift")
    [target] = recording.targets
    [device] = target.devices
    arn = target.arn.replace(":thing/press-1", ":thinggroup/presses")
    timeline = (*device.timeline, replace(device.timeline[0], target=arn))
    both = replace(
        recording,
        targets=(replace(target, devices=(replace(device, timeline=timeline),)),),
        account_facts=replace(recording.account_facts, elsewhere={arn: (TENANT,)}),
    )
    assert recording.plan().caught(FailOn.REMOVED) == (TENANT,)
    assert not both.plan().caught(FailOn.REMOVED)
    unchanged = (
        f"| unchanged | `{TENANT}` | `1.0.0` | `1.0.0` | `thinggroup/presses deploys it, too` |"
    )
    assert unchanged in both.page()


def test_devices_of_another_kind_have_a_table_of_their_own() -> None:
    recording = Recording.read("nothing")
    [target] = recording.targets
    first = target.devices[0]
    others = (
        replace(first, name="press-2", architecture="aarch64"),
        replace(first, name="press-3", runtime="aws_nucleus_lite"),
        replace(first, name="press-4", nucleus="2.9.0"),
        replace(first, name="press-5"),
    )
    text = replace(recording, targets=(replace(target, devices=(first, *others)),)).page()
    for heading in (
        "**`press-1`, `press-5`** · `amd64, aws_nucleus_classic 2.18.0`",
        "**`press-2`** · `aarch64, aws_nucleus_classic 2.18.0`",
        "**`press-3`** · `amd64, aws_nucleus_lite 2.18.0`",
        "**`press-4`** · `amd64, aws_nucleus_classic 2.9.0`",
    ):
        assert f"{heading}\n" in text, "a device is told to be what it isn't"


def test_the_order_of_devices_changes_nothing() -> None:
    recording = Recording.read("model-and-memory")
    [target] = recording.targets
    pair = (target.devices[0], replace(target.devices[0], name="press-0"))
    pages = {
        replace(recording, targets=(replace(target, devices=devices),)).page()
        for devices in (pair, pair[::-1])
    }
    assert len(pages) == 1


def test_no_secret_gets_onto_the_page() -> None:
    recording = Recording.read("model-and-memory")
    document = json.loads(recording.preview)
    secret = {
        "4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270",
        "plaintext": '"hunter2"',
    }
    for step in document["steps"]:
        if step["urn"].endswith("::rollout-rights"):
            step["newState"]["inputs"]["policy"] = secret
        if "inlineRecipe" in (step.get("newState") or {}).get("inputs", {}):
            step["newState"]["inputs"]["inlineRecipe"] = secret
    recording = replace(recording, preview=json.dumps(document))
    assert "hunter2" not in repr(preview.read(recording.preview))
    text = recording.page()
    assert "hunter2" not in text
    assert "is a secret, and not compared" in text, "the page says what can't be read"
    assert recording.plan().caught(FailOn.RIGHTS), "and may be any right"


def test_a_program_that_refuses_is_heard() -> None:
    said = {"diagnostics": [{"severity": "error", "message": "both thing and thing-group\n"}]}
    with pytest.raises(preview.NoPreview, match="both thing and thing-group"):
        preview.read(json.dumps(said))


def test_a_warning_of_the_program_is_a_finding_and_a_gate() -> None:
    recording = Recording.read("nothing")
    document = json.loads(recording.preview)
    document["diagnostics"] = [{"severity": "warning", "message": "lite-thing: never arrives"}]
    plan = replace(recording, preview=json.dumps(document)).plan()
    assert plan.caught(FailOn.WARNING) == ("lite-thing: never arrives",)
    assert "lite-thing" in page.render(plan)
