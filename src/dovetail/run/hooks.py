"""What may look on while a run goes, and end it: hooks, and listeners to saved checkpoints."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from dovetail.program.program import Program


@dataclass
class Run:
    """What a hook sees of a run.

    Attributes:
      program: the live program.
      model_dir: where the run is kept.
      step: the number of finished steps.
      stopping: whether the run ends after this step.
    """

    program: Program
    model_dir: Path
    step: int = 0
    stopping: bool = False

    def request_stop(self) -> None:
        """End the run after the current step; its state is saved."""
        self.stopping = True


class Hook:
    """Something that is called while a run goes. Every method does nothing until it is given.

    Example:
      >>> class StopAt(Hook):
      ...     def __init__(self, loss):
      ...         self.loss = loss
      ...     def after_step(self, run, output):
      ...         if float(output["loss"]) < self.loss:
      ...             run.request_stop()
    """

    def begin(self, run: Run) -> None:
        """Called once, before the first step, when the program is built and restored."""

    def before_step(self, run: Run) -> None:
        """Called before each step."""

    def after_step(self, run: Run, output: dict[str, Any]) -> None:
        """Called after each step with what `train_step` returned."""

    def end(self, run: Run) -> None:
        """Called once, after the last step, when the last checkpoint is saved."""


class SavingListener(Protocol):
    """Is told of every checkpoint that was saved."""

    def after_save(self, path: Path, step: int) -> None:
        """Called when the checkpoint at `path`, of `step` finished steps, is whole on disk."""
        ...
