"""A version depends on its content alone: the same everywhere, and another for any difference."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from infra.publish.versions_from_content import (
    build_tag,
    canonical,
    component_version,
    release_name,
)

VERSION = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d{0,5})){2}")
PYTHON_311 = {"BUILD_IMAGE": "python:3.11"}

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
unhurried = settings(deadline=None, max_examples=60)  # The test asserts nothing about time.


def written_backwards(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: written_backwards(value[key]) for key in reversed(value)}
    if isinstance(value, list):
        return [written_backwards(one) for one in value]
    return value


@unhurried
@given(st.integers(0, 999_999), anything)
def test_a_version_is_one_that_every_runtime_can_store(major: int, content: Any) -> None:
    version = component_version(major, content)
    assert VERSION.fullmatch(version), "at most six digits a part, no leading zero, no prerelease"
    assert version.startswith(f"{major}."), "the operator's number comes first"


@unhurried
@given(anything)
def test_a_version_does_not_depend_on_the_order_in_which_keys_were_written(content: Any) -> None:
    assert component_version(1, content) == component_version(1, written_backwards(content)), (
        "two checkouts of one tree would publish two releases"
    )


@unhurried
@given(anything, anything)
def test_a_changed_content_is_another_version(one: Any, other: Any) -> None:
    if canonical(one) != canonical(other):
        assert component_version(1, one) != component_version(1, other), (
            "a component version is immutable: the cloud would refuse the second content"
        )


def test_both_numbers_carry_the_hash() -> None:
    versions = [component_version(1, number).split(".") for number in range(500)]
    assert len({minor for _, minor, _ in versions}) > 490, "half of the 10**12 would be lost"
    assert len({patch for _, _, patch in versions}) > 490, "half of the 10**12 would be lost"


def tree(root: Path, **contents: str) -> list[Path]:
    for name, content in contents.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return [path for path in root.rglob("*") if path.is_file()]


def test_a_checkout_s_place_modes_times_and_order_make_no_new_image(tmp_path: Path) -> None:
    here = tree(tmp_path / "here", Dockerfile="FROM scratch", inference__service="answer()")
    there = tree(tmp_path / "there", Dockerfile="FROM scratch", inference__service="answer()")
    for path in there:
        path.chmod(0o755)
        os.utime(path, (1, 1))
    assert build_tag(here, tmp_path / "here", PYTHON_311) == build_tag(
        reversed(there), tmp_path / "there", dict(PYTHON_311)
    ), "every clone of the repository would build, push and deploy an image of its own"


def test_every_byte_name_and_argument_makes_a_new_image(tmp_path: Path) -> None:
    trees = {
        "as it was": tree(tmp_path / "a", Dockerfile="FROM scratch", service="answer()"),
        "a byte": tree(tmp_path / "b", Dockerfile="FROM scratch", service="answer);"),
        "a name": tree(tmp_path / "c", Dockerfile="FROM scratch", server="answer()"),
        "a folder": tree(tmp_path / "d", Dockerfile="FROM scratch", inference__service="answer()"),
        "one file more": tree(tmp_path / "e", Dockerfile="FROM scratch", service="answer()", x=""),
        "swapped contents": tree(tmp_path / "f", Dockerfile="answer()", service="FROM scratch"),
    }
    roots = dict(zip(trees, "abcdef", strict=True))
    tags = {
        what: build_tag(files, tmp_path / roots[what], PYTHON_311) for what, files in trees.items()
    }
    untouched = trees["as it was"]
    tags["an argument"] = build_tag(untouched, tmp_path / "a", {"BUILD_IMAGE": "python:3.12"})
    tags["an argument's name"] = build_tag(untouched, tmp_path / "a", {"IMAGE": "python:3.11"})
    assert len(set(tags.values())) == len(tags), (
        f"an image would be taken for one that it isn't: {tags}"
    )


def test_a_tag_is_one_that_docker_takes() -> None:
    assert re.fullmatch(r"[0-9a-f]{16}", build_tag([], Path(), {}))


@given(st.dictionaries(st.text(), st.text()))
def test_the_name_of_a_release_is_a_word_to_every_reader_of_yaml(
    components: dict[str, str],
) -> None:
    assert release_name(components)[0].isalpha(), "03512e18 is a number to Pulumi's"
