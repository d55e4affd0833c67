"""Quantiles from a histogram are close to the quantiles of the single durations."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.inference.stats import Latencies, Stats


@given(
    seconds=st.lists(st.floats(1e-6, 60), min_size=1, max_size=200),
    quantile=st.sampled_from([0.5, 0.99, 1.0]),
)
def test_a_quantile_is_right_to_a_twentieth(seconds: list[float], quantile: float) -> None:
    latencies = Latencies()
    for duration in seconds:
        latencies.add(duration)
    exact = sorted(seconds)[math.ceil(quantile * len(seconds)) - 1] * 1e3
    assert latencies.quantile_ms(quantile) == pytest.approx(exact, rel=0.05, abs=1e-4)


@pytest.mark.parametrize("seconds", [0.0, 1e-9, -1.0, 100.0, 1e9])
def test_a_duration_beyond_the_buckets_counts_for_the_last_one(seconds: float) -> None:
    latencies = Latencies()
    latencies.add(seconds)
    assert latencies.quantile_ms(0.5) is not None


def test_a_period_tells_how_quick_it_was_itself_and_the_summary_the_whole_life() -> None:
    stats = Stats()
    for _ in range(1000):
        stats.confirmed(0.001)
    assert stats.period()["p99_ms"] == pytest.approx(1, rel=0.05)
    for _ in range(5):
        stats.confirmed(1.0)
    slow = stats.period()
    assert (slow["replies"], slow["p50_ms"]) == (5, pytest.approx(1000, rel=0.05))
    assert stats.summary()["p99_ms"] == pytest.approx(1, rel=0.05)
    assert stats.period()["p50_ms"] is None


def test_before_the_first_request_there_is_no_latency_and_nothing_that_json_cant_say() -> None:
    summary = json.loads(json.dumps(Stats().summary(), allow_nan=False))
    assert summary["p50_ms"] is summary["p99_ms"] is None
    assert summary["requests"] == 0
