"""Draws the card's picture: the model's errors, and the importance of features.

The errors are on rows that training hasn't seen. The file has the same bytes on every run: letters
are paths, ids are salted, and there is no date.
"""

from __future__ import annotations

import io

import matplotlib
import numpy as np
import pandas as pd
import xgboost
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .data import TARGET

_BLUE, _GREY = "#2f6690", "#8a8f98"  # Colour-blind readers can tell them apart.
_REPRODUCIBLE = {"svg.hashsalt": "wine-quality", "svg.fonttype": "path", "font.size": 9}


def draw(table: pd.DataFrame, booster: xgboost.Booster, predicted: np.ndarray) -> bytes:
    """An SVG of three panels. `predicted` has a held-out prediction for each row of `table`."""
    quality = table[TARGET].to_numpy()
    with matplotlib.rc_context(_REPRODUCIBLE):
        figure = Figure(figsize=(11, 3.6), layout="constrained")
        residuals, by_quality, importance = figure.subplots(ncols=3, width_ratios=[1, 1, 1.1])
        _residuals(residuals, predicted - quality)
        _error_by_quality(by_quality, quality, predicted)
        _importance(importance, booster)
        for axes in (residuals, by_quality, importance):
            axes.spines[["top", "right"]].set_visible(False)
        picture = io.BytesIO()
        figure.savefig(picture, format="svg", metadata={"Date": None})
    return picture.getvalue()


def _residuals(axes: Axes, errors: np.ndarray) -> None:
    axes.hist(errors, bins=np.arange(-4, 4.25, 0.25).tolist(), color=_BLUE)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set(
        title="How far off (held-out rows)",
        xlabel="predicted - tasted, points",
        ylabel="wines",
    )


def _error_by_quality(axes: Axes, quality: np.ndarray, predicted: np.ndarray) -> None:
    scores = np.unique(quality)
    groups = [predicted[quality == score] for score in scores]
    axes.boxplot(
        groups,
        positions=scores,
        widths=0.6,
        showfliers=False,
        medianprops={"color": _BLUE, "linewidth": 2},
    )
    axes.plot(scores, scores, color=_GREY, linestyle="--", label="right")
    axes.set_xticks(
        scores, [f"{score}\n{len(group):,}" for score, group in zip(scores, groups, strict=True)]
    )
    axes.set(title="Predicted by tasted score", xlabel="tasted score, wines", ylabel="predicted")
    axes.legend(frameon=False)


def _importance(axes: Axes, booster: xgboost.Booster) -> None:
    gain = booster.get_score(importance_type="total_gain")
    names = sorted(booster.feature_names or [], key=lambda name: gain.get(name, 0.0))
    share = np.array([gain.get(name, 0.0) for name in names])
    axes.barh(names, share / share.sum() * 100, color=_BLUE)
    axes.set(title="What it looks at", xlabel="% of the gain of all splits")
