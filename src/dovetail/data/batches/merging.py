"""Batches made of batches: a part of one, several joined."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from dovetail.data.datasets.preloaded import taken
from dovetail.data.datasets.selection import Selection

if TYPE_CHECKING:
    from dovetail.data.batches.batch import Batch

    One = TypeVar("One", bound=Batch)


def part_of(batch: One, positions: Any) -> One:
    """Make a batch of some items of another; see `Batch.subset`."""
    made = _like(batch, batch.selection.at(positions), batch._numbers[positions])
    if batch._whole is not None:
        made._whole = taken(batch.column(), positions)
    for name in batch.components or ():
        if name in batch.__dict__:
            made.__dict__[name] = taken(batch.column(name), positions)
    return made


def merged(batches: Sequence[One]) -> One:
    """Join batches of one class, one or more; see `Batch.merge`."""
    first = batches[0]
    selection = merged_selection([one.selection for one in batches])
    made = _like(first, selection, np.concatenate([one._numbers for one in batches]))
    made._draws = max(one._draws for one in batches)
    alike = all(one._source is first._source for one in batches)
    for name in first.components or ():
        loaded = any(name in one.__dict__ for one in batches)
        if loaded or (not alike and any(one.has(name) for one in batches)):
            made.__dict__[name] = merged_column([one.column(name) for one in batches])
    if not first.components and (any(one._whole is not None for one in batches) or not alike):
        made._whole = merged_column([one.column() for one in batches])
    if not alike:
        made._source = None
    for name in ("dataset", "pipeline"):
        if any(getattr(one, name) is not getattr(first, name) for one in batches):
            setattr(made, name, None)
    return made


def _like(batch: One, selection: Selection, numbers: np.ndarray) -> One:
    """A batch as another, but of other items, whose data it still has to be given."""
    made = type(batch).__new__(type(batch))
    # With what users have kept on it. Its own __init__ may take what we do not know.
    made.__dict__.update(batch.__dict__)
    made.selection, made._numbers, made._seeds = selection, numbers, None
    made.__dict__.pop("_draws_of_item", None)
    return made


def merged_selection(parts: Sequence[Selection]) -> Selection:
    """Join selections; the first gives seed and iteration, the last the position after."""
    ids = [part.ids for part in parts]
    if len({one.dtype.kind for one in ids}) > 1:
        ids = [one.astype(object) for one in ids]
    return Selection(
        np.concatenate(ids),
        np.concatenate([part.numbers for part in parts]),
        np.concatenate([part.epochs for part in parts]),
        parts[0].seed,
        parts[0].iteration,
        parts[-1].after,
    )


def merged_column(values: Sequence[Any]) -> Any:
    """Join columns: arrays and tensors of one item's shape to one, all others to a list.

    >>> merged_column([np.zeros((1, 2)), np.ones((2, 2))]).shape
    (3, 2)
    >>> merged_column([["a"], ["b", "c"]])
    ['a', 'b', 'c']
    """
    if all(isinstance(one, np.ndarray) for one in values):
        if len({one.shape[1:] for one in values}) == 1:
            return np.concatenate(values)
    elif all(hasattr(one, "index_select") for one in values):
        import torch  # only for who has tensors

        if len({tuple(one.shape[1:]) for one in values}) == 1:
            return torch.cat(list(values))
    return list(itertools.chain.from_iterable(values))
