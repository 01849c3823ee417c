"""Which of two values of a metric is the better one."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any, Literal

BestIs = Literal["auto", "higher", "lower"]

_LOWER = ("loss", "error", "perplexity", "mse", "mae", "false_")


def lower_is_better(metric: str, best_is: str = "auto") -> bool:
    """Whether less of a metric is better; "auto" judges by its name.

    Args:
      metric: its name.
      best_is: "higher", "lower", or "auto": lower for a loss, an error or a perplexity.

    >>> lower_is_better("rmse"), lower_is_better("valid/loss"), lower_is_better("accuracy")
    (True, True, False)
    """
    if best_is != "auto":
        return best_is == "lower"
    return any(word in metric.lower() for word in _LOWER)


def comparable(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers among metrics as an event log holds them: rounded to float32.

    A restarted run knows those before it from there, and has to judge as one that was not.

    >>> comparable({"loss": 0.1, "global_step": 3, "per_class": [0.5]})
    {'loss': 0.10000000149011612}
    """
    return {
        name: struct.unpack("<f", struct.pack("<f", value))[0] if abs(value) < 3.4e38 else value
        for name, value in metrics.items()
        if isinstance(value, float)
    }


def better(new: float, old: float, *, lower: bool, min_delta: float = 0.0) -> bool:
    """Whether a value is better than another by more than `min_delta`; a nan never is.

    >>> better(0.5, 0.4, lower=False), better(float("nan"), 0.4, lower=False)
    (True, False)
    """
    if new != new or old != old:
        return new == new
    return new < old - min_delta if lower else new > old + min_delta
