"""Walking over an index, batch by batch and epoch by epoch; any position can be gone on from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import EllipsisType
from typing import Any, Protocol

import numpy as np

from dovetail.data.datasets.selection import Position, Selection
from dovetail.data.order import permuted
from dovetail.errors import DataError

Shuffle = bool | int | np.random.Generator | np.random.RandomState | Callable[[np.ndarray], Any]
Epochs = int | None | EllipsisType

_LEAST_AT_ONCE, _MOST_AT_ONCE = 1 << 8, 1 << 14  # positions whose order is computed together


class Indexed(Protocol):
    """What can be walked over: a `DatasetIndex`."""

    def __len__(self) -> int: ...

    def ids_at(self, numbers: np.ndarray) -> np.ndarray:
        """Give the ids at some positions."""
        ...


class Walk(Iterator[Selection]):
    """The batches of an index, epoch after epoch.

    Without `drop_last` batches cross epochs and only the last may be short. With it no batch
    does, and each epoch leaves out its tail.

    Args:
      index: what to walk over.
      batch_size: items a batch; it may be above the length of the index.
      shuffle: False: each epoch in the order of the index. True: in an order of its own, by
        `seed`; a whole number: by that seed. A NumPy generator gives such a seed once, when the
        walk begins. A function is called for each epoch with the ids and returns them in the
        order in which they are to come.
      n_epochs: how many epochs; None: without end. Left out: 1, or no end if `n_iters` is given.
      n_iters: how many batches at most.
      drop_last: whether each epoch leaves out what does not fill a batch.
      seed: of the run.
      start: where to go on: a `state` of an earlier walk, or a `Position`.

    Raises:
      DataError: if an argument makes no sense, or, later, a function that is to shuffle gives
        other ids than it was given.

    >>> from dovetail.data.datasets.index import DatasetIndex
    >>> [one.ids.tolist() for one in Walk(DatasetIndex(4), 3, n_epochs=2)]
    [[0, 1, 2], [3, 0, 1], [2, 3]]
    >>> [one.ids.tolist() for one in Walk(DatasetIndex(4), 3, n_epochs=2, drop_last=True)]
    [[0, 1, 2], [0, 1, 2]]
    """

    def __init__(
        self,
        index: Indexed,
        batch_size: int,
        *,
        shuffle: Shuffle = False,
        n_epochs: Epochs = ...,
        n_iters: int | None = None,
        drop_last: bool = False,
        seed: int = 0,
        start: Position | Mapping[str, int] | None = None,
    ) -> None:
        if n_epochs is ...:
            n_epochs = 1 if n_iters is None else None
        for what, value in [("n_epochs", n_epochs), ("n_iters", n_iters)]:
            if value is not None and (not _is_whole(value) or value < 0):
                raise DataError(f"{what} is a whole number, 0 or more, or None; got {value!r}.")
        self.index = index
        self.batch_size = checked_size(batch_size, len(index), drop_last)
        self.n_epochs = None if n_epochs is None else int(n_epochs)
        self.n_iters = n_iters
        self.drop_last = drop_last
        self.seed = seed
        self._length = len(index)
        self._function = shuffle if callable(shuffle) else None
        self._order_seed = _order_seed(shuffle, seed)
        self._at = Position()
        self._known = np.empty(0, np.int64)  # the order of the positions from _known_from on
        self._known_from = 0
        self._of_function: tuple[int, np.ndarray] | None = None  # an epoch, and its order
        if start is not None:
            self._go_to(start)

    @property
    def state(self) -> dict[str, int]:
        """Where the walk stands, as plain values; a walk with it as `start` goes on from there."""
        return self.state_at(self._at)

    def state_at(self, position: Position) -> dict[str, int]:
        """Give the state at a position, such as that after the last batch that was finished."""
        state: dict[str, int] = dict(position._asdict())
        if self._order_seed is not None:
            state["order_seed"] = self._order_seed
        return state

    def __next__(self) -> Selection:
        return self.take(self.batch_size)

    def take(self, batch_size: int) -> Selection:
        """Give the next batch, of a size of its own.

        Raises:
          StopIteration: at the end of the walk.
        """
        epoch, position, iteration = self._at
        length = self._length
        if self.drop_last and position + batch_size > length:
            checked_size(batch_size, length, self.drop_last)
            epoch, position = epoch + 1, 0
        if self.n_iters is not None and iteration >= self.n_iters:
            raise StopIteration
        begin = epoch * length + position
        count = batch_size
        if self.n_epochs is not None:
            count = min(count, self.n_epochs * length - begin)
            if count < 1:
                raise StopIteration
        numbers = self._numbers(begin, count)
        end_epoch, end = divmod(begin + count, length)
        if end_epoch == epoch or (end == 0 and end_epoch == epoch + 1):
            epochs = np.full(count, epoch, np.int64)
        else:
            epochs = np.arange(begin, begin + count) // length
        self._at = Position(end_epoch, end, iteration + 1)
        ids = self.index.ids_at(numbers)
        return Selection(ids, numbers, epochs, self.seed, iteration, self._at)

    @property
    def batches(self) -> int | None:
        """How many batches the whole walk has, from its beginning; None: it has no end."""
        if self.n_epochs is None:
            return self.n_iters
        length = self._length
        if self.drop_last:
            count = self.n_epochs * (length // self.batch_size)
        else:
            count = -(-self.n_epochs * length // self.batch_size)
        return count if self.n_iters is None else min(count, self.n_iters)

    def _go_to(self, start: Position | Mapping[str, int]) -> None:
        state = dict(start._asdict() if isinstance(start, Position) else start)
        seed = state.pop("order_seed", None)
        if set(state) != set(Position._fields) or not all(_is_whole(at) for at in state.values()):
            raise DataError(f"A walk goes on from its `state` or a Position; got {start!r}.")
        position = Position(**state)
        if min(position) < 0 or position.position >= self._length:
            raise DataError(
                f"{position} lies outside an index of {self._length} items. Was it of another one?"
            )
        self._at = position
        if seed is not None:
            self._order_seed = seed

    def _numbers(self, begin: int, count: int) -> np.ndarray:
        """The items at positions of the whole walk, int64 [count]; computed well ahead."""
        offset = begin - self._known_from
        if not 0 <= offset <= len(self._known) - count:
            ahead = min(max(2 * len(self._known), _LEAST_AT_ONCE), _MOST_AT_ONCE)
            if self.n_epochs is not None:
                ahead = min(ahead, self.n_epochs * self._length - begin)
            self._known = self._ordered(begin, max(ahead, count))
            self._known_from, offset = begin, 0
        return self._known[offset : offset + count].copy()

    def _ordered(self, begin: int, count: int) -> np.ndarray:
        positions = np.arange(begin, begin + count, dtype=np.int64)
        if self._function is None and self._order_seed is None:
            return positions % self._length
        epochs, positions = np.divmod(positions, self._length)
        if self._function is None:
            assert self._order_seed is not None
            return permuted(self._order_seed, epochs, self._length, positions)
        found = [
            self._by_function(epoch)[positions[epochs == epoch]] for epoch in np.unique(epochs)
        ]
        return np.concatenate(found)

    def _by_function(self, epoch: int) -> np.ndarray:
        if self._of_function is not None and self._of_function[0] == epoch:
            return self._of_function[1]
        assert self._function is not None
        ids = self.index.ids_at(np.arange(self._length)).tolist()
        given = np.asarray(self._function(self.index.ids_at(np.arange(self._length)))).tolist()
        places = {one: number for number, one in enumerate(ids)}
        order = [places.get(one, -1) for one in given] if isinstance(given, list) else []
        if sorted(order) != list(range(self._length)):
            raise DataError(
                "A function given as shuffle must return all the ids that it is given, each "
                f"once, in the order in which they are to come. Given {ids[:5]}..., "
                f"{len(ids)} in all; got {str(given)[:60]}..."
            )
        self._of_function = (int(epoch), np.array(order, np.int64))
        return self._of_function[1]


def _order_seed(shuffle: Shuffle, seed: int) -> int | None:
    if isinstance(shuffle, bool | np.bool_):
        return seed if shuffle else None
    if _is_whole(shuffle):
        return int(shuffle)  # pyright: ignore[reportArgumentType]
    if isinstance(shuffle, np.random.Generator):
        return int(shuffle.integers(1 << 63))
    if isinstance(shuffle, np.random.RandomState):
        return int(shuffle.randint(1 << 62, dtype=np.int64))
    if callable(shuffle):
        return None
    raise DataError(
        "shuffle is True, False, a whole number as the seed, a NumPy generator, or a function of "
        f"the ids; got {shuffle!r}."
    )


def checked_size(batch_size: int, length: int, drop_last: bool) -> int:
    """Refuse a batch size that makes no sense for so many items."""
    if not _is_whole(batch_size) or batch_size < 1:
        raise DataError(f"batch_size is a whole number, 1 or more; got {batch_size!r}.")
    if drop_last and batch_size > length:
        raise DataError(
            f"With drop_last, batches of {batch_size} leave out all of the {length} items. Give "
            "a smaller batch_size, or leave drop_last out."
        )
    return int(batch_size)


def _is_whole(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)
