"""Ending a run after some time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from dovetail.errors import ParamsError
from dovetail.hooks.arguments import positive
from dovetail.hooks.stop_before import StopBefore
from dovetail.run.hooks import Hook, Run


class StopAfter(Hook):
    """Ends the run so early that its state is saved within a time from its begin.

    Costs a look at the clock at each step; `StopBefore` says when it ends.

    Args:
      hours, minutes, secs: the time, summed.
      margin_secs: how long saving and ending may take; 60, but at most a tenth of the time.
      clock: seconds, never going back.

    Raises:
      ParamsError: no time is given, or the margin leaves none of it.

    Example:
      >>> StopAfter(hours=3, minutes=30).secs
      12600.0
    """

    def __init__(
        self,
        *,
        hours: float = 0.0,
        minutes: float = 0.0,
        secs: float = 0.0,
        margin_secs: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        given = {"hours": (hours, 3600), "minutes": (minutes, 60), "secs": (secs, 1)}
        self.secs = sum(
            positive("StopAfter", name, value, name, or_zero=True) * unit
            for name, (value, unit) in given.items()
        )
        if self.secs == 0:
            raise ParamsError("hooks.StopAfter: give a time, such as StopAfter(hours=4).")
        if margin_secs is None:
            margin_secs = min(60.0, self.secs / 10)
        self.margin_secs = positive(
            "StopAfter", "margin_secs", margin_secs, "seconds", or_zero=True
        )
        if self.margin_secs >= self.secs:
            raise ParamsError(
                f"hooks.StopAfter: margin_secs={self.margin_secs:g} leaves nothing of the "
                f"{self.secs:g} seconds that the run may take."
            )
        self._clock = clock
        self._deadline: StopBefore | None = None

    def begin(self, run: Run) -> None:
        self._deadline = StopBefore(
            max(self._clock() + self.secs, 1e-9), margin_secs=self.margin_secs, clock=self._clock
        )

    def after_step(self, run: Run, output: dict[str, Any]) -> None:
        assert self._deadline is not None
        self._deadline.after_step(run, output)
