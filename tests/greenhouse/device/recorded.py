"""The records of the real runtimes' behaviour, record by record and part by part.

A part is what one step of a record showed: a deployment, a component, a probe, a case, an exchange
of frames. Tests are parametrized with the parts that they replay. So test_documented.py knows,
without running them, which parts nobody replays.
"""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parent / "conformance"
RECORDS: dict[str, dict[str, Any]] = {
    record["id"]: record
    for file in ("java", "lite", "ml")
    for record in json.loads((FOLDER / f"{file}.json").read_text())
}
NOT_MODELLED: dict[str, str] = json.loads((FOLDER / "not-modelled.json").read_text())


def parts(record: str) -> dict[str, Any]:
    """`record/part` and its observation, in order. For `java-frames` the parts are exchanges."""
    if record.endswith("-frames"):
        steps = json.loads((FOLDER / f"{record}.json").read_text())
        exchanges = groupby(steps, key=lambda step: str(step["exchange"]))
        return {f"{record}/{name}": list(found) for name, found in exchanges}
    seen = RECORDS[record]
    found = {
        f"{record}/{key}": seen[key]
        for key in ("deployments", "result", "transcript")
        if key in seen
    }
    for one in seen.get("results", ()):
        name = f"{record}/{_name(one)}"
        assert name not in found, f"{name}: two parts of one name"
        found[name] = one
    deployed = seen["recipes"] if "deployments" in seen else []
    components = {one["ComponentName"] for one in deployed} | {*seen.get("stdout", ())}
    for component in sorted(components):
        printed = seen["stdout"].get(component, [])
        probes = [line for line in printed if isinstance(line, dict)]
        for probe in probes:
            found.setdefault(f"{record}/{component}/{probe['t']}", []).append(probe)
        if not probes:
            found[f"{record}/{component}"] = printed
    return found


def each(record: str, *names: str) -> list[Any]:
    """The parts whose names begin like this, as parameters of a test."""
    return [
        pytest.param(seen, id=part)
        for part, seen in parts(record).items()
        if part.removeprefix(f"{record}/").startswith(names or "")
    ]


def together(record: str, *names: str) -> list[Any]:
    """The same parts as one parameter: a dict of observations by part."""
    return [pytest.param({one.id: one.values[0] for one in each(record, *names)}, id=record)]


def _name(one: dict[str, Any]) -> str:
    if "case" in one or "op" in one:
        return str(one.get("case") or one["op"])
    sizes = [json.dumps(one[key]) for key in ("n", "depth", "sent") if key in one]
    return " ".join([one["t"], *sizes])
