"""How long steps take, and how long they wait for data."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from dovetail.hooks.due import Due
from dovetail.hooks.durations import Durations
from dovetail.run.hooks import Hook, Run

_PERCENTILES = (50, 90, 99)


class StepTimes(Hook):
    """Measures each step: percentiles and a histogram to the event log, a line at the end.

    Curves: `step_time/p50`, `p90`, `p99`, `max` (seconds), `step_time/first` (the first step,
    which may compile; it is in no other number), `between_steps/p50` (data, saving, summaries and
    other hooks) and `data_wait/share` (of the time since the last point, where the run keeps
    goodput). The histogram is `step_time`. Costs two looks at the clock at each step. On an
    accelerator, where the host runs ahead, two events of the device's own clock are recorded
    (about 5 microseconds) and read where it is due; nothing waits between.

    Args:
      every_steps: write at every multiple of it; 100.
      every_secs: instead, write once in so many seconds.
      clock: seconds, never going back.

    Raises:
      ParamsError: an argument is out of range.

    Example:
      >>> hook = StepTimes(every_steps=500)
      >>> hook.steps.count, hook.steps.total
      (0, 0.0)
    """

    def __init__(
        self,
        *,
        every_steps: int | None = None,
        every_secs: float | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._due = Due("StepTimes", every_steps, every_secs)
        self._clock = clock
        self._restart()

    def _restart(self) -> None:
        self.steps, self.between = Durations(), Durations()
        self.first: float | None = None
        self._stamps: list[tuple[Any, Any]] = []  # (before, after) of steps not yet read
        self._gaps: list[float] = []
        self._started: Any = None
        self._ended: float | None = None
        self._since: tuple[float, float] | None = None  # clock, seconds of waiting for data

    def begin(self, run: Run) -> None:
        self._due.begin()
        self._restart()
        self._since = self._clock(), _waited(run)

    def before_step(self, run: Run) -> None:
        if self._ended is not None:
            self._gaps.append(self._clock() - self._ended)
        self._started = self._stamp(run.program.device)

    def after_step(self, run: Run, output: dict[str, Any]) -> None:
        self._stamps.append((self._started, self._stamp(run.program.device)))
        if self._due.after(run):
            self._write(run)
        self._ended = self._clock()

    def end(self, run: Run) -> None:
        self._write(run)
        if self.steps.count:
            p50, p90, p99 = (1e3 * self.steps.percentile(p) for p in _PERCENTILES)
            between = 1e3 * self.between.percentile(50)
            run.note(
                f"StepTimes: {self.steps.count} steps of {p50:.3g} ms (90% within {p90:.3g}, 99% "
                f"within {p99:.3g}), {between:.3g} ms between two; the first took "
                f"{1e3 * (self.first or 0):.3g} ms"
            )

    def _stamp(self, device: torch.device) -> Any:
        if device.type not in ("cuda", "xpu"):
            return self._clock()
        event = torch.Event(device.type, enable_timing=True)
        event.record()
        return event

    def _write(self, run: Run) -> None:
        """Read the stamps since the last time, which waits for the device, and write them."""
        stamps, self._stamps = self._stamps, []
        gaps, self._gaps = self._gaps, []
        times = _seconds(stamps)
        values: dict[str, float] = {}
        if times and self.first is None:
            self.first = values["step_time/first"] = times.pop(0)
        self.steps.add(times)
        self.between.add(gaps)
        if times:
            ordered = sorted(times)
            for percent in _PERCENTILES:
                values[f"step_time/p{percent}"] = _percentile(ordered, percent)
            values["step_time/max"] = ordered[-1]
        if gaps:
            values["between_steps/p50"] = _percentile(sorted(gaps), 50)
        if self._since is not None and run.goodput is not None and times:
            now, waited = self._clock(), _waited(run)
            then, before = self._since
            values["data_wait/share"] = (waited - before) / max(now - then, 1e-9)
            self._since = now, waited
        if run.writer is not None:
            run.writer.scalars(values, run.step)
            if times:
                import numpy as np

                run.writer.histogram("step_time", np.asarray(times), run.step)


def _seconds(stamps: list[tuple[Any, Any]]) -> list[float]:
    if not stamps or isinstance(stamps[0][0], float):
        return [after - before for before, after in stamps]
    stamps[-1][1].synchronize()
    return [before.elapsed_time(after) / 1e3 for before, after in stamps]


def _waited(run: Run) -> float:
    """Return how many seconds the run has waited for data so far."""
    return run.goodput.seconds.get("data", 0.0) if run.goodput is not None else 0.0


def _percentile(ordered: list[float], percent: int) -> float:
    """Return the value that so many percent of some do not exceed.

    >>> _percentile([1.0, 2.0, 3.0, 4.0], 50)
    2.0
    """
    return ordered[max(-(-len(ordered) * percent // 100) - 1, 0)] if ordered else 0.0
