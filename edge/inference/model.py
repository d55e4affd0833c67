"""The facts of a model that all evaluators share, and the errors of refused models."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from mmap import mmap
from reprlib import repr as short  # A hostile value may be as long as the file.

FLOAT32_MAX = 3.4028234663852886e38
# The author sets it: booster.set_attr(missing_values="allowed" or "refused").
MISSING_ATTRIBUTE = "missing_values"

Prediction = float | list[float]  # The answer to a row: one number, or several outputs.
Answers = Sequence[Prediction]


@dataclass(frozen=True, kw_only=True)
class Model:
    """What is needed to read a request and write an answer."""

    id: str  # The first 12 hex digits of the sha256 of the device's file, unpacked.
    feature_names: tuple[str, ...]
    # XGBoost's words: float, int, i (true or false), c (category), q.
    feature_types: tuple[str, ...]
    missing_allowed: bool
    outputs: int  # The numbers per row.
    trees: int
    objective: str = ""


class ModelRefused(ValueError):
    """A file can't be served exactly. The message says why, and what to do instead."""


class Unsupported(ModelRefused):
    """A valid file that only XGBoost itself can evaluate."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(
            f"{reason}.\nOr let XGBoost itself answer:\n    pulumi config set engine xgboost"
        )


def is_prediction(value: object) -> bool:
    """Whether a parsed JSON value is an answer to a row."""
    if isinstance(value, list):
        return bool(value) and all(isinstance(each, float) for each in value)
    return isinstance(value, float)


def by_row(numbers: list[float], outputs: int) -> Answers:
    """One row's numbers after the other, as the answers to the rows."""
    if outputs == 1:
        return numbers
    return [numbers[at : at + outputs] for at in range(0, len(numbers), outputs)]


def model_id(data: bytes | mmap | bytearray) -> str:
    """The id of a device's file, or of a model file, by its content."""
    return hashlib.sha256(data).hexdigest()[:12]


def missing_allowed(attributes: Mapping[str, str]) -> bool:
    """Whether the model allows missing values, by the author's attribute in the file.

    The trees can't tell, because every tree sends missing values somewhere, even if training never
    saw one. Without the attribute, a request that lacks a feature is refused.
    """
    said = attributes.get(MISSING_ATTRIBUTE, "refused")
    if said not in ("allowed", "refused"):
        raise ModelRefused(
            f"the model's attribute {MISSING_ATTRIBUTE} is {short(said)}, neither 'allowed' nor"
            f" 'refused'. Booster.set_attr({MISSING_ATTRIBUTE}='refused') and save it again"
        )
    return said == "allowed"
