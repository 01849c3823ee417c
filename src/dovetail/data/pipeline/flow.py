"""One pass of a pipeline over its data set: a stream of batches, stage after stage."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

from dovetail.data.batches.batch import Batch
from dovetail.data.datasets.walk import Epochs, Position, Selection, Shuffle, Walk
from dovetail.data.pipeline.ahead import InThreads
from dovetail.data.pipeline.batch_steps import Carried, Steps
from dovetail.data.pipeline.beside import with_others
from dovetail.data.pipeline.rebatching import rebatched
from dovetail.data.pipeline.stages import Stage, in_order, stages
from dovetail.data.pipeline.steps import BatchStep, Join, Merge, Rebatch, StreamStep, streams
from dovetail.errors import DataError, ParamsError, nearest

if TYPE_CHECKING:
    from dovetail.data.pipeline.pipeline import Pipeline

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

    Attributes:
      failed: the error that ended the pass, if one did.

    Raises:
      DataError: the pipeline has no data set, or can't go on from that state.
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
        self._length = len(pipeline.dataset)
        self._kind: Kind = _kind(streams(pipeline.steps))
        self._closing = contextlib.ExitStack()
        self._stream: Iterator[Carried] = iter(())
        self.failed: BaseException | None = None
        try:
            self._begin(dict(start or {}))
        except BaseException:
            self.close()
            raise

    def _begin(self, start: dict[str, Any]) -> None:
        if not start:
            self.pipeline.forget_metrics()
        kind, first = self._kind, _FIRST[self._kind]
        own = {name: start.pop(name, value) for name, value in first.items()}
        if kind == "replayed" and start:
            raise DataError(f"This pipeline can't go on from the state {start}: it is of another.")
        self.walk = _walk(self.pipeline, self.how, start or None)
        self._state: dict[str, Any] = {
            **({} if kind == "replayed" else self.walk.state),
            **own,
        }
        cut = stages(self.pipeline.steps, self.pipeline.batch_class, ahead=self.how.prefetch > 0)
        self._stream = self._through(iter(self.walk), cut, own)
        again = own["batches"] if kind == "replayed" else 0
        if again and in_order(stages(self.pipeline.steps, self.pipeline.batch_class, ahead=True)):
            raise DataError(
                "This pipeline can't go on from the middle: it changes the batch size more than "
                "once, or of joined batches, so all batches before would have to be made again, "
                "and models and variables would get them twice. Train outside of it, or leave "
                "out a rebatch."
            )
        self._state = {**self._state, **({"batches": 0} if again else {})}
        for _ in range(again):  # batches depend on those before them: they are made again
            next(self)

    @property
    def state(self) -> dict[str, Any]:
        """Where the pass stands after the batch that was given last, as plain values."""
        return dict(self._state)

    def __next__(self) -> Batch:
        try:
            carried = next(self._stream)
        except BaseException as error:
            self.failed = None if isinstance(error, StopIteration) else error
            self.close()
            raise
        if self._kind == "replayed":
            self._state["batches"] += 1
        else:
            assert carried.after is not None
            self._state = dict(self.walk.state_at(carried.after))
            if self._kind == "rebatched":
                self._state |= {"given": carried.given, "batches": carried.batches}
            elif self._kind == "beside":
                self._state["beside"] = list(carried.beside)
        return carried.batch

    def close(self) -> None:
        """End the pass; no thread or process of it remains."""
        self._stream = iter(())
        self._closing.close()

    def __enter__(self) -> Flow:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _through(
        self,
        source: Iterator[Selection],
        cut: Sequence[Stage | StreamStep],
        own: Mapping[str, Any],
    ) -> Iterator[Carried]:
        pipeline = self.pipeline
        states = list(own.get("beside", ()))
        stream: Iterator[Any] = source
        for number, stage in enumerate(cut):
            if isinstance(stage, Rebatch):
                at = own if self._kind == "rebatched" else _FIRST["rebatched"]
                stream = rebatched(stream, stage.batch_size, stage.drop_last, **at)
            elif isinstance(stage, (Join, Merge)):
                count = len(stage.pipelines)
                stream = self._beside(stream, stage, states[:count])
                del states[:count]
            else:
                ahead = self.how.prefetch if stage.ahead else 0
                work = _Work(stage.steps, pipeline, self._length, begins=number == 0)
                stream = self._worked(stream, work, ahead)
        return stream

    def _worked(self, stream: Iterator[Any], work: _Work, ahead: int) -> Iterator[Carried]:
        if ahead == 0 or not work.steps:  # to begin with a batch is quicker than to hand it over
            made: Iterator[Carried | None] = map(work, stream)
        elif self.how.target == "threads" or not work.begins:
            made = self._closing.enter_context(InThreads(stream, work, ahead))
        else:
            from dovetail.data.pipeline.worker_processes import InProcesses

            selections = cast(Iterator[Selection], stream)
            made = self._closing.enter_context(
                InProcesses(selections, work.steps, self.pipeline, ahead)
            )
        return (carried for carried in made if carried is not None)

    def _beside(
        self, stream: Iterator[Carried], step: Join | Merge, states: Sequence[Any]
    ) -> Iterator[Carried]:
        others = [
            self._closing.enter_context(Flow(other, other.pass_beside(self.how), state))
            for other, state in itertools.zip_longest(step.pipelines, states)
        ]
        return with_others(stream, step, others)


Kind = Literal["plain", "rebatched", "beside", "replayed"]

# What the state of a pass holds beside that of its walk, and how that begins.
_FIRST: Mapping[Kind, Mapping[str, Any]] = {
    "plain": {},
    "rebatched": {"given": 0, "batches": 0},
    "beside": {"beside": []},
    "replayed": {"batches": 0},
}


def _kind(found: Sequence[StreamStep]) -> Kind:
    rebatches = sum(isinstance(step, Rebatch) for step in found)
    if not found:
        return "plain"
    if rebatches == 0:
        return "beside"
    return "rebatched" if len(found) == 1 else "replayed"


class _Work:
    """The steps of one stage, done to what comes: the first stage makes the batches."""

    def __init__(
        self, steps: Sequence[BatchStep], pipeline: Pipeline, length: int, *, begins: bool
    ) -> None:
        self.steps, self.begins = tuple(steps), begins
        self._pipeline = pipeline
        self._length = length
        self._do = Steps(steps, pipeline.timings_kept)
        assert pipeline.dataset is not None
        self._create = pipeline.dataset.create_batch

    def __call__(self, given: Any) -> Carried | None:
        if self.begins:
            batch = self._create(given, self._pipeline)
            return self._do(begun(batch, given, self._length), self._pipeline)
        return self._do(given, self._pipeline)


def begun(batch: Batch, selection: Selection, length: int) -> Carried:
    """Set a batch on its way.

    Args:
      batch: of the selection.
      selection: of a walk.
      length: of the data set that is walked over.
    """
    after = selection.after
    assert after is not None
    begin = after.epoch * length + after.position - len(selection)
    before = Position(begin // length, begin % length, selection.iteration)
    return Carried(batch, selection.seed, selection.iteration, before=before, after=after)


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


def counted(flow: Flow) -> int | None:
    """How many batches a pass gives at most; None: not known before."""
    return flow.walk.batches
