"""Batches of another size, made of the items of batches as they come."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from dovetail.data.batch import Batch
from dovetail.data.batch_steps import Carried


def rebatched(stream: Iterator[Carried], batch_size: int, drop_last: bool) -> Iterator[Carried]:
    """Yield batches of `batch_size` items, in the order in which they come; the last may be short.

    Args:
      stream: batches of one class.
      batch_size: items a batch.
      drop_last: whether what does not fill a batch at the end is left out.
    """
    number = itertools.count()
    pieces: list[Batch] = []
    held = 0
    for carried in stream:
        pieces.append(carried.batch)
        held += len(carried.batch)
        while held >= batch_size:
            taken, pieces = _cut(pieces, batch_size)
            held -= batch_size
            yield _numbered(taken, next(number))
    if held and not drop_last:
        yield _numbered(pieces, next(number))


def _cut(pieces: list[Batch], batch_size: int) -> tuple[list[Batch], list[Batch]]:
    taken: list[Batch] = []
    for at, piece in enumerate(pieces):
        if len(piece) > batch_size:
            rest = piece.subset(np.arange(batch_size, len(piece)))
            first = [piece.subset(np.arange(batch_size))] if batch_size else []
            return [*taken, *first], [rest, *pieces[at + 1 :]]
        taken.append(piece)
        batch_size -= len(piece)
        if batch_size == 0:
            return taken, pieces[at + 1 :]
    raise AssertionError("fewer items than were counted")


def _numbered(pieces: list[Batch], number: int) -> Carried:
    batch = pieces[0] if len(pieces) == 1 else type(pieces[0]).merge(pieces)
    batch.selection = replace(batch.selection, iteration=number)
    return Carried(batch)
