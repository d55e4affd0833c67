"""docs/what-greenhouse-models.md names real tests, and each recorded part is tested or excused."""

from __future__ import annotations

import ast
import importlib
import re
from inspect import isfunction
from pathlib import Path
from typing import Any

import pytest

from tests.greenhouse.device import test_conformance, test_lite_conformance
from tests.greenhouse.device.recorded import NOT_MODELLED, RECORDS, parts

HERE = Path(__file__).parent
DOCUMENT = (HERE.parents[1] / "docs" / "what-greenhouse-models.md").read_text()
RECORDED = 122  # As many were observed.
FRAMES = ("java-frames", "lite-frames")
REPLAYING = (
    "test_conformance",
    "test_lite_conformance",
    "test_release_conformance",
    "test_engine",
    "ipc.test_ipc_conformance",
    "ipc.test_ipc_broker",
    "ipc.test_ipc_lite",
)
DEPLOYED = {*test_conformance.REPLAYED, *test_lite_conformance.REPLAYED}
NOT_COMPARED = {
    f"{record}/{component}"
    for module in (test_conformance, test_lite_conformance)
    for record, components in module.NOT_COMPARED.items()
    for component in components
}


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
    for _, source, _ in rows():
        for name in re.findall(r"(?:java|lite)-[\w-]+", source):
            assert name in RECORDS or name.endswith("-"), f"{name} is no record"


def replayed() -> set[str]:
    """The parts that tests are parametrized with. A deployment counts with its components."""
    found: set[str] = set()
    for name in REPLAYING:
        for test in vars(importlib.import_module(f"tests.greenhouse.device.{name}")).values():
            for mark in getattr(test, "pytestmark", ()) if isfunction(test) else ():
                if mark.name == "parametrize":
                    found |= {part for one in mark.args[1] for part in named_by(one)}
    return found


def named_by(parameter: Any) -> set[str]:
    """A parameter is a deployed record, or it has a part's id, or it is a dict of parts."""
    if isinstance(parameter, str) and parameter in DEPLOYED:
        return {*parts(parameter)} - NOT_COMPARED
    if not isinstance(parameter, type(pytest.param())):
        return set()
    together = [one for one in parameter.values if isinstance(one, dict)]
    named = {str(parameter.id), *(str(part) for one in together for part in one)}
    return {part for part in named if part.startswith(("java-", "lite-")) and "/" in part}


def test_every_part_of_every_record_is_replayed_or_has_a_reason_not_to_be() -> None:
    assert len(RECORDS) == RECORDED
    known = {part: record for record in (*RECORDS, *FRAMES) for part in parts(record)}
    assert replayed() <= {*known}, "there is no such part"
    missing = {*known} - replayed() - {*NOT_MODELLED}
    assert not {part for part in missing if known[part] not in NOT_MODELLED}, "neither"
    assert {*NOT_MODELLED} <= {*known, *RECORDS}, "there is no such record or part"
    assert {*NOT_MODELLED} >= NOT_COMPARED, "not compared, and no reason given"
    assert all(NOT_MODELLED.values()), "each has its reason"
