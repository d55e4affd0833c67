"""Finds the rights and the public access that a preview changes, as sentences.

A statement with two actions on two resources is four rights. Rights are compared, so a reordered
policy changes nothing. An object's key has a hash of its content. The same file with other content
is the same right.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fleet.plan.preview import MASKED, UNKNOWN, Preview, Resource

_BLOCKS = ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")
_HIDDEN = {UNKNOWN: "is known only after the update", MASKED: "is a secret, and not compared"}
_HASH = re.compile(r"\b[0-9a-f]{16,}\b")


@dataclass(frozen=True, kw_only=True, order=True)
class Right:
    """A right that is given or taken away."""

    who: str
    what: str
    given: bool  # False if it is taken away.
    widens: bool  # An Allow is given, or a Deny is taken away.
    public: bool = False  # Everyone has it.


def changes(preview: Preview) -> tuple[Right, ...]:
    """Changed rights of roles, buckets and repositories."""
    found: set[Right] = set()
    for one in preview.resources:
        if not one.changes or not one.type.startswith("aws:"):  # Ours have only a policy's name.
            continue
        if one.type.endswith(":BucketPublicAccessBlock"):
            found |= set(_lifted(one, whole=preview.destroys))
        elif hidden := [side for side in (one.before, one.after) if side.get("policy") in _HIDDEN]:
            what = _HIDDEN[hidden[-1]["policy"]]
            found.add(Right(who=_who(one.after or one.before), what=what, given=True, widens=True))
        else:
            before, after = _rights(one.before), _rights(one.after)
            for who, what in before.keys() ^ after.keys():
                statement = before.get((who, what)) or after[who, what]
                given = (who, what) in after
                found.add(
                    Right(
                        who=who,
                        what=what,
                        given=given,
                        widens=given == (statement["Effect"] == "Allow") and not preview.destroys,
                        public=given and _is_public(statement),
                    )
                )
    return tuple(sorted(found))


def on_the_device(
    before: Mapping[str, Any] | None, after: Mapping[str, Any] | None
) -> tuple[Right, ...]:
    """Changed IPC rights of one component, from its recipes; None means no component."""
    stood, stands = _topics(before), _topics(after)
    name = str((after or before or {}).get("ComponentName", ""))
    return tuple(
        Right(who=name, what=what, given=what in stands, widens=what in stands)
        for what in sorted(stood ^ stands)
    )


def _topics(recipe: Mapping[str, Any] | None) -> set[str]:
    configuration = (recipe or {}).get("ComponentConfiguration", {})
    control = configuration.get("DefaultConfiguration", {}).get("accessControl", {})
    return {
        f"{operation} on {resource}"
        for policies in control.values()
        for policy in policies.values()
        for operation in policy.get("operations", [])
        for resource in policy.get("resources", [])
    }


def _who(inputs: Mapping[str, Any]) -> str:
    kinds = [kind for kind in ("role", "bucket", "repository") if kind in inputs]
    return f"{kinds[0]} {inputs[kinds[0]]}" if kinds else "an unnamed policy"


def _rights(inputs: Mapping[str, Any]) -> dict[tuple[str, str], Mapping[str, Any]]:
    """Each right as its holder and a sentence, with its statement."""
    text = inputs.get("policy")
    statements = json.loads(text).get("Statement", []) if isinstance(text, str) else []
    who = _who(inputs)
    return {(who, what): statement for statement in statements for what in _sentences(statement)}


def _sentences(statement: Mapping[str, Any]) -> Iterator[str]:
    condition = statement.get("Condition")
    behind = f" if {json.dumps(condition, sort_keys=True)}" if condition else ""
    whom = f" to {json.dumps(statement['Principal'])}" if "Principal" in statement else ""
    for action in _listed(statement.get("Action", "?")):
        for resource in _listed(statement.get("Resource", "?")):
            yield f"{statement['Effect']} {action}{whom} on {_short(resource)}{behind}"


def _short(text: str) -> str:
    return _HASH.sub("…", text)


def _listed(value: Any) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list) else [str(value)]


def _is_public(statement: Mapping[str, Any]) -> bool:
    principal = statement.get("Principal")
    named = principal.values() if isinstance(principal, dict) else [principal]
    return statement["Effect"] == "Allow" and any("*" in _listed(whom) for whom in named)


def _lifted(one: Resource, *, whole: bool) -> Iterator[Right]:
    """Lost public-access blocks of a bucket, unless the bucket is also deleted."""
    for flag in _BLOCKS:
        if one.before.get(flag) is True and one.after.get(flag) is not True and not whole:
            yield Right(
                who=f"bucket {one.before.get('bucket')}",
                what=f"{flag} is lifted",
                given=True,
                widens=True,
                public=True,
            )
