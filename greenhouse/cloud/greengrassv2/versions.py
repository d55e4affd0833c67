"""Component versions, and the ranges that recipes and devices ask for.

A version is strict semver with at most six digits in each part and 64 characters. Source: the
parser that cloud and nucleus share (COMPONENT_MAX_VERSION_NUMBER 999999, COMPONENT_VERSION_LENGTH
64). A range has npm's syntax. The cloud writes a stored range out, `~2.0.0` as `>=2.0.0 <2.1.0`
(aws-greengrass-nucleus#1735). Nucleus Lite understands only such ranges.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from semver import Version

MAX_LENGTH = 64
MAX_PART = 999_999

_OPERATORS = ("~>", "^", "~", ">=", "<=", "==", ">", "<", "=", "")
_PARTIAL = re.compile(
    r"[v=]?(?P<major>\d+|[xX*])(\.(?P<minor>\d+|[xX*]))?(\.(?P<patch>\d+|[xX*]))?"
    r"(-(?P<pre>[0-9A-Za-z.-]+))?(\+[0-9A-Za-z.-]+)?"
)
_COMPARATOR = re.compile(rf"({'|'.join(map(re.escape, _OPERATORS))})\s*([^\s<>=~^]+)")
_HYPHEN = re.compile(r"(\S+)\s+-\s+(\S+)")


class BadVersion(ValueError):
    """A version or a range that Greengrass would not take. The message says why."""


def parse_version(text: str) -> Version:
    """`1.2.3` or `1.2.3-rc.1`, within Greengrass' limits. Raises BadVersion."""
    if len(text) > MAX_LENGTH:
        raise BadVersion(f"version '{text}' is longer than {MAX_LENGTH} characters")
    try:
        version = Version.parse(text)
    except ValueError as error:
        raise BadVersion(f"version '{text}' is not MAJOR.MINOR.PATCH of semver 2.0") from error
    if max(version.major, version.minor, version.patch) > MAX_PART:
        raise BadVersion(
            f"Component version major, minor, patch can't exceed 6 digits (found '{text}')"
        )
    return version


@dataclass(frozen=True)
class Comparator:
    """One bound: `=`, `<`, `<=`, `>` or `>=` and a version."""

    operator: str
    version: Version

    def __str__(self) -> str:
        return f"{self.operator}{self.version}"

    def admits(self, version: Version) -> bool:
        order = version.compare(self.version)
        return {
            "=": order == 0,
            "<": order < 0,
            "<=": order <= 0,
            ">": order > 0,
            ">=": order >= 0,
        }[self.operator]


@dataclass(frozen=True)
class Range:
    """Alternatives. Each is a list of bounds, all of which must hold."""

    alternatives: tuple[tuple[Comparator, ...], ...]

    def __str__(self) -> str:
        return " || ".join(" ".join(map(str, bounds)) for bounds in self.alternatives)

    def admits(self, version: Version) -> bool:
        """npm's rule: a prerelease fits only if a bound names the same three numbers."""
        return any(
            all(bound.admits(version) for bound in bounds)
            and (
                version.prerelease is None
                or any(
                    bound.version.prerelease
                    and bound.version.to_tuple()[:3] == version.to_tuple()[:3]
                    for bound in bounds
                )
            )
            for bounds in self.alternatives
        )


def parse_range(text: str) -> Range:
    """`^2.0.0`, `~1.2`, `>=1.0.0 <2.0.0`, `1.x || 2.0.1`, `1.0.0 - 2.0.0`. Raises BadVersion."""
    return Range(tuple(_alternative(part.strip(), text) for part in text.split("||")))


def _alternative(part: str, whole: str) -> tuple[Comparator, ...]:
    if hyphen := _HYPHEN.fullmatch(part):
        return (
            *_bounds(">=", hyphen.group(1), whole),
            *_bounds("<=", hyphen.group(2), whole),
        )
    found = list(_COMPARATOR.finditer(part))
    if not found or _COMPARATOR.sub("", part).strip():
        raise BadVersion(f"version requirement '{whole}' is not an npm range")
    return tuple(
        bound
        for comparator in found
        for bound in _bounds(comparator.group(1), comparator.group(2), whole)
    )


def _bounds(operator: str, text: str, whole: str) -> tuple[Comparator, ...]:  # noqa: PLR0911  # one return for each operator reads as npm's own table
    partial = _PARTIAL.fullmatch(text)
    if not partial:
        raise BadVersion(f"version requirement '{whole}' is not an npm range at '{text}'")
    given = [
        None if part in (None, "x", "X", "*") else int(part)
        for part in partial.group("major", "minor", "patch")
    ]
    major, minor, patch = given
    low = Version(major or 0, minor or 0, patch or 0, partial.group("pre"))
    at_least, below = Comparator(">=", low), Comparator("<", _next(low, given))
    if major is None:
        return (Comparator(">=", Version(0)),)
    if operator == "^":
        return (at_least, Comparator("<", _next_breaking(low, given)))
    if operator in ("~", "~>"):
        return (at_least, Comparator("<", _next(low, [major, minor, None])))
    if None not in given:
        exact = "=" if operator in ("", "=", "==") else operator
        return (Comparator(exact, low),)
    if operator == ">":
        return (Comparator(">=", _next(low, given)),)
    if operator == "<=":
        return (below,)
    if operator in (">=", "<"):
        return (Comparator(operator, low),)
    return (at_least, below)


def _next(low: Version, given: list[int | None]) -> Version:
    """The first version after everything that the given parts cover."""
    if given[1] is None:
        return Version(low.major + 1)
    if given[2] is None:
        return Version(low.major, low.minor + 1)
    return Version(low.major, low.minor, low.patch + 1)


def _next_breaking(low: Version, given: list[int | None]) -> Version:
    """The first version that changes the leftmost part that isn't zero."""
    if low.major or given[1] is None:
        return Version(low.major + 1)
    if low.minor or given[2] is None:
        return Version(0, low.minor + 1)
    return Version(0, 0, low.patch + 1)
