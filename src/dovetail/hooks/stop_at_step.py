"""Ending a training at a step."""

from __future__ import annotations

from typing import Any

from dovetail.errors import ParamsError
from dovetail.hooks.arguments import whole
from dovetail.run.hooks import Hook, Run


class StopAtStep(Hook):
    """Ends the run at a global step, or after so many steps more; the state is saved.

    Costs a comparison at each step. `train(max_steps=...)` and `train(steps=...)` do the same and
    take no step where none is left, which a hook, called after a step, can't.

    Args:
      last_step: the global step to end at; where it is reached already, one step is taken.
      steps: how many steps to take. Give one of the two.

    Raises:
      ParamsError: both or neither are given, or one is below 1.

    Example:
      >>> StopAtStep(last_step=1000).last_step
      1000
    """

    def __init__(self, last_step: int | None = None, *, steps: int | None = None) -> None:
        if (last_step is None) == (steps is None):
            raise ParamsError(
                f"hooks.StopAtStep got last_step={last_step} and steps={steps}; give one of them: "
                "the global step to end at, or how many steps to take."
            )
        self.last_step = (
            None if last_step is None else whole("StopAtStep", "last_step", last_step, 1)
        )
        self.steps = None if steps is None else whole("StopAtStep", "steps", steps, 1)
        self._end = 0

    def begin(self, run: Run) -> None:
        self._end = self.last_step if self.last_step is not None else run.step + (self.steps or 0)

    def after_step(self, run: Run, output: dict[str, Any]) -> None:
        if run.step >= self._end:
            run.request_stop(f"StopAtStep: step {self._end} is reached")
