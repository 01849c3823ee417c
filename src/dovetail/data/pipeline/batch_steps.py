"""Doing steps to one batch: what a pipeline's actions, functions and choices come down to."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from dovetail.data.batches.actions import Action, SkipBatch, find_action
from dovetail.data.batches.batch_random import chance
from dovetail.data.pipeline.model_methods import ModelMethod
from dovetail.data.pipeline.named import Named, resolved
from dovetail.data.pipeline.steps import Act, BatchStep, Call, Chance, Filter, Step, Update
from dovetail.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dovetail.data.batches.batch import Batch
    from dovetail.data.datasets.walk import Position


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
      seed, iteration: of the run, and which batch of it this is; kept here since an action may
        return a batch that knows neither.
      joined: batches of other pipelines, which the next action gets as arguments.
      choices: how many choices by chance were made on it.
      before, after: where the walk over the data set stands before its items and after them.
      beside: where the joined pipelines stand after it.
      given, batches: after a change of the batch size: how many of the items after `before` were
        given already, and how many batches.
    """

    batch: Batch
    seed: int = 0
    iteration: int = 0
    joined: tuple[Batch, ...] = ()
    choices: int = 0
    before: Position | None = None
    after: Position | None = None
    beside: tuple[Any, ...] = ()
    given: int = 0
    batches: int = 0


class Timings:
    """How often each step was done, and how long it took in all."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.spent: dict[int, list[float]] = {}  # id of a step -> [times, seconds]

    def entry(self, step: Step) -> list[float]:
        """Give the counts of a step, [times, seconds]; who writes them holds `lock`."""
        with self.lock:
            return self.spent.setdefault(id(step), [0, 0.0])

    def add(self, step: Step, times: float, seconds: float) -> None:
        """Count a step that was done elsewhere."""
        entry = self.entry(step)
        with self.lock:
            entry[0] += times
            entry[1] += seconds


class Steps:
    """Some steps, to be done to one batch after another, in any thread.

    Args:
      steps: in order; none of them needs other batches.
      timings: where they are counted; None: nowhere that matters.
    """

    def __init__(self, steps: Sequence[BatchStep], timings: Timings | None = None) -> None:
        timings = timings or Timings()
        self._lock = timings.lock
        self._steps = [(step, _compiled(step, timings), timings.entry(step)) for step in steps]

    def __call__(self, carried: Carried, pipeline: Surroundings) -> Carried | None:
        """Do the steps to a batch; None: a step dropped it."""
        try:
            self.all(carried, pipeline)
        except SkipBatch:
            return None
        return carried

    def all(self, carried: Carried, pipeline: Surroundings) -> None:
        """Do the steps to a batch.

        Raises:
          SkipBatch: a step dropped it.
        """
        lock, now = self._lock, time.perf_counter
        began = now()
        for step, do, entry in self._steps:
            try:
                do(carried, pipeline)
            except Exception as error:
                if not isinstance(error, SkipBatch) and not isinstance(step, Chance):
                    error.add_note(_place(step, carried))
                raise
            finally:
                ended = now()
                with lock:
                    entry[0] += 1
                    entry[1] += ended - began
                began = ended


def _compiled(step: BatchStep, timings: Timings) -> Callable[[Carried, Surroundings], None]:
    """Make a function that does a step; what is the same for each batch is found out once."""
    if isinstance(step, Act):
        return _act(step)
    if isinstance(step, Chance):
        return _by_chance(step, Steps(step.steps, timings))  # pyright: ignore[reportArgumentType]
    if isinstance(step, Update):
        return _update(step)
    if isinstance(step, Call):
        return _call(step)
    return _filter(step)


def _act(act: Act) -> Callable[[Carried, Surroundings], None]:
    name, plain_args, plain_kwargs, named = act.name, act.args, dict(act.kwargs or {}), act.named
    marks: dict[type, Action] = {}

    def do(carried: Carried, pipeline: Surroundings) -> None:
        batch, args, kwargs = carried.batch, plain_args, plain_kwargs
        kind = batch.__class__
        mark = marks.get(kind)
        if mark is None:
            mark = marks[kind] = find_action(kind, name)
        if named:
            args = resolved(args, batch, pipeline)
            # What is called save_to says where to write, so it is given as it stands.
            kwargs = {k: _given(k, v, batch, pipeline) for k, v in kwargs.items()}
        if carried.joined:
            args, carried.joined = (*carried.joined, *args), ()
        if mark.model is not None:
            args = (pipeline.model_for(batch, mark.model), *args)  # pyright: ignore[reportArgumentType]
        if mark.use_lock:
            with pipeline.lock(name if mark.use_lock is True else mark.use_lock):
                made = getattr(batch, name)(*args, **kwargs)
        else:
            made = getattr(batch, name)(*args, **kwargs)
        if made is not batch:
            carried.batch = _checked(made, batch, f"The action '{name}'")

    return do


def _given(name: str, value: Any, batch: Batch, pipeline: Surroundings) -> Any:
    return value if name == "save_to" else resolved(value, batch, pipeline)


def _by_chance(step: Chance, steps: Steps) -> Callable[[Carried, Surroundings], None]:
    def do(carried: Carried, pipeline: Surroundings) -> None:
        number, carried.choices = carried.choices, carried.choices + 1
        if chance(carried.seed, carried.iteration, number) < step.probability:
            steps.all(carried, pipeline)

    return do


def _update(step: Update) -> Callable[[Carried, Surroundings], None]:
    def do(carried: Carried, pipeline: Surroundings) -> None:
        value = resolved(step.value, carried.batch, pipeline)
        pipeline.change_variable(step.variable, value, step.mode)

    return do


def _call(step: Call) -> Callable[[Carried, Surroundings], None]:
    def do(carried: Carried, pipeline: Surroundings) -> None:
        batch = carried.batch
        made = step.function(batch, *resolved(step.args, batch, pipeline))
        if made is not batch and hasattr(made, "selection"):
            carried.batch = _checked(made, batch, "")

    return do


def _filter(step: Filter) -> Callable[[Carried, Surroundings], None]:
    def do(carried: Carried, pipeline: Surroundings) -> None:
        carried.batch = _filtered(step.predicate, carried.batch, pipeline)

    return do


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
    if hasattr(made, "selection"):
        if made.pipeline is None:  # one that the action made: it is to find models and variables
            made.pipeline = batch.pipeline
        if made.selection.after is None and made is not batch:  # and to draw this run's numbers
            made.selection = replace(made.selection, seed=batch.seed, iteration=batch.iteration)
        return made
    raise DataError(
        f"{what} of {type(batch).__name__} returned {'nothing' if made is None else repr(made)}; "
        "an action returns a batch, as a rule its own: return self."
    )


def _place(step: BatchStep, carried: Carried) -> str:
    batch = carried.batch
    ids = batch.indices[:4].tolist()
    shown = ", ".join(map(repr, ids)) + (", ..." if len(batch) > 4 else "")
    return f"In the pipeline's step {step}, on batch {carried.iteration} (items {shown})."
