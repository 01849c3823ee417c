"""Doing steps to one batch: what a pipeline's actions, functions and choices come down to."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from dovetail.data.actions import Action, SkipBatch, find_action
from dovetail.data.batch_random import chance
from dovetail.data.model_methods import ModelMethod
from dovetail.data.named import Named, resolved
from dovetail.data.pipeline_steps import Act, BatchStep, Call, Chance, Filter, Update, actions
from dovetail.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dovetail.data.batch import Batch
    from dovetail.data.walk import Position

_NO_LOCK = nullcontext()


class Surroundings(Protocol):
    """What steps need of the pipeline that they belong to."""

    @property
    def config(self) -> Mapping[str, Any]: ...

    def get_variable(self, name: str) -> Any: ...

    def set_variable(self, name: str, value: Any) -> Any: ...

    def change_variable(self, name: str, value: Any, mode: str) -> None: ...

    def model_for(self, batch: Any, wanted: str | ModelMethod) -> Any: ...

    def lock(self, name: str) -> AbstractContextManager[Any]: ...


@dataclass(eq=False, slots=True)
class Carried:
    """A batch on its way through a pipeline.

    Attributes:
      batch: as the last action returned it.
      joined: batches of other pipelines, which the next action gets as arguments.
      choices: how many choices by chance were made on it.
      after: where the walk over the data set stands after it; None: see `Flow.state`.
    """

    batch: Batch
    joined: tuple[Batch, ...] = ()
    choices: int = 0
    after: Position | None = None


class Timings:
    """How often each step was done, and how long it took in all."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.spent: dict[int, list[float]] = {}  # id of a step -> [times, seconds]

    def add(self, step: BatchStep, seconds: float, times: int = 1) -> None:
        """Count a step that was done."""
        with self._lock:
            entry = self.spent.get(id(step))
            if entry is None:
                entry = self.spent[id(step)] = [0, 0.0]
            entry[0] += times
            entry[1] += seconds


class Steps:
    """Some steps, to be done to one batch after another, in any thread.

    Args:
      steps: in order; none of them needs other batches.
      timings: are counted there, if given.
    """

    def __init__(self, steps: Sequence[BatchStep], timings: Timings | None = None) -> None:
        self.steps = tuple(steps)
        self.timings = timings
        self._named = {id(act): act.named for act in actions(self.steps)}
        self._marks: dict[tuple[type, str], Action] = {}

    def __call__(self, carried: Carried, pipeline: Surroundings) -> Carried | None:
        """Do the steps to a batch; None: a step dropped it."""
        try:
            self._all(self.steps, carried, pipeline)
        except SkipBatch:
            return None
        return carried

    def _all(self, steps: Sequence[BatchStep], carried: Carried, pipeline: Surroundings) -> None:
        timings = self.timings
        for step in steps:
            started = time.perf_counter()
            try:
                if step.__class__ is Act:
                    self._act(step, carried, pipeline)  # pyright: ignore[reportArgumentType]
                else:
                    self._other(step, carried, pipeline)
            except SkipBatch:
                raise
            except Exception as error:
                if not isinstance(step, Chance):
                    error.add_note(_place(step, carried.batch))
                raise
            finally:
                if timings is not None:
                    timings.add(step, time.perf_counter() - started)

    def _act(self, act: Act, carried: Carried, pipeline: Surroundings) -> None:
        batch = carried.batch
        kind = batch.__class__
        mark = self._marks.get((kind, act.name))
        if mark is None:
            mark = self._marks[(kind, act.name)] = find_action(kind, act.name)
        args, kwargs = act.args, act.kwargs or {}
        if self._named[id(act)]:
            args = resolved(args, batch, pipeline)
            kwargs = resolved(dict(kwargs), batch, pipeline)
        if carried.joined:
            args, carried.joined = (*carried.joined, *args), ()
        if mark.model is not None:
            args = (pipeline.model_for(batch, mark.model), *args)  # pyright: ignore[reportArgumentType]
        lock = mark.use_lock
        with pipeline.lock(act.name if lock is True else lock) if lock else _NO_LOCK:
            made = getattr(batch, act.name)(*args, **kwargs)
        carried.batch = _checked(made, batch, f"The action '{act.name}'")

    def _other(self, step: BatchStep, carried: Carried, pipeline: Surroundings) -> None:
        batch = carried.batch
        if isinstance(step, Chance):
            number, carried.choices = carried.choices, carried.choices + 1
            if chance(batch.seed, batch.iteration, number) < step.probability:
                self._all(step.steps, carried, pipeline)  # pyright: ignore[reportArgumentType]
        elif isinstance(step, Update):
            value = resolved(step.value, batch, pipeline)
            pipeline.change_variable(step.variable, value, step.mode)
        elif isinstance(step, Call):
            made = step.function(batch, *resolved(step.args, batch, pipeline))
            if made is not None and hasattr(made, "selection"):
                carried.batch = made
        else:
            assert isinstance(step, Filter)
            carried.batch = _filtered(step.predicate, batch, pipeline)


def _filtered(predicate: Any, batch: Batch, pipeline: Surroundings) -> Batch:
    if isinstance(predicate, Named):
        kept = predicate.get(batch, pipeline)
    else:
        kept = predicate(batch)
    kept = np.asarray(kept)
    if kept.dtype != bool or kept.shape not in ((), (len(batch),)):
        raise DataError(
            "filter takes a function of the batch that returns True or False, or an array of "
            f"them, one for each of its {len(batch)} items; it returned {kept.dtype} "
            f"{list(kept.shape)}."
        )
    if kept.ndim == 0:
        if not kept:
            raise SkipBatch
        return batch
    positions = np.flatnonzero(kept)
    if not len(positions):
        raise SkipBatch
    return batch if len(positions) == len(batch) else batch.subset(positions)


def _checked(made: Any, batch: Batch, what: str) -> Batch:
    if made is batch or hasattr(made, "selection"):
        return made
    raise DataError(
        f"{what} of {type(batch).__name__} returned {'nothing' if made is None else repr(made)}; "
        "an action returns a batch, as a rule its own: return self."
    )


def _place(step: BatchStep, batch: Batch) -> str:
    ids = batch.indices[:4].tolist()
    shown = ", ".join(map(repr, ids)) + (", ..." if len(batch) > 4 else "")
    return f"In the pipeline's step {step}, on batch {batch.iteration} (items {shown})."
