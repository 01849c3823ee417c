"""Joining batches: what their selections and their columns are together."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from dovetail.data.walk import Selection


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
