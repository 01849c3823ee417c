"""Cutting a pipeline's steps into stages: what may be done ahead, what in order, what by whom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dovetail.data.batches.actions import find_action
from dovetail.data.pipeline.steps import (
    Act,
    BatchStep,
    Call,
    Chance,
    Filter,
    Join,
    Merge,
    Step,
    StreamStep,
    Update,
    actions,
)
from dovetail.errors import ParamsError


@dataclass(frozen=True, eq=False)
class Stage:
    """Steps that follow one another, each batch being done for itself.

    Attributes:
      steps: what is done.
      ahead: whether batches may be worked on ahead, several at a time.
    """

    steps: tuple[BatchStep, ...]
    ahead: bool = True


def stages(
    steps: Sequence[Step], batch_class: type | None, *, ahead: bool
) -> list[Stage | StreamStep]:
    """Cut steps where batches are needed in order.

    Args:
      steps: of a pipeline.
      batch_class: of its data set.
      ahead: whether anything is to be done ahead at all; if not, there are fewer cuts.

    From the first action on a model everything is in order. So is writing a variable, but what
    comes after it may be done ahead again.
    """
    _check_joins(steps)
    found: list[Stage | StreamStep] = []
    waiting: list[BatchStep] = []
    modelled = not ahead

    def end(ahead: bool) -> None:
        if waiting or not found:
            found.append(Stage(tuple(waiting), ahead))
            waiting.clear()

    for step in steps:
        if isinstance(step, StreamStep):
            end(not modelled)
            found.append(step)
        elif not modelled and _on_a_model(step, batch_class):
            end(True)
            modelled = True
            waiting.append(step)
        elif not modelled and _writes(step):
            end(True)
            waiting.append(step)
            end(False)
        else:
            waiting.append(step)
    end(not modelled)
    return found


def in_order(found: Sequence[Stage | StreamStep]) -> bool:
    """Whether there is a stage that must not be done twice: it trains a model, or writes."""
    return any(isinstance(stage, Stage) and not stage.ahead for stage in found)


def _on_a_model(step: Step, batch_class: type | None) -> bool:
    if batch_class is None:
        return False
    marks = (find_action(batch_class, act.name) for act in actions((step,)))
    return any(mark.model is not None or mark.in_order for mark in marks)


def _writes(step: Step) -> bool:
    if isinstance(step, Chance):
        return any(map(_writes, step.steps))
    return isinstance(step, Update)


def _check_joins(steps: Sequence[Step]) -> None:
    """Refuse a join that no action follows: what it brings would be lost."""
    joined: Join | None = None
    for step in [*steps, None]:
        if joined is not None and not isinstance(step, Act):
            if isinstance(step, (Call, Filter, Join, Merge, Update)):
                continue
            next_one = "nothing" if step is None else f"'{step}'"
            raise ParamsError(
                f"The step '{joined}' must be followed by an action, which gets the batches as "
                f"its first arguments; it is followed by {next_one}. "
                "merge makes one batch of them instead."
            )
        joined = step if isinstance(step, Join) else None
