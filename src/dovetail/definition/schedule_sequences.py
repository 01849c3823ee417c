"""Schedules made of schedules: a warm-up before one, and several one after the other."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from dovetail.definition.schedule_curves import Constant, Schedule, check_steps
from dovetail.errors import ParamsError


@dataclass(frozen=True)
class WarmUp:
    """Rise to a schedule's first rate in equal parts, then follow the schedule from its step 0.

    The n warm-up steps have 1/n, 2/n, ..., n/n of the first rate, so that none is lost to a
    rate of 0.

    Args:
      schedule: the schedule that follows; a number stands for `Constant`.
      steps: how many steps the rise takes.

    >>> [WarmUp(0.4, steps=4)(step) for step in (0, 1, 3, 4)]
    [0.1, 0.2, 0.4, 0.4]
    """

    schedule: Schedule
    steps: int

    def __init__(self, schedule: Schedule | float, steps: int) -> None:
        object.__setattr__(self, "schedule", as_schedule("WarmUp", schedule))
        object.__setattr__(self, "steps", steps)
        check_steps("WarmUp", "steps", steps)

    def __call__(self, step: int) -> float:
        if step < self.steps:
            return self.schedule(0) * ((step + 1) / self.steps)
        return self.schedule(step - self.steps)


@dataclass(frozen=True)
class Sequential:
    """Schedules one after the other; each counts its own steps from 0.

    Args:
      parts: pairs of (schedule, steps); a number stands for `Constant`. The last part's steps
        are None: it goes on for ever.

    >>> from dovetail.definition.schedules import Exponential, Linear
    >>> schedule = Sequential([(Linear(0.0, 2, 1.0), 2), (Exponential(1.0, 1, 0.5), None)])
    >>> [schedule(step) for step in range(5)]
    [0.0, 0.5, 1.0, 0.5, 0.25]
    """

    parts: tuple[tuple[Schedule, int | None], ...]

    def __init__(self, parts: Iterable[tuple[Schedule | float, int | None]]) -> None:
        pairs = tuple((as_schedule("Sequential", part), steps) for part, steps in parts)
        object.__setattr__(self, "parts", pairs)
        if not pairs:
            raise ParamsError("Sequential: no parts were given. Give pairs of (schedule, steps).")
        if pairs[-1][1] is not None:
            raise ParamsError(
                f"Sequential: the last part has steps={pairs[-1][1]!r}, but nothing follows it. "
                "Give None for its steps."
            )
        for _, steps in pairs[:-1]:
            check_steps("Sequential", "the steps of each part but the last", steps)

    def __call__(self, step: int) -> float:
        for schedule, steps in self.parts:
            if steps is None or step < steps:
                return schedule(step)
            step -= steps
        raise AssertionError("the last part has no end")


def as_schedule(owner: str, value: Schedule | float) -> Schedule:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return Constant(value)
    if not callable(value):
        raise ParamsError(
            f"{owner}: expected a schedule or a number, but {value!r} arrived. Use one of "
            "dovetail.optimizers.schedules, or a function from the step to a rate."
        )
    return value
