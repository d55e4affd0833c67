"""The files a component is given: read whole, checked, and refused by name (exit 65)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .model import Answers, is_prediction
from .protocol import Record, batches

MAX_FILE = 256 * 2**20  # bytes; reading it takes a multiple of them


class UnusableFile(Exception):
    """A model, samples or golden answers that can't be used, and why."""


@dataclass(frozen=True, kw_only=True)
class Golden:
    """What XGBoost itself answers to the samples, and the model that it asked."""

    model: str
    predictions: Answers


def read_samples(path: Path) -> list[list[Record]]:
    """The sample records in runs that a request carries."""
    records = _parsed(path)
    if (
        not isinstance(records, list)
        or not records
        or not all(isinstance(record, dict) for record in records)
    ):
        raise UnusableFile(f"{path} is not a list of at least one record")
    try:
        return list(batches(records))
    except ValueError as exc:
        raise UnusableFile(f"{path}: {exc}") from exc


def read_golden(path: Path) -> Golden:
    found = _parsed(path)
    try:
        golden = Golden(model=found["model"], predictions=found["predictions"])
    except (LookupError, TypeError) as exc:
        raise UnusableFile(f'{path} is not {{"model": …, "predictions": […]}}') from exc
    numbers = isinstance(golden.predictions, list) and all(map(is_prediction, golden.predictions))
    if not isinstance(golden.model, str) or not numbers:
        raise UnusableFile(f'{path} is not {{"model": text, "predictions": floats}}')
    return golden


def _parsed(path: Path) -> Any:
    try:
        return json.loads(content(path))
    except (ValueError, RecursionError) as exc:
        raise UnusableFile(f"{path} is not JSON: {exc}") from exc


def content(path: Path) -> bytes:
    """The file's bytes; raises UnusableFile, also for more than MAX_FILE, without reading them."""
    try:
        size = path.stat().st_size
        if size > MAX_FILE:
            raise UnusableFile(
                f"{path} has {size} bytes, at most {MAX_FILE} are taken. Publish a smaller one"
            )
        return path.read_bytes()
    except OSError as exc:
        raise UnusableFile(f"{path}: {exc.strerror}. Is it mounted into the container?") from exc
