"""The one place where a model file becomes something that answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from . import forest
from .files import UnusableFile, content


class Model(Protocol):
    """What its users have to know of a model, whatever evaluates it."""

    @property
    def id(self) -> str: ...
    @property
    def feature_names(self) -> tuple[str, ...]: ...
    @property
    def missing_allowed(self) -> bool: ...
    @property
    def trees(self) -> int: ...


class Evaluator(Protocol):
    """Rows of values in the features' order in, the float64 of each answer's float32 out.

    One thread at a time calls it, not always the same one.
    """

    @property
    def model(self) -> Model: ...
    def predict(self, rows: Sequence[Sequence[float]]) -> list[float]: ...


def load(path: Path) -> Evaluator:
    """What answers for the model in a file; raises UnusableFile."""
    try:
        return forest.Evaluator(forest.read(content(path)))
    except forest.ModelRefused as exc:
        raise UnusableFile(f"{path}: {exc}") from exc
