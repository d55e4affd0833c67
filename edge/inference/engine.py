"""The one place where a model file becomes something that answers."""

from __future__ import annotations

import bz2
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from . import forest
from .booster import Booster
from .files import MAX_FILE, UnusableFile, content
from .settings import Engine

MAX_MODEL = MAX_FILE  # unpacked, too: a hostile file of 1 kB unpacks to gigabytes
_PACKED = b"BZh"


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


def load(path: Path, engine: Engine) -> Evaluator:
    """What answers for the model in a file, packed or not; raises UnusableFile."""
    try:
        data = unpacked(content(path))
        if engine is Engine.XGBOOST:
            return Booster(data)
        return forest.Evaluator(forest.read(data))
    except forest.ModelRefused as exc:
        raise UnusableFile(f"{path}: {exc}") from exc
    except OSError as exc:  # of loading the library: reading a file has refusals of its own
        raise UnusableFile(
            f"engine {engine} can't be loaded: {exc}. The image is incomplete, or built for another"
            " architecture than this device's: see `architectures`, and publish it again"
        ) from exc


def unpacked(data: bytes) -> bytes:
    """The bytes that XGBoost wrote, which a release carries in bzip2; raises ModelRefused."""
    if not data.startswith(_PACKED):
        return data
    unpacking = bz2.BZ2Decompressor()
    try:
        model = unpacking.decompress(data, MAX_MODEL)
    except OSError as exc:
        raise forest.ModelRefused(f"the model is packed, and broken: {exc}. Copy it again") from exc
    if not unpacking.eof:
        if unpacking.needs_input:
            raise forest.ModelRefused("the model is packed, and cut off. Copy it again")
        raise forest.ModelRefused(
            f"the model unpacks to more than {MAX_MODEL} bytes. Train fewer or smaller trees"
        )
    return model
