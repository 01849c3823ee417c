"""Ending a run before a moment at which it would be killed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from dovetail.errors import ParamsError
from dovetail.hooks.arguments import positive
from dovetail.run.hooks import Hook, Run

_SLURM = "SLURM_JOB_END_TIME"


class StopBefore(Hook):
    """Ends the run so early that its state is saved before a given moment.

    It ends when the time left is no longer than the margin and the slowest time between two steps
    so far, saves and evaluations between them included (the first step, which may compile, left
    out). Costs a look at the clock at each step. On an accelerator the host runs ahead of the
    device by some steps, which the margin must cover.

    Args:
      when: an aware or local datetime, or seconds since 1970. None: the end of the job that
        Slurm tells in SLURM_JOB_END_TIME.
      margin_secs: how long saving and ending may take; 60.
      clock: seconds since 1970.
      environment: where the job's end is looked up.

    Raises:
      ParamsError: an argument is of another type or out of range, or no end is told.

    Example:
      >>> from datetime import timedelta
      >>> hook = StopBefore(datetime.now() + timedelta(hours=4), margin_secs=120)
      >>> hook.margin_secs
      120.0
    """

    def __init__(
        self,
        when: datetime | float | None = None,
        *,
        margin_secs: float = 60.0,
        clock: Callable[[], float] = time.time,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.margin_secs = positive(
            "StopBefore", "margin_secs", margin_secs, "seconds", or_zero=True
        )
        self.when = _moment(when, os.environ if environment is None else environment)
        self._clock = clock
        self._slowest = 0.0
        self._before: float | None = None

    def begin(self, run: Run) -> None:
        self._slowest, self._before = 0.0, None

    def after_step(self, run: Run, output: dict[str, Any]) -> None:
        now = self._clock()
        if self._before is not None:
            self._slowest = max(self._slowest, now - self._before)
        self._before = now
        left = self.when - now
        if left <= self.margin_secs + self._slowest:
            run.request_stop(
                f"StopBefore: {max(left, 0):.0f} seconds are left, and a step with what comes "
                f"between steps took up to {self._slowest:.1f}"
            )


def _moment(when: Any, environment: Mapping[str, str]) -> float:
    if isinstance(when, datetime):
        return when.timestamp()
    if when is not None:
        return positive("StopBefore", "when", when, "seconds since 1970")
    told = environment.get(_SLURM)
    if told is None:
        raise ParamsError(
            f"hooks.StopBefore: no moment is given, and {_SLURM} is not set. Give `when`, or "
            "StopAfter for a time from now on."
        )
    if not told.isdigit():
        raise ParamsError(
            f"hooks.StopBefore: {_SLURM}={told!r}; it must be seconds since 1970. Give `when`."
        )
    return float(told)
