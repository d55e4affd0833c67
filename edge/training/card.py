"""Writes the model card. The same run measures every number in it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pandas as pd
import xgboost

from .data import CITATION, SHA256, TARGET
from .model import FOLDS, PARAMETERS, TREES, Score, feature_names


def write(table: pd.DataFrame, model: bytes, ours: Score, same: Score) -> str:
    """The card of `model`. `same` is the score of always predicting the mean."""
    quality, features = table[TARGET], feature_names(table)
    distinct = len(table.drop_duplicates(features))
    return (
        Path(__file__)
        .with_name("card.md")
        .read_text(encoding="utf-8")
        .format(
            bytes=len(model),
            sha256=hashlib.sha256(model).hexdigest(),
            citation=CITATION,
            hashes="\n".join(
                f"* winequality-{color}.csv, sha256 `{sha256}`" for color, sha256 in SHA256.items()
            ),
            rows=len(table),
            red=table["color_red"].sum(),
            white=table["color_white"].sum(),
            distinct=distinct,
            copies=len(table) - distinct,
            worst=quality.min(),
            best=quality.max(),
            mean=quality.mean(),
            middling=quality.between(5, 7).mean(),
            features=", ".join(features),
            xgboost=xgboost.__version__,
            trees=TREES,
            parameters="\n".join(f"| {name} | {value} |" for name, value in PARAMETERS.items()),
            folds=FOLDS,
            ours=ours,
            same=same,
        )
    )
