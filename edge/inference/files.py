"""Reads and checks a component's files. A bad file is refused by its name (exit 65)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .model import Answers, is_prediction
from .protocol import Record, batches

MAX_FILE = 256 * 2**20  # In bytes. Reading takes a multiple of this.


class UnusableFile(Exception):
    """A model, samples or golden file can't be used; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Golden:
    """XGBoost's answers to the samples, and the model's id."""

    model: str
    predictions: Answers


def read_samples(path: Path) -> list[list[Record]]:
    """The sample records in batches that fit into a request."""
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
    """The file's bytes. Raises UnusableFile, also for more than MAX_FILE, without reading them."""
    try:
        size = path.stat().st_size
        if size > MAX_FILE:
            raise UnusableFile(
                f"{path} has {size} bytes, at most {MAX_FILE} are taken. Publish a smaller one"
            )
        return path.read_bytes()
    except OSError as exc:
        raise UnusableFile(f"{path}: {exc.strerror}. Is it mounted into the container?") from exc
