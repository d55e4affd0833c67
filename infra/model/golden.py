"""Asks XGBoost itself for the golden answers, which a device must reproduce bit for bit.

It also compares the author's own predictions with them. A model that was stopped early is refused
until the author has said which of its trees count.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.inference.model import Answers, by_row, model_id
from edge.inference.settings import Engine
from infra.model import samples
from infra.model.model_file import Reading, read
from infra.settings import Misconfigured

PROBABILITIES = ("binary:logistic", "multi:softprob")  # Their predict() returns only the class.


@dataclass(frozen=True, kw_only=True)
class Golden:
    """A release's samples and golden answers. Predictions are the float64 of XGBoost's float32."""

    model: str
    samples: list[samples.Record]
    predictions: Answers
    file: bytes  # The model's file for the device.

    def document(self) -> dict[str, Any]:
        """The content of golden.json, which com.ml.check reads."""
        return {"model": self.model, "predictions": self.predictions}


def golden(
    model: Path,
    questions: Path,
    engine_name: str = Engine.EVALUATOR,
    trees: str = "",
    predictions: Path | None = None,
) -> Golden:
    """Ask XGBoost. Raises Misconfigured for a model or samples that a device can't use."""
    found = read(model, engine_name=engine_name, trees=trees)
    if found.best is not None and not trees:
        raise Misconfigured(
            f"model '{model}' was stopped early: the best of its {found.rounds} rounds is number"
            f" {found.best}.",
            f"XGBRegressor and XGBClassifier answer with the first {found.best}, Booster.predict"
            " with all. Say which:",
            "pulumi config set trees best",
            "pulumi config set trees all",
        )
    records = samples.read(questions, found.model)
    asked = read(model, engine_name=engine_name, trees=trees, rows=samples.packed(records))
    answers = by_row(list(asked.predictions), asked.model.outputs)
    for row, answer in enumerate(answers):
        for number in answer if isinstance(answer, list) else [answer]:
            if not math.isfinite(number):
                raise Misconfigured(
                    f"samples '{questions}', row {row}: XGBoost answers {number}.",
                    "JSON has no such number. Take a row nearer to those that the model was trained"
                    " with.",
                )
    if predictions:
        compare(predictions, answers, asked)
    return Golden(model=model_id(asked.file), samples=records, predictions=answers, file=asked.file)


def compare(path: Path, answers: Answers, reading: Reading) -> None:
    """Raise Misconfigured if the author's own predictions differ from XGBoost's here."""
    try:
        theirs = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise Misconfigured(
            f"predictions '{path}' can't be read as JSON: {error}",
            "Write them in Python, with predict_proba for probabilities:",
            "json.dump(model.predict(X).tolist(), file)",
        ) from error
    if not isinstance(theirs, list) or len(theirs) != len(answers):
        count = f"a list of {len(theirs)}" if isinstance(theirs, list) else "no list"
        raise Misconfigured(
            f"predictions '{path}' is {count}, and the samples have {len(answers)} rows.",
            "Write the predictions for these very rows:",
            "json.dump(model.predict(X).tolist(), file)",
        )
    differing = [
        row
        for row, (said, answer) in enumerate(zip(theirs, answers, strict=True))
        if _bits(_unwrapped(said, reading)) != _bits(answer)
    ]
    if differing:
        row = differing[0]
        raise Misconfigured(
            f"predictions '{path}', row {row}: the author's model says {theirs[row]!r}, XGBoost"
            f" says {answers[row]!r} here. {len(differing)} of {len(answers)} rows differ.",
            "\n".join(
                ["Likely causes, the likeliest first:"]
                + [f"  * {cause}" for cause in _causes(theirs, reading)]
            ),
        )


def _unwrapped(said: Any, reading: Reading) -> Any:
    """predict_proba gives both classes' probabilities; XGBoost gives only the second."""
    if isinstance(said, list) and reading.model.outputs == 1 and len(said) in (1, 2):
        return said[-1]
    return said


def _bits(answer: Any) -> bytes | None:
    """The bits of its float32s: 0.1 is then the same, printed from a float32 or a float64."""
    numbers = answer if isinstance(answer, list) else [answer]
    try:
        return struct.pack(f"{len(numbers)}f", *numbers)
    except (struct.error, OverflowError, TypeError):
        return None


def _causes(theirs: Sequence[Any], reading: Reading) -> list[str]:
    """The possible causes of a difference, the likeliest first."""
    objective, causes = reading.model.objective, []
    whole = all(isinstance(said, int | float) and float(said).is_integer() for said in theirs)
    if whole and objective in PROBABILITIES:
        causes.append("those are the classes of predict(): hand over predict_proba(X)")
    if reading.best is not None:
        causes.append(
            f"early stopping: they come from the best {reading.best} rounds in place of all"
            f" {reading.rounds}, or the other way round:\n    pulumi config set trees all\n"
            "    pulumi config set trees best"
        )
    if reading.booster == "dart":
        causes.append(
            "scikit-learn's predict adds up dart's trees in another way: hand over"
            " model.get_booster().predict(xgboost.DMatrix(X))"
        )
    causes.append("a missing value other than NaN, which no file says: write it as null")
    causes.append("samples that pandas rounded: df.to_json(…, double_precision=15) rounds less")
    causes.append("a base_margin, which no file has")
    causes.append("another version of XGBoost, or a graphics card, in the last digits")
    return causes
