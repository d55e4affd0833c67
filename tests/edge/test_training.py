"""The committed model, card and samples are what training writes, byte for byte."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import xgboost

from edge.inference.engines.booster import Booster
from edge.training import data, model

ROOT = Path(__file__).parents[2]
EDGE = ROOT / "edge"
TABLES = ROOT.parent / "shared" / "data"
FEATURES = (
    "fixed acidity",
    "volatile acidity",
    "citric acid",
    "residual sugar",
    "chlorides",
    "free sulfur dioxide",
    "total sulfur dioxide",
    "density",
    "pH",
    "sulphates",
    "alcohol",
    "color_red",
    "color_white",
)
needs_tables = pytest.mark.skipif(
    not all(data.table_path(TABLES, color).exists() for color in data.SHA256),
    reason="the wine-quality tables are not in ../shared/data, where only this test looks",
)


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edge.training", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


@needs_tables
def test_training_again_writes_the_committed_bytes(tmp_path: Path) -> None:
    done = run("--data", TABLES, "--output", tmp_path)
    assert done.returncode == 0, done.stderr
    written = [path.relative_to(tmp_path) for path in tmp_path.rglob("*.*")]
    assert len(written) == 4, "the model, its card and picture, the samples"
    for name in written:
        assert (tmp_path / name).read_bytes() == (EDGE / name).read_bytes(), (
            f"{name} isn't what training writes now: `make train DATA=FOLDER`, and commit it"
        )


@needs_tables
def test_the_file_is_the_one_that_save_model_writes(tmp_path: Path) -> None:
    booster = model.train(data.load(TABLES))
    booster.save_model(tmp_path / "model.json")
    assert (tmp_path / "model.json").read_bytes() == model.save(booster)


@needs_tables
def test_folds_that_keep_copies_together_beat_the_mean_but_do_not_flatter() -> None:
    ours, mean, _ = model.cross_validate(data.load(TABLES))
    assert ours.rmse < 0.85 * mean.rmse, "not worth a container"
    assert ours.rmse > 0.66, "so good only with copies of a row on both sides of the fold"


@needs_tables
def test_an_altered_table_is_refused_by_its_hash(tmp_path: Path) -> None:
    for color in data.SHA256:
        shutil.copyfile(data.table_path(TABLES, color), data.table_path(tmp_path, color))
    red = data.table_path(tmp_path, "red")
    red.write_bytes(red.read_bytes().replace(b"7.4", b"7.5", 1))
    done = run("--data", tmp_path, "--output", tmp_path)
    assert done.returncode == 1
    assert "is not the published table of red wines" in done.stderr
    assert not (tmp_path / "models").exists(), "nothing half-made stays"


def test_without_tables_the_message_names_the_files_and_where_to_get_them(tmp_path: Path) -> None:
    done = run("--data", tmp_path, "--output", tmp_path)
    assert done.returncode == 1
    needed = (
        "winequality-red.csv",
        "winequality-white.csv",
        "10.24432/C56S3T",
        "Cortez",
        "make train DATA=",
    )
    for part in needed:
        assert part in done.stderr
    assert "Traceback" not in done.stderr


def test_the_shipped_model_has_the_thirteen_features_in_their_order() -> None:
    shipped = Booster((EDGE / "models" / "wine-quality.json").read_bytes()).model
    assert shipped.feature_names == FEATURES
    assert shipped.trees == model.TREES
    assert not shipped.missing_allowed, "the tables have no missing values"


def test_the_card_is_about_the_shipped_model() -> None:
    content = (EDGE / "models" / "wine-quality.json").read_bytes()
    card = (EDGE / "models" / "wine-quality.md").read_text(encoding="utf-8")
    assert f"({len(content):,} bytes, sha256 `{hashlib.sha256(content).hexdigest()}`)" in card
    assert xgboost.__version__ in card
    for name, value in model.PARAMETERS.items():
        assert f"| {name} | {value} |" in card


def test_the_samples_are_six_wines_of_both_colors_with_the_models_features() -> None:
    records = json.loads((EDGE / "consumer" / "samples.json").read_bytes())
    assert [tuple(record) for record in records] == [FEATURES] * 6
    assert {record["color_red"] for record in records} == {0, 1}
    assert all(record["color_red"] + record["color_white"] == 1 for record in records)
