"""What a data set's items are called, and in which order they stand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar, overload

import numpy as np

from dovetail.data.datasets.ids import ids_array, unique_ids
from dovetail.data.datasets.puller import Puller
from dovetail.data.datasets.selection import Position, Selection
from dovetail.data.datasets.splits import Split, folded, parted
from dovetail.data.datasets.walk import Epochs, Shuffle, Walk
from dovetail.errors import DataError, nearest

Given = Any  # a length, ids, a callable that gives either, or an index
Index = TypeVar("Index", bound="DatasetIndex")

_FEW = 10_000  # ids among which the nearest to a wrong one is looked for


class DatasetIndex:
    """The ids of a data set's items, each once, in an order.

    Args:
      index: how many items there are (their ids are then 0, 1, ...); or their ids, a sequence or
        array [n] of whole numbers, text, or other hashable values; or a function without
        arguments that gives either; or another index.

    Raises:
      DataError: if there is no item, an id comes twice, or it is none of these.

    Attributes:
      train, test, validation: parts of it, once `split` was called; before, None.

    >>> index = DatasetIndex(["ann", "bob", "eve"])
    >>> len(index), index.get_pos("bob"), index.subset_by_pos([0, 2]).indices.tolist()
    (3, 1, ['ann', 'eve'])
    """

    def __init__(self, index: Given) -> None:
        self._ids: np.ndarray | None = None  # None: they are the positions themselves
        self._every: np.ndarray | None = None
        self._places: dict[Any, int] | None = None
        self._puller = Puller(self)
        self.train: Any = None
        self.test: Any = None
        self.validation: Any = None
        if isinstance(index, DatasetIndex):
            self._length, self._ids = index._length, index._ids
            return
        if callable(index):
            index = index()
        if isinstance(index, int | np.integer) and not isinstance(index, bool):
            self._length = int(index)
        else:
            self._ids = unique_ids(index)
            self._length = len(self._ids)
        if self._length < 1:
            raise DataError(
                "An index holds at least one item; this one is empty. Check what it was made "
                f"from: {index!r}."
            )

    @property
    def indices(self) -> np.ndarray:
        """The ids, [len], not to be written to."""
        if self._ids is not None:
            return self._ids
        if self._every is None:
            self._every = np.arange(self._length)
            self._every.flags.writeable = False
        return self._every

    def ids_at(self, numbers: np.ndarray) -> np.ndarray:
        """Give the ids at some positions, int [n]; as an array of their own."""
        return numbers.copy() if self._ids is None else self._ids[numbers]

    @overload
    def get_pos(self, ids: str | int | np.integer[Any]) -> int: ...
    @overload
    def get_pos(self, ids: Sequence[Any] | np.ndarray) -> np.ndarray: ...

    def get_pos(self, ids: Any) -> Any:
        """Say where an id stands, or where several do.

        Args:
          ids: one id, or a list or array of them. A tuple is one id.

        Returns:
          int; or int64 [n].

        Raises:
          DataError: naming an id that is not in the index.
        """
        if isinstance(ids, np.ndarray) and self._ids is None and ids.dtype.kind in "iu":
            outside = np.flatnonzero((ids < 0) | (ids >= self._length))
            return ids.astype(np.int64) if not len(outside) else self._place(ids[outside[0]])
        if isinstance(ids, list | np.ndarray | range):
            return np.array([self._place(one) for one in ids], np.int64)
        return self._place(ids)

    def subset_by_pos(self: Index, pos: Any) -> Index:
        """Make an index of some of the items.

        Args:
          pos: a position, or int [n], or a slice, or bool [len]; in the order wanted.

        Raises:
          DataError: if a position lies outside, comes twice, or there is none.
        """
        numbers = self._numbers(pos)
        return self._sub(numbers)

    def create_subset(self: Index, ids: Any) -> Index:
        """Make an index of some of the items, by their ids, in the order given."""
        given = ids.indices if isinstance(ids, DatasetIndex) else np.atleast_1d(ids_array(ids))
        return self._sub(self._numbers(self.get_pos(given)))

    def split(
        self: Index,
        shares: float | Sequence[float] = 0.8,
        *,
        shuffle: Shuffle = True,
        seed: int = 0,
    ) -> Split[Index]:
        """Divide the items into `train`, `test` and `validation`, which are kept as attributes.

        Args:
          shares: that of train, the rest being test; or those of train and test; or of all three.
            What they leave below 1 goes to validation if two are given, else to none.
          shuffle: which items go where: as for `gen_batch`; False cuts the index as it stands.
          seed: what True means for `shuffle`.

        Returns:
          the three parts, each in the order of this index; None where none was asked for.

        Raises:
          DataError: if the shares make no sense, or one is too small for a single item.

        >>> index = DatasetIndex(10)
        >>> [len(part) for part in index.split([0.7, 0.2])]
        [7, 2, 1]
        """
        numbers = parted(self._order(shuffle, seed), shares)
        parts: list[Any] = [None if one is None else self._sub(np.sort(one)) for one in numbers]
        self.train, self.test, self.validation = parts
        return Split(*parts)

    def folds(
        self: Index, n_folds: int, *, shuffle: Shuffle = True, seed: int = 0
    ) -> list[Split[Index]]:
        """Divide the items into folds for cross-validation.

        Args:
          n_folds: how many, from 2 to the number of items.
          shuffle, seed: as for `split`.

        Returns:
          for each fold a `Split` whose test part is that fold, and whose train part all others.
          Each item is tested once.

        >>> [fold.test.indices.tolist() for fold in DatasetIndex(5).folds(2, shuffle=False)]
        [[0, 1, 2], [3, 4]]
        """
        return [
            Split(self._sub(np.sort(train)), self._sub(np.sort(test)), None)
            for train, test in folded(self._order(shuffle, seed), n_folds)
        ]

    @overload
    def cv_split(
        self: Index, shares: float | Sequence[float] = 0.8, *, shuffle: Shuffle = ..., seed: int = 0
    ) -> Split[Index]: ...
    @overload
    def cv_split(
        self: Index, *, n_folds: int, shuffle: Shuffle = ..., seed: int = 0
    ) -> list[Split[Index]]: ...

    def cv_split(
        self,
        shares: float | Sequence[float] = 0.8,
        *,
        n_folds: int | None = None,
        shuffle: Shuffle = True,
        seed: int = 0,
    ) -> Any:
        """Divide the items: `folds` if `n_folds` is given, else `split`; see there."""
        if n_folds is not None:
            return self.folds(n_folds, shuffle=shuffle, seed=seed)
        return self.split(shares, shuffle=shuffle, seed=seed)

    def walk(
        self,
        batch_size: int,
        *,
        shuffle: Shuffle = False,
        n_epochs: Epochs = ...,
        n_iters: int | None = None,
        drop_last: bool = False,
        seed: int = 0,
        start: Position | dict[str, int] | None = None,
    ) -> Walk:
        """Give an iterator over batches that knows where it stands; see `Walk`."""
        return Walk(
            self,
            batch_size,
            shuffle=shuffle,
            n_epochs=n_epochs,
            n_iters=n_iters,
            drop_last=drop_last,
            seed=seed,
            start=start,
        )

    def gen_batch(
        self,
        batch_size: int,
        *,
        shuffle: Shuffle = False,
        n_epochs: Epochs = ...,
        n_iters: int | None = None,
        drop_last: bool = False,
        seed: int = 0,
    ) -> Iterator[np.ndarray]:
        """Yield the ids of batch after batch; the arguments are a `Walk`'s.

        >>> [ids.tolist() for ids in DatasetIndex(4).gen_batch(3, n_epochs=2)]
        [[0, 1, 2], [3, 0, 1], [2, 3]]
        """
        walk = self.walk(
            batch_size,
            shuffle=shuffle,
            n_epochs=n_epochs,
            n_iters=n_iters,
            drop_last=drop_last,
            seed=seed,
        )
        return (selection.ids for selection in walk)

    def next_batch(
        self,
        batch_size: int,
        *,
        shuffle: Shuffle = False,
        n_epochs: int | None = None,
        drop_last: bool = False,
        seed: int = 0,
    ) -> np.ndarray:
        """Give the ids of the next batch; the first call begins a walk, `reset` ends it.

        Args:
          batch_size: items in this batch; another call may ask for another size.
          shuffle, n_epochs, drop_last, seed: a `Walk`'s, the same at every call until `reset`.

        Raises:
          StopIteration: when all epochs are done.
        """
        taken = self._puller.take(
            batch_size, shuffle=shuffle, n_epochs=n_epochs, drop_last=drop_last, seed=seed
        )
        return taken.ids

    def reset(self) -> None:
        """Have `next_batch` begin anew."""
        self._puller.reset()

    def select(self, ids: Any) -> Selection:
        """Give a `Selection` of some items, by their ids; each may come more than once."""
        wanted = ids_array(ids)
        numbers = self.get_pos(wanted)
        return Selection(self.ids_at(numbers), numbers, np.zeros(len(numbers), np.int64))

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Any]:
        return iter(self.indices.tolist())

    def __contains__(self, one: object) -> bool:
        return self._find(one) is not None

    def __getstate__(self) -> dict[str, Any]:
        """What travels to another process: all but where `next_batch` stands."""
        return {**self.__dict__, "_puller": None, "_places": None, "_every": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _puller=Puller(self))

    def __repr__(self) -> str:
        shown = ", ".join(map(repr, self.ids_at(np.arange(min(len(self), 4))).tolist()))
        return f"{type(self).__name__}({len(self)} items: {shown}{', ...' * (len(self) > 4)})"

    def _sub(self: Index, numbers: np.ndarray) -> Index:
        """Make an index of the items at some positions; a subclass adds what it knows of them."""
        made = type(self).__new__(type(self))
        DatasetIndex.__init__(made, self.ids_at(numbers))
        return made

    def _order(self, shuffle: Shuffle, seed: int) -> np.ndarray:
        return next(self.walk(len(self), shuffle=shuffle, seed=seed)).numbers

    def _numbers(self, pos: Any) -> np.ndarray:
        every = np.arange(self._length)
        try:
            numbers = np.atleast_1d(every[pos])
        except IndexError:
            raise DataError(
                f"Positions in this index run from 0 to {self._length - 1}; got {pos!r}."
            ) from None
        if numbers.size == 0:
            raise DataError("A subset holds at least one item; no position was given.")
        return numbers

    def _find(self, one: Any) -> int | None:
        if self._ids is None:
            whole = isinstance(one, int | np.integer) and not isinstance(one, bool)
            return int(one) if whole and 0 <= one < self._length else None
        if self._places is None:
            self._places = {known: at for at, known in enumerate(self._ids.tolist())}
        return self._places.get(one)

    def _place(self, one: Any) -> int:
        found = self._find(one)
        if found is None:
            few = isinstance(one, str) and len(self) <= _FEW
            ids = self.indices.tolist() if few else []
            shown = one.item() if isinstance(one, np.generic) else one
            raise DataError(f"{self!r} has no item {shown!r}.{nearest(str(one), ids)}")
        return found
