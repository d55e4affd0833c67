"""Measures times whose ratios are reliable, even on a machine that others use.

Every round runs each candidate once, so a slow moment slows all of them. A ratio is the median of
the rounds' ratios, not the ratio of two measurements at different times.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

Call = Callable[[int], object]  # It gets a number that differs from call to call.

SLICE_SECONDS = 0.002  # For one candidate in one round: far longer than reading the clock.


@dataclass(frozen=True)
class Times:
    """Seconds a call, by candidate and round."""

    rounds: Mapping[str, list[float]]

    def median(self, name: str) -> float:
        return median(self.rounds[name])

    def times_faster(self, name: str, than: str) -> float:
        pairs = zip(self.rounds[than], self.rounds[name], strict=True)
        return median(theirs / ours for theirs, ours in pairs)


def interleaved(candidates: Mapping[str, Call], *, rounds: int) -> Times:
    """Time the candidates in turns, each for about SLICE_SECONDS a round."""
    calls = {name: _calls_in_a_slice(call) for name, call in candidates.items()}
    times: dict[str, list[float]] = {name: [] for name in candidates}
    number = 0
    for _ in range(rounds):
        for name, call in candidates.items():
            until = number + calls[name]
            began = time.perf_counter()
            while number < until:
                call(number)
                number += 1
            times[name].append((time.perf_counter() - began) / calls[name])
    return Times(times)


def _calls_in_a_slice(call: Call) -> int:
    calls, began = 0, time.perf_counter()
    while calls < 10 or time.perf_counter() - began < 10 * SLICE_SECONDS:  # This also warms it up.
        call(calls)
        calls += 1
    return max(1, round(calls * SLICE_SECONDS / (time.perf_counter() - began)))
