"""Hooks that are for a training alone, and the event log that they write to."""

from __future__ import annotations

from dovetail.errors import ParamsError
from dovetail.run.hooks import Run
from dovetail.run.summaries import SummaryWriter


def check_training(run: Run, hook: str) -> None:
    """Refuse an evaluation or prediction.

    Raises:
      ParamsError: this is one; the hook is named.
    """
    if run.config is None:
        raise ParamsError(
            f"hooks.{hook} keeps a log of a training: give it to train, not to evaluate or predict."
        )


def writer_of(run: Run, hook: str) -> SummaryWriter:
    """Return the event log of a training.

    Raises:
      ParamsError: this is an evaluation or prediction, which has none; the hook is named.
    """
    if run.writer is None:
        raise ParamsError(
            f"hooks.{hook} writes to the event log of a training: give it to train, not to "
            "evaluate or predict."
        )
    return run.writer
