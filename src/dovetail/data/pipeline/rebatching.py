"""Batches of another size, made of the items of batches as they come."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from dovetail.data.batches.batch import Batch
from dovetail.data.pipeline.batch_steps import Carried


def rebatched(
    stream: Iterator[Carried],
    batch_size: int,
    drop_last: bool = False,
    *,
    given: int = 0,
    batches: int = 0,
) -> Iterator[Carried]:
    """Yield batches of `batch_size` items, in the order in which they come; the last may be short.

    Args:
      stream: batches of one class.
      batch_size: items a batch.
      drop_last: whether what does not fill a batch at the end is left out.
      given: how many of the first items to leave out, since they were given before.
      batches: how many batches were given before.

    Each batch says where the walk stands before the first item that is still held, and how many
    of the items after that were given: from there the next batch can be made again.
    """
    pieces: list[tuple[Carried, int]] = []  # with how many of its items were given already
    held = 0
    for carried in stream:
        count = len(carried.batch)
        begin, given = min(given, count), max(0, given - count)
        if begin == count:
            continue
        pieces.append((carried, begin))
        held += count - begin
        while held >= batch_size:
            made, pieces = _cut(pieces, batch_size)
            held -= batch_size
            yield _numbered(made, batches, carried, pieces)
            batches += 1
    if held and not drop_last:
        yield _numbered([_from(*piece) for piece in pieces], batches, pieces[-1][0], [])


def _cut(
    pieces: list[tuple[Carried, int]], batch_size: int
) -> tuple[list[Batch], list[tuple[Carried, int]]]:
    taken: list[Batch] = []
    for at, (carried, begin) in enumerate(pieces):
        there = len(carried.batch) - begin
        if there > batch_size:
            end = begin + batch_size
            taken.append(carried.batch.subset(np.arange(begin, end)))
            return taken, [(carried, end), *pieces[at + 1 :]]
        taken.append(_from(carried, begin))
        batch_size -= there
        if batch_size == 0:
            return taken, pieces[at + 1 :]
    raise AssertionError("fewer items than were counted")


def _from(carried: Carried, begin: int) -> Batch:
    batch = carried.batch
    return batch if begin == 0 else batch.subset(np.arange(begin, len(batch)))


def _numbered(
    made: list[Batch], number: int, last: Carried, rest: list[tuple[Carried, int]]
) -> Carried:
    batch = made[0] if len(made) == 1 else type(made[0]).merge(made)
    batch.selection = replace(batch.selection, iteration=number)
    before, given = (rest[0][0].before, rest[0][1]) if rest else (last.after, 0)
    return Carried(
        batch,
        seed=last.seed,
        iteration=number,
        before=before,
        after=before,
        given=given,
        batches=number + 1,
    )
