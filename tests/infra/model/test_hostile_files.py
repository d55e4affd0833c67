"""Damaged model files are refused in a line that names them, or accepted with XGBoost's answers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from infra.model.model_file import read
from infra.settings import Misconfigured
from tests.edge.test_older_versions import archive

ROOT = Path(__file__).parents[3]
REFUSED = ("refused", "refused by its layout", "ended by")


@pytest.mark.parametrize(
    ("seed", "count"), [(1, 120), pytest.param(2, 2_000, marks=pytest.mark.matrix)]
)
def test_a_damaged_file_is_refused_in_a_line_or_answers_as_xgboost_does(
    library: Path, tmp_path: Path, seed: int, count: int
) -> None:
    program = [sys.executable, "-m", "tests.infra.model.hostile"]
    done = subprocess.run(
        [*program, str(seed), str(count), library, tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    found = [json.loads(line) for line in done.stdout.splitlines()]
    outcomes = Counter(each["outcome"] for each in found)
    assert outcomes.total() == count
    kept = sorted(path.name for path in tmp_path.iterdir())
    wrong = [each for each in found if not each["outcome"].startswith(("equal", *REFUSED))]
    assert not wrong, f"{wrong}, in {tmp_path}: {kept}"
    assert outcomes["equal"] > count / 40, f"some damage does no harm: {outcomes}"
    assert outcomes["refused"] > count / 2, f"most does: {outcomes}"
    assert not [each for each in found if each["said"].count("\n") > 2]
    for name in kept:
        path = tmp_path / name
        if name.startswith("equal"):
            assert read(path, engine_name="evaluator", trees="all").file
            continue
        with pytest.raises(Misconfigured) as refused:
            read(path, engine_name="evaluator", trees="all")
        assert str(refused.value).startswith(f"model '{path}' "), outcomes
        assert str(refused.value).count("\n") < 4


def test_a_split_is_by_number_or_by_category(tmp_path: Path) -> None:
    """XGBoost reads every other split as a numeric split, and writes it again unchanged."""
    document = json.loads(archive("3.2.0")["categories"]["named-missing"]["model.json"])
    document["learner"]["gradient_booster"]["model"]["trees"][3]["split_type"][1] = -1
    path = tmp_path / "model.json"
    path.write_text(json.dumps(document))
    with pytest.raises(Misconfigured, match="tree 3 is broken: a split is neither"):
        read(path, engine_name="evaluator")
