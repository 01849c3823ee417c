"""Ending a run when a condition holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dovetail.errors import ParamsError
from dovetail.hooks.due import Due
from dovetail.run.hooks import Hook, Run


class StopWhen(Hook):
    """Ends the run when a function of the step says so; the state is saved.

    Costs what the function costs, at the steps where it is asked: a comparison of `output["loss"]`
    is a tensor, for which the device is waited for.

    Args:
      condition: (run, output) -> whether to end, as a bool or a tensor of one element; output is
        what the step returned.
      why: the reason that is shown.
      every_steps: ask at step 1 and every multiple of it; 1.
      every_secs: instead, ask at the first step and then at one in so many seconds.

    Raises:
      ParamsError: condition can't be called, or another argument is out of range.

    Example:
      >>> StopWhen(lambda run, output: output["loss"] < 0.01, "the loss is below 0.01").why
      'the loss is below 0.01'
    """

    def __init__(
        self,
        condition: Callable[[Run, dict[str, Any]], Any],
        why: str = "the condition of StopWhen holds",
        *,
        every_steps: int | None = None,
        every_secs: float | None = None,
    ) -> None:
        if not callable(condition):
            raise ParamsError(
                f"hooks.StopWhen: condition must be a function of (run, output); it is "
                f"{condition!r}."
            )
        self.condition = condition
        self.why = why
        self._due = Due("StopWhen", every_steps, every_secs, by_default=1)

    def begin(self, run: Run) -> None:
        self._due.begin()

    def after_step(self, run: Run, output: dict[str, Any]) -> None:
        if self._due.after(run) and bool(self.condition(run, output)):
            run.request_stop(self.why)
