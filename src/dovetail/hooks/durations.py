"""Percentiles of many durations in little memory."""

from __future__ import annotations

import math
from collections.abc import Sequence

_STEP = math.log(1.02)


class Durations:
    """Counts of durations in buckets that are 2 percent wide: percentiles to within 1 percent.

    >>> kept = Durations()
    >>> kept.add([0.1] * 98 + [0.5, 1.0])
    >>> [round(kept.percentile(p), 2) for p in (50, 99, 100)]
    [0.1, 0.5, 1.0]
    """

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self.count = 0
        self.total = 0.0

    def add(self, seconds: Sequence[float]) -> None:
        """Count durations."""
        for one in seconds:
            bucket = round(math.log(max(one, 1e-9)) / _STEP)
            self._counts[bucket] = self._counts.get(bucket, 0) + 1
        self.count += len(seconds)
        self.total += sum(seconds)

    def percentile(self, percent: float) -> float:
        """Return the duration that so many percent do not exceed; nan where there is none."""
        rank, seen = math.ceil(self.count * percent / 100), 0
        for bucket, count in sorted(self._counts.items()):
            seen += count
            if seen >= rank:
                return math.exp(bucket * _STEP)
        return math.nan
