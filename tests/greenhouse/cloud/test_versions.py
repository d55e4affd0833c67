"""Versions and ranges, without a server."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenhouse.cloud.greengrassv2.versions import BadVersion, parse_range, parse_version

numbers = st.integers(min_value=0, max_value=999_999)
versions = st.builds("{}.{}.{}".format, numbers, numbers, numbers)


@pytest.mark.parametrize("text", ["1.2", "1.02.0", "1.2.3.4", "v1.2.3", "", "1.2.x", "1.2.3-01"])
def test_a_version_is_three_numbers_of_semver_or_refused(text: str) -> None:
    with pytest.raises(BadVersion):
        parse_version(text)


def test_a_part_has_six_digits_at_most_as_the_parser_of_cloud_and_nucleus_says() -> None:
    assert str(parse_version("999999.999999.999999")) == "999999.999999.999999"
    with pytest.raises(BadVersion, match="6 digits"):
        parse_version("1.0.1000000")


def test_a_version_has_64_characters_at_most() -> None:
    assert parse_version("1.0.0-" + "a" * 58)
    with pytest.raises(BadVersion, match="64"):
        parse_version("1.0.0-" + "a" * 59)


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("~2.0.0", ">=2.0.0 <2.1.0"),  # aws-greengrass-nucleus#1735 shows this range in the cloud.
        ("^2.0.0", ">=2.0.0 <3.0.0"),
        ("^0.2.3", ">=0.2.3 <0.3.0"),
        ("^0.0.3", ">=0.0.3 <0.0.4"),
        ("^0.0", ">=0.0.0 <0.1.0"),
        ("^0", ">=0.0.0 <1.0.0"),
        ("~1", ">=1.0.0 <2.0.0"),
        ("1.x", ">=1.0.0 <2.0.0"),
        ("1.2", ">=1.2.0 <1.3.0"),
        ("*", ">=0.0.0"),
        (">1.2", ">=1.3.0"),
        ("<=1.2", "<1.3.0"),
        (">=1.2", ">=1.2.0"),
        ("<1.2", "<1.2.0"),
        (">= 1.0.0 < 2.0.0", ">=1.0.0 <2.0.0"),
        ("1.0.0 - 2.0", ">=1.0.0 <2.1.0"),
        ("1.0.0 || ~3.1.0", "=1.0.0 || >=3.1.0 <3.2.0"),
        ("==2.5.0", "=2.5.0"),  # A nucleus writes a deployment's own requirement like this.
        ("2.0.3", "=2.0.3"),
    ],
)
def test_a_range_is_spelled_out_as_npm_understands_it(text: str, stored: str) -> None:
    assert str(parse_range(text)) == stored


@pytest.mark.parametrize("text", ["", "latest", ">=", "1.0.0 ||", ">=1.0.0 and <2", "^^1.0.0"])
def test_a_text_that_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(BadVersion):
        parse_range(text)


@given(versions)
def test_a_version_satisfies_the_ranges_made_of_itself(text: str) -> None:
    version = parse_version(text)
    for asked in (text, f"={text}", f"^{text}", f"~{text}", f">={text}", f"<={text}", "*"):
        assert parse_range(asked).admits(version), asked
    for asked in (f">{text}", f"<{text}"):
        assert not parse_range(asked).admits(version), asked


@given(versions, versions)
def test_the_stored_spelling_means_the_same(base: str, other: str) -> None:
    version = parse_version(other)
    for operator in ("^", "~", ">", "<", ">=", "<=", "="):
        asked = parse_range(operator + base)
        assert parse_range(str(asked)).admits(version) == asked.admits(version)


def test_a_prerelease_is_admitted_only_where_the_range_names_one_of_the_same_numbers() -> None:
    prerelease = parse_version("1.2.0-g1a2b")
    assert not parse_range(">=1.0.0").admits(prerelease)
    assert not parse_range("^1.0.0-rc").admits(prerelease)
    assert parse_range(">=1.2.0-a").admits(prerelease)
    assert parse_range("==1.2.0-g1a2b").admits(prerelease)
