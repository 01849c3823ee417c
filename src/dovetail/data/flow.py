"""One pass of a pipeline over its data set: a stream of batches, stage after stage."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, cast

from dovetail.data.actions import find_action
from dovetail.data.ahead import InThreads
from dovetail.data.batch import Batch
from dovetail.data.batch_steps import Carried, Steps
from dovetail.data.pipeline_steps import (
    BatchStep,
    Join,
    Merge,
    Rebatch,
    Step,
    StreamStep,
    actions,
    streams,
)
from dovetail.data.walk import Epochs, Selection, Shuffle, Walk
from dovetail.errors import DataError, ParamsError, nearest

if TYPE_CHECKING:
    from dovetail.data.pipeline import Pipeline

Target = Literal["threads", "processes"]


@dataclass(frozen=True)
class Pass:
    """How a pipeline is run: what `Pipeline.run` takes.

    Attributes:
      batch_size, shuffle, n_epochs, n_iters, drop_last, seed: see `Walk`.
      prefetch: how many batches are worked on ahead of the one that is being used.
      target: by what: "threads" or "processes".
    """

    batch_size: int
    shuffle: Shuffle = False
    n_epochs: Epochs = ...
    n_iters: int | None = None
    drop_last: bool = False
    seed: int = 0
    prefetch: int = 0
    target: Target = "threads"

    def __post_init__(self) -> None:
        if not isinstance(self.prefetch, int) or isinstance(self.prefetch, bool):
            raise ParamsError(f"prefetch is a whole number, 0 or more; got {self.prefetch!r}.")
        if self.prefetch < 0:
            raise ParamsError(f"prefetch is 0 or more batches; got {self.prefetch}.")
        if self.target not in ("threads", "processes"):
            raise ParamsError(
                f"target={self.target!r}: batches are prefetched by 'threads' or 'processes'."
                f"{nearest(str(self.target), ('threads', 'processes'))}"
            )


class Flow(Iterator[Batch]):
    """The batches that a pipeline gives, one after another.

    From the first step that needs a model everything is done in the caller's thread, in order;
    what comes before it may be done ahead, by threads or processes.

    Args:
      pipeline: with a data set.
      how: the pass.
      start: a `state` of an earlier pass, to go on from.
    """

    def __init__(
        self, pipeline: Pipeline, how: Pass, start: Mapping[str, Any] | None = None
    ) -> None:
        if pipeline.dataset is None:
            raise DataError(
                "This pipeline has no data set, so it can't be run: it is a template. Bind it "
                "first, as in (pipeline << dataset).run(...)."
            )
        self.pipeline, self.how = pipeline, how
        self._positioned = not streams(pipeline.steps)
        state = dict(start or {})
        skipped = int(state.pop("batches", 0)) if not self._positioned else 0
        self.walk = _walk(pipeline, how, state if self._positioned and state else None)
        self._state = self.walk.state if self._positioned else {"batches": 0}
        self._closing = contextlib.ExitStack()
        try:
            self._stream = self._through(iter(self.walk), _stages(pipeline))
            for _ in range(skipped):  # batches depend on those before them: they are made again
                next(self)
        except BaseException:
            self.close()
            raise

    @property
    def state(self) -> dict[str, Any]:
        """Where the pass stands after the batch that was given last, as plain values."""
        return dict(self._state)

    def __next__(self) -> Batch:
        try:
            carried = next(self._stream)
        except BaseException:
            self.close()
            raise
        if not self._positioned:
            self._state["batches"] += 1
        elif carried.after is not None:
            self._state = self.walk.state_at(carried.after)
        return carried.batch

    def close(self) -> None:
        """End the pass; no thread or process of it remains."""
        self._stream: Iterator[Carried] = iter(())
        self._closing.close()

    def __enter__(self) -> Flow:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _through(
        self, source: Iterator[Selection], stages: Sequence[_Stage | StreamStep]
    ) -> Iterator[Carried]:
        pipeline, ahead = self.pipeline, self.how.prefetch
        stream: Iterator[Any] = source
        for number, stage in enumerate(stages):
            if isinstance(stage, Rebatch):
                from dovetail.data.rebatching import rebatched

                stream = rebatched(stream, stage.batch_size, stage.drop_last)
            elif isinstance(stage, (Join, Merge)):
                stream = self._beside(stream, stage)
            else:
                ahead = 0 if stage.needs_models else ahead
                work = _Work(stage.steps, pipeline, begins=number == 0)
                stream = self._worked(stream, work, ahead)
        return stream

    def _worked(self, stream: Iterator[Any], work: _Work, ahead: int) -> Iterator[Carried]:
        if ahead == 0 or not (work.steps or work.begins):
            made: Iterator[Carried | None] = map(work, stream)
        elif self.how.target == "threads" or not work.begins:
            made = self._closing.enter_context(InThreads(stream, work, ahead))
        else:
            from dovetail.data.worker_processes import InProcesses

            made = self._closing.enter_context(
                InProcesses(cast(Iterator[Selection], stream), work.steps, self.pipeline, ahead)
            )
        return (carried for carried in made if carried is not None)

    def _beside(self, stream: Iterator[Carried], step: Join | Merge) -> Iterator[Carried]:
        others = [
            self._closing.enter_context(Flow(other, other.pass_beside(self.how)))
            for other in step.pipelines
        ]
        for carried in stream:
            more = tuple(_next_of(other) for other in others)
            if isinstance(step, Join):
                carried.joined = (*carried.joined, *more)
            else:
                number = carried.batch.iteration
                carried.batch = _merged((carried.batch, *more), step.function, number)
                carried.after = None
            yield carried


@dataclass(frozen=True)
class _Stage:
    steps: tuple[BatchStep, ...]
    needs_models: bool


class _Work:
    """The steps of one stage, done to what comes: the first stage makes the batches."""

    def __init__(self, steps: Sequence[BatchStep], pipeline: Pipeline, *, begins: bool) -> None:
        self.steps, self.begins = tuple(steps), begins
        self._pipeline = pipeline
        self._do = Steps(steps, pipeline.timings_kept)
        assert pipeline.dataset is not None
        self._make: Callable[..., Batch] = partial(pipeline.dataset.create_batch, pipeline=pipeline)

    def __call__(self, given: Any) -> Carried | None:
        carried = Carried(self._make(given), after=given.after) if self.begins else given
        return self._do(carried, self._pipeline)


def _stages(pipeline: Pipeline) -> list[_Stage | StreamStep]:
    """Cut the steps where batches are needed in order, and where models are first needed."""
    batch_class = pipeline.batch_class
    stages: list[_Stage | StreamStep] = []
    modelled = False
    steps: list[BatchStep] = []

    def end() -> None:
        if steps or not stages:
            stages.append(_Stage(tuple(steps), modelled))
            steps.clear()

    for step in pipeline.steps:
        if isinstance(step, StreamStep):
            end()
            stages.append(step)
            continue
        if not modelled and _needs_model(step, batch_class):
            end()
            modelled = True
        steps.append(step)
    end()
    return stages


def _needs_model(step: Step, batch_class: type | None) -> bool:
    if batch_class is None:
        return False
    return any(
        find_action(batch_class, act.name).model is not None
        for act in actions((step,))
        if hasattr(batch_class, act.name)
    )


def _walk(pipeline: Pipeline, how: Pass, start: dict[str, int] | None) -> Walk:
    assert pipeline.dataset is not None
    return pipeline.dataset.walk(
        how.batch_size,
        shuffle=how.shuffle,
        n_epochs=how.n_epochs,
        n_iters=how.n_iters,
        drop_last=how.drop_last,
        seed=how.seed,
        start=start,
    )


def _next_of(flow: Flow) -> Batch:
    try:
        return next(flow)
    except StopIteration:
        raise DataError(
            "A pipeline that is joined or merged ended before the one that takes it. Let it run "
            "longer: other.run(batch_size, n_epochs=None, lazy=True)."
        ) from None


def _merged(batches: tuple[Batch, ...], function: Callable[..., Any] | None, number: int) -> Batch:
    import dataclasses

    batch = type(batches[0]).merge(batches) if function is None else function(list(batches))
    if not isinstance(batch, Batch):
        raise DataError(f"The function given to merge returned {batch!r}; it must return a batch.")
    batch.selection = dataclasses.replace(batch.selection, iteration=number)
    return batch


def counted(flow: Flow) -> int | None:
    """How many batches a pass gives at most; None: not known before."""
    return flow.walk.batches
