"""Batches of other pipelines, taken beside those of one: joined to them, or merged with them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from dovetail.data.batches.batch import Batch
from dovetail.data.pipeline.batch_steps import Carried
from dovetail.data.pipeline.steps import Join, Merge
from dovetail.errors import DataError


class Other(Protocol):
    """The batches of another pipeline, and where it stands after the last of them."""

    @property
    def state(self) -> dict[str, Any]: ...

    def __next__(self) -> Batch: ...


def with_others(
    stream: Iterator[Carried], step: Join | Merge, others: Sequence[Other]
) -> Iterator[Carried]:
    """Yield batches with those of other pipelines, one of each.

    Args:
      stream: the batches.
      step: what becomes of the others.
      others: what gives them.

    Raises:
      DataError: one of the others ends before the stream does.
    """
    for carried in stream:
        more = tuple(_next_of(other) for other in others)
        carried.beside = (*carried.beside, *(other.state for other in others))
        if isinstance(step, Join):
            carried.joined = (*carried.joined, *more)
        else:
            carried.batch = _merged((carried.batch, *more), step.function, carried.iteration)
        yield carried


def _next_of(other: Other) -> Batch:
    try:
        return next(other)
    except StopIteration:
        raise DataError(
            "A pipeline that is joined or merged ended before the one that takes it. Let it run "
            "longer: other.run(batch_size, n_epochs=None, lazy=True)."
        ) from None


def _merged(batches: tuple[Batch, ...], function: Callable[..., Any] | None, number: int) -> Batch:
    batch = type(batches[0]).merge(batches) if function is None else function(list(batches))
    if not isinstance(batch, Batch):
        raise DataError(f"The function given to merge returned {batch!r}; it must return a batch.")
    batch.selection = dataclasses.replace(batch.selection, iteration=number)
    return batch
