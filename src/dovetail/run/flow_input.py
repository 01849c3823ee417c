"""A pipeline as an input of a run: where it stands is in the checkpoints."""

from __future__ import annotations

import contextlib
import hashlib
import random
from collections.abc import Callable, Generator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from dovetail.data.feed import Fed
from dovetail.data.pipeline.feeding import Feeding
from dovetail.data.pipeline.flow import Flow, Pass
from dovetail.data.pipeline.stages import in_order, stages
from dovetail.data.pipeline.steps import Filter, streams
from dovetail.errors import DataError
from dovetail.program.batches import count
from dovetail.program.randomness import derive
from dovetail.run.fast_forward import dropped
from dovetail.run.flow_data import data_of
from dovetail.run.seeded_input import GENERATORS_IN_USE

_BATCH = 6  # a salt; SeededInput uses 3, IterableInput 4 and 5
_SHOWN = 8


class FlowInput:
    """The batches of a pipeline as an input.

    Its batches are a function of the seed and of where it stands. Actions that draw from the
    global generators of torch, numpy or random get them seeded from (seed, position), which only
    holds where batches are made one by one: so the first batch tells whether others may be made
    ahead.

    Args:
      feeding: a pipeline, and what of its batches is fed.
      how: the pass.
      name: for messages.
      labelled: whether labels are wanted.
      seed: of the run.
      unpositioned: what is done where a run stands somewhere and the checkpoint holds no position
        of this pipeline; see `RunConfig.unpositioned_input`.
      repeatable: whether the global generators are seeded.
      function: that made the feeding, if one did.

    Attributes:
      total: how many examples there are until the end, if that is known.
    """

    positioned = True

    def __init__(
        self,
        feeding: Feeding,
        how: Pass,
        name: str,
        *,
        labelled: bool = True,
        seed: int = 0,
        unpositioned: str = "restart",
        repeatable: bool = True,
        function: Callable[..., Any] | None = None,
    ) -> None:
        self.feeding, self.how, self.name = feeding, how, name
        self.labelled = labelled
        self.seed = seed
        self.unpositioned = unpositioned
        self.repeatable = repeatable
        self.function = function
        self.started_at = 0
        dataset = feeding.pipeline.dataset
        assert dataset is not None
        self._dataset = dataset
        self.total = _total(feeding, how)
        self._states: dict[int, dict[str, Any]] = {}  # position -> of the flow; the last two
        self._given: dict[int, np.ndarray] = {}  # where a batch begins -> its ids; the last two
        self._draws = False  # from the global generators

    @property
    def epoch_examples(self) -> int:
        """How many examples an epoch has."""
        return len(self._dataset)

    @property
    def batch_size(self) -> int:
        """Examples a batch."""
        return self.how.batch_size

    def batches(
        self,
        position: int,
        *,
        state: Mapping[str, Any] | None = None,
        say: Callable[[str], object] | None = None,
        stopped: Callable[[], bool] | None = None,
    ) -> Generator[Fed]:
        kept = state.get("flow") if state and state.get("position") == position else None
        if kept is None and position and self.unpositioned == "refuse":
            raise DataError(
                f"The checkpoint holds no position of {self.name}, the run stands at example "
                f"{position:,}, and unpositioned_input is 'refuse'. Go on with the input that it "
                "was trained on; or choose 'fast_forward' (the batches used before are made and "
                "dropped) or 'restart' (it begins anew)."
            )
        at = position
        if kept is not None and state is not None:
            self.started_at = int(state["began_at"])
        else:
            self.started_at = position if self.unpositioned != "fast_forward" else 0
            at = self.started_at
        flow = self._flow(kept, position)
        with contextlib.ExitStack() as stack:
            held = stack.enter_context(contextlib.closing(_Held(flow)))
            self._states = {at: flow.state}
            if at < position:
                at = dropped(
                    lambda at: self._drawn(held.flow, at),
                    position,
                    name=self.name,
                    say=say or (lambda text: None),
                    stopped=stopped or (lambda: False),
                )
            alone = self.how.prefetch and held.flow.how.prefetch == 0
            while at >= position:
                fed = self._drawn(held.flow, at, watched=bool(alone))
                if fed is None:
                    return
                at = fed.position_after
                if alone and not self._draws:
                    held.close()
                    held.flow = Flow(self.feeding.pipeline, self.how, held.flow.state)
                alone = False
                yield fed

    def _flow(self, start: Mapping[str, Any] | None, position: int) -> Flow:
        """Begin a pass; where that shows whether batches may be made ahead, without doing so."""
        pipeline, how = self.feeding.pipeline, self.how
        # One that would have to make its batches again to change over begins as it goes on.
        if how.prefetch and self.repeatable and len(streams(pipeline.steps)) < 2:
            how = replace(how, prefetch=0)
        try:
            return Flow(pipeline, how, start)
        except (DataError, TypeError) as error:
            if start is None:
                raise
            raise DataError(
                f"{self.name} does not take the position that the checkpoint holds for example "
                f"{position:,}: {error} If it was changed since, go back to what it was, or train "
                "in another model_dir."
            ) from error

    def _drawn(self, flow: Flow, at: int, *, watched: bool = False) -> Fed | None:
        """Draw the batch that begins at a position; None at the end."""
        # What other threads make needs no seed, and is not waited for with the lock held.
        ahead = flow.how.prefetch > 0
        batch = next(flow, None) if ahead else None
        with self._seeded(at, watched):
            if not ahead:
                batch = next(flow, None)
            if batch is None:
                return None
            features, labels = self.feeding.pair(batch, labelled=self.labelled)
        after = at + count(features, labels)
        self._states = {**dict(list(self._states.items())[-1:]), after: flow.state}
        self._given = {**dict(list(self._given.items())[-1:]), at: batch.indices}
        return Fed(features, labels, after, after - at)

    @contextlib.contextmanager
    def _seeded(self, position: int, watched: bool) -> Generator[None]:
        """Seed the global generators from seed and position; if watched, see whether any is used.

        That takes as long as a small batch, so it is done where something depends on it.
        """
        if not self.repeatable:
            yield
            return
        with GENERATORS_IN_USE:
            seed = derive(self.seed, position, _BATCH)
            np.random.seed(seed & 0xFFFFFFFF)
            random.seed(seed)
            torch.default_generator.manual_seed(seed)
            if not watched:
                yield
                return
            before = _standing()
            yield
            self._draws = before != _standing()

    def state(self, position: int) -> dict[str, Any] | None:
        flow = self._states.get(position)
        if flow is None:
            return None
        return {"position": position, "began_at": self.started_at, "flow": flow}

    def note(self, step: int, position: int) -> str | None:
        if position and self.started_at == position:
            return (
                f"The checkpoint holds no position of {self.name}: it starts from its beginning, "
                f"not from where the run stood at step {step}."
            )
        pipeline = self.feeding.pipeline
        if in_order(stages(pipeline.steps, pipeline.batch_class, ahead=True)):
            return (
                f"{self.name} trains models or writes variables of its own, which are not in this "
                "run's checkpoints: a run that is started again begins with new ones."
            )
        if self._draws and self.how.prefetch:
            return (
                f"An action of {self.name} draws from a global generator, so its batches are not "
                "made ahead. Draw from the batch instead: batch.uniform, batch.random."
            )
        return None

    def data(self) -> dict[str, Any]:
        return data_of(self.feeding, self.how)

    def manifest(self) -> dict[str, Any]:
        return self.data()

    def describe(self, position: int, count: int) -> str:
        ids = self._given.get(position)
        if ids is None or len(ids) != count:
            first = position - self.started_at
            return f"examples {first} to {first + count - 1} of {self.name}, counted from 0"
        more = f" and {count - _SHOWN} more" if count > _SHOWN else ""
        return f"items {', '.join(map(repr, ids[:_SHOWN].tolist()))}{more} of {self.name}"


class _Held:
    """A flow that another may take the place of; it is closed all the same."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow

    def close(self) -> None:
        self.flow.close()


def _total(feeding: Feeding, how: Pass) -> int | None:
    """Say how many examples there are until the end, if it has one and drops none before."""
    pipeline = feeding.pipeline
    assert pipeline.dataset is not None
    if any(isinstance(step, Filter) for step in pipeline.steps):
        return None
    length = len(pipeline.dataset)
    epochs = how.n_epochs if how.n_epochs is not ... else (1 if how.n_iters is None else None)
    size = length - length % how.batch_size if how.drop_last else length
    found = [] if epochs is None else [epochs * size]
    found += [] if how.n_iters is None else [how.n_iters * how.batch_size]
    return min(found, default=None)


def _standing() -> tuple[Any, ...]:
    """Where the global generators stand."""
    name, keys, *rest = np.random.get_state(legacy=True)
    drawn = hashlib.blake2b(np.asarray(keys).tobytes()).digest()
    return (
        (name, drawn, *rest),
        random.getstate(),
        hashlib.blake2b(torch.default_generator.get_state().numpy().tobytes()).digest(),
    )
