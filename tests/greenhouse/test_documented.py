"""docs/greenhouse.md names tests that there are, and every record is replayed or has its reason."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
DOCUMENT = (HERE.parents[1] / "docs" / "greenhouse.md").read_text()
CONFORMANCE = HERE / "device" / "conformance"
NOT_MODELLED: dict[str, str] = json.loads((CONFORMANCE / "not-modelled.json").read_text())
RECORDED = {"java": 30, "lite": 37}  # as many as were observed
REPLAYING = {
    "java": ("test_conformance", "test_ipc_conformance", "test_ipc_broker"),
    "lite": ("test_lite_conformance", "test_ipc_lite"),
}


def records(flavour: str) -> dict[str, dict[str, object]]:
    listed = json.loads((CONFORMANCE / f"{flavour}.json").read_text())
    return {record["id"]: record for record in listed}


def rows() -> list[tuple[str, ...]]:
    """Behaviour, source and test of each line of the tables."""
    lines = [line for line in DOCUMENT.splitlines() if line.startswith("| ")]
    cells = [tuple(cell.strip() for cell in line.strip("| ").split(" | ")) for line in lines]
    return [row for row in cells if row[0] not in ("behaviour", "---")]


def test_every_behaviour_has_a_source_and_a_test_that_there_is() -> None:
    assert len(rows()) > 50, "the tables are read"
    for behaviour, source, named in rows():
        assert source, behaviour
        file, test = named.strip("`").split("::")
        tree = ast.parse((HERE / file).read_text())
        tests = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        assert test in tests, f"{behaviour}: there is no {named}"


def test_every_record_that_is_named_is_there() -> None:
    known = {*records("java"), *records("lite")}
    for _, source, _ in rows():
        for name in re.findall(r"(?:java|lite)-[\w-]+", source):
            assert name in known or name.endswith("-"), f"{name} is no record"


@pytest.mark.parametrize("flavour", ["java", "lite"])
def test_every_record_is_replayed_or_has_a_reason_not_to_be(flavour: str) -> None:
    """A test replays those with deployments by their records' list, the others by their name."""
    known = records(flavour)
    left_out = [name for name in NOT_MODELLED if name.startswith(f"{flavour}-")]
    whole = [name for name in left_out if "/" not in name]
    assert len({*known, *whole}) == RECORDED[flavour]
    text = "".join((HERE / "device" / f"{file}.py").read_text() for file in REPLAYING[flavour])
    for name, record in known.items():
        deployed = "deployments" in record and f"{flavour}-ipc-" not in name
        assert deployed or name in text or name in NOT_MODELLED, f"{name} is neither"
    for name in left_out:
        first = name.partition("/")[0]
        assert first in {*known, f"{flavour}-frames"} or name in whole, f"{name}: no such record"
    assert all(NOT_MODELLED.values()), "each has its reason"
