"""Models that older versions of XGBoost saved: the answers that they gave there, or a refusal.

Each folder of models/ is named for the version that trained and saved what is in it. `said.json`
has rows of thresholds and their neighbours, and what the author's own model answered to them:
predict of XGBRegressor, predict_proba of XGBClassifier, Booster.predict for dart.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edge.inference.engines import forest
from edge.inference.engines.booster import Booster
from tests.edge.compiling import compiled
from tests.edge.rows import assert_same_bits

SAVED = sorted(
    path for path in (Path(__file__).parent / "models").glob("*/*") if "said" not in path.name
)


@pytest.mark.parametrize("path", SAVED, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_the_device_answers_as_the_version_that_saved_the_model(library: Path, path: Path) -> None:
    said = json.loads(path.with_name(f"{path.stem}.said.json").read_text())
    file = compiled(path.read_bytes(), trees="best")
    answers = np.array(forest.Evaluator(file, library).predict(said["rows"]))
    theirs = np.array(said["said"])
    if path.stem == "binary":  # the model answers with the second class's probability
        theirs = theirs[:, 1]
    assert_same_bits(answers, theirs)


def test_every_kind_of_each_version_is_there() -> None:
    kinds = ("binary", "dart", "early-stopped", "regressor", "softprob")
    names = [f"{kind}.{form}" for kind in kinds for form in ("json", "ubj")]
    for version in ("1.7.6", "2.1.4", "3.0.5"):
        assert [path.name for path in SAVED if path.parent.name == version] == names


def test_the_early_stopped_models_have_rounds_beyond_the_best() -> None:
    for path in SAVED:
        if path.stem == "early-stopped":
            booster = Booster(path.read_bytes())
            assert int(booster.attributes["best_iteration"]) + 1 < booster.rounds()
