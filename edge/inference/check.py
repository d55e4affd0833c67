"""Checks that the release on this device gives XGBoost's golden answers, bit for bit.

Greengrass calls a deployment successful only after the check succeeded. The check waits until the
release's own model answers. Until then there may be no service, the old release's service, or a
busy one. A different number from the right model fails the check at once.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from . import log
from .client import Client, Refused, asking
from .files import Golden, read_golden, read_samples
from .model import Answers, Prediction
from .protocol import Record
from .settings import Check, Exit, Nucleus

# An answer takes milliseconds, and a request may be lost: ask again soon. A service may also be
# slow, and a late answer doesn't count: wait longer with each request.
ANSWER_SECONDS, MORE = 0.5, 1.5
PAUSE_SECONDS = 0.25


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The result. `model` is the answering model; the last four are of the first differing row."""

    passed: bool
    message: str
    model: str | None = None
    row: int | None = None
    expected: Prediction | None = None
    got: Prediction | None = None
    difference: float | None = None  # The largest of several outputs.


def compare(golden: Golden, predictions: Answers) -> Verdict:
    """Compare bit for bit: -0.0 differs from 0.0."""
    if len(predictions) != len(golden.predictions):
        return Verdict(
            passed=False,
            model=golden.model,
            message=f"{len(predictions)} answers came to {len(golden.predictions)} rows",
        )
    pairs = zip(golden.predictions, predictions, strict=True)
    differing = [(row, *pair) for row, pair in enumerate(pairs) if not _same(*pair)]
    if not differing:
        return Verdict(
            passed=True,
            model=golden.model,
            message=f"model {golden.model} gave the golden answers to {len(predictions)} rows",
        )
    row, expected, got = differing[0]
    return Verdict(
        passed=False,
        model=golden.model,
        message=f"row {row}: XGBoost says {expected!r}, the device {got!r};"
        f" {len(differing)} of {len(predictions)} rows differ",
        row=row,
        expected=expected,
        got=got,
        difference=_difference(expected, got),
    )


def _same(expected: Prediction, got: Prediction) -> bool:
    return _bits(expected) == _bits(got)


def _bits(prediction: Prediction) -> bytes:
    numbers = _numbers(prediction)
    return struct.pack(f"{len(numbers)}d", *numbers)


def _difference(expected: Prediction, got: Prediction) -> float | None:
    pairs = zip(_numbers(expected), _numbers(got), strict=False)
    return max((there - here for here, there in pairs), key=abs, default=None)


def _numbers(prediction: Prediction) -> list[float]:
    return prediction if isinstance(prediction, list) else [prediction]


async def judge(
    client: Client, samples: Sequence[Sequence[Record]], golden: Golden, *, seconds: float
) -> Verdict:
    """Ask until the golden answers' model has answered every batch, or the time is over."""
    seen, model = "nobody was reached", None
    patience = ANSWER_SECONDS
    try:
        async with asyncio.timeout(seconds):
            while True:
                try:
                    answers = [await client.ask(rows, seconds=patience) for rows in samples]
                except TimeoutError:
                    seen, model = f"no answer within {patience:.1f} s", None
                    patience *= MORE
                except (Refused, ConnectionError) as exc:
                    seen, model = str(exc), None
                else:
                    strangers = {answer.model for answer in answers} - {golden.model}
                    if not strangers:
                        return compare(golden, [p for a in answers for p in a.predictions])
                    model = ", ".join(sorted(strangers))
                    seen = f"model {model} answered"
                await asyncio.sleep(PAUSE_SECONDS)
    except TimeoutError:
        return Verdict(
            passed=False,
            model=model,
            message=f"model {golden.model} did not answer within {seconds:.0f} s; last: {seen}",
        )


def check(options: Check, nucleus: Nucleus) -> Exit:
    """Run the check. The exit code is the result, and the last log line gives the reason."""
    samples, golden = read_samples(options.samples), read_golden(options.golden)
    verdict: Verdict = asyncio.run(
        asking(
            nucleus,
            options.channel,
            "check",
            lambda client, _: [judge(client, samples, golden, seconds=options.timeout)],
            model=golden.model,
            seconds=options.timeout,
        )
    )
    told = asdict(verdict)
    log.event("passed" if told.pop("passed") else "failed", **told)
    return Exit.DONE if verdict.passed else Exit.FAILED
