"""Models saved by XGBoost 1.7 to 3.2: their authors' own answers bit for bit, or a refusal.

kinds x {json, ubj} x {named, unnamed} x {missing, not} x {early stopped, not}. save_models.py made
them, and says what is in an archive.
"""

from __future__ import annotations

import base64
import json
import tarfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edge.inference.engines import forest
from infra.model.model_file import read
from infra.model.xgboost_process import answer
from infra.settings import Misconfigured
from tests.edge.rows import assert_same_bits

MODELS = Path(__file__).parent / "models"
REFUSED = ("linear", "vector-leaves")
ALWAYS = ("binary", "categories")
NAMES = {"named": ("width", "age (s)", "größe"), "unnamed": ("f0", "f1", "f2")}
LATER = {"quantile", "quantiles", "vector-leaves"}  # These came with XGBoost 2.0.


@cache
def archive(version: str) -> dict[str, dict[str, dict[str, bytes]]]:
    """Files by kind and cell."""
    found: dict[str, dict[str, dict[str, bytes]]] = {}
    with tarfile.open(MODELS / f"{version}.tar.xz") as opened:
        for member in opened:
            kind, cell, name = member.name.split("/")
            file = opened.extractfile(member)
            assert file is not None
            found.setdefault(kind, {}).setdefault(cell, {})[name] = file.read()
    return found


def numbers(text: str) -> NDArray[Any]:
    return np.frombuffer(base64.b64decode(text), "<f4")


VERSIONS = ("1.7.6", "2.1.4", "3.0.5", "3.2.0")
KINDS = [(version, kind) for version in VERSIONS for kind in archive(version)]


@pytest.mark.parametrize(
    ("version", "kind"),
    [
        pytest.param(*each, marks=() if each[1] in ALWAYS else pytest.mark.matrix)
        for each in KINDS
        if each[1] not in REFUSED
    ],
)
def test_the_device_answers_as_the_author_s_own_model_did(
    library: Path, version: str, kind: str
) -> None:
    for cell, files in archive(version)[kind].items():
        said = json.loads(files["cell.json"])
        rows = numbers(said["rows"]).reshape(-1, 3).tolist()
        for form in ("json", "ubj"):
            data = files[f"model.{form}"]
            early = cell.endswith("early")
            for trees in ("best", "all"):
                asked = {"engine": "evaluator", "trees": trees}
                found, file = answer(data, asked, b"")
                assert (found["best"] is not None) == early, "a preview asks which trees"
                evaluator = forest.Evaluator(bytearray(file), library)
                if trees == "best" and said["by"] == "booster" and early:
                    continue  # Its author has Booster.predict with all trees.
                wanted = "said" if trees == "best" or not early else "all"
                answers = np.array(evaluator.predict(rows))
                assert_same_bits(answers, numbers(said[wanted]).reshape(answers.shape))
                assert evaluator.model.feature_names == NAMES[cell.split("-")[0]]
                assert evaluator.model.missing_allowed is ("missing" in cell)


@pytest.mark.parametrize(("version", "kind"), [each for each in KINDS if each[1] in REFUSED])
def test_a_model_that_the_evaluator_can_t_answer_for_is_refused_with_a_remedy(
    tmp_path: Path, version: str, kind: str
) -> None:
    """Vector leaves of older versions end the process around XGBoost, which refuses the file."""
    files = archive(version)[kind]["named-complete"]
    for form in ("json", "ubj"):
        path = tmp_path / f"model.{form}"
        path.write_bytes(files[path.name])
        crashes = kind == "vector-leaves" and version != "3.2.0"
        remedy = "'one_output_per_tree'" if crashes else "pulumi config set engine xgboost"
        with pytest.raises(Misconfigured, match=remedy) as refused:
            read(path, engine_name="evaluator")
        assert str(path) in str(refused.value)
        command = str(refused.value).splitlines()[-1]
        assert command.startswith("    "), "it stands on a line of its own"


def test_every_cell_of_each_version_is_there() -> None:
    kinds = {version: set(archive(version)) for version in VERSIONS}
    assert kinds["2.1.4"] == kinds["3.0.5"] == kinds["3.2.0"] == kinds["1.7.6"] | LATER
    assert len(kinds["3.2.0"]) == 28
    for version, kind in KINDS:
        cells = archive(version)[kind]
        assert len(cells) == (4 if kind == "linear" else 8)
        for files in cells.values():
            assert set(files) == {"cell.json", "model.json", "model.ubj"}
            written = json.loads(files["model.json"])["version"]
            assert ".".join(map(str, written)) == version


def test_the_rows_are_hard_and_have_missing_values_where_they_may() -> None:
    for version, kind in KINDS:
        for cell, files in archive(version)[kind].items():
            rows = numbers(json.loads(files["cell.json"])["rows"])
            assert np.isnan(rows).any() == ("missing" in cell)
            assert len(rows) >= 3 * 10
