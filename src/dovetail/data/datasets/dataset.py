"""A data set: an index, the class of its batches, and what data it has."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar, overload

from dovetail.data.batches.batch import Batch
from dovetail.data.batches.components import check_components
from dovetail.data.datasets.index import DatasetIndex
from dovetail.data.datasets.preloaded import ComponentSource, Part, RecordColumns, as_source
from dovetail.data.datasets.puller import Puller
from dovetail.data.datasets.selection import Position, Selection
from dovetail.data.datasets.splits import Split
from dovetail.data.datasets.walk import Epochs, Shuffle, Walk
from dovetail.data.records import Records
from dovetail.errors import DataError, DefinitionError

Self = TypeVar("Self", bound="Dataset")


class Dataset:
    """Items that batches are made of.

    Args:
      index: a `DatasetIndex`, or what one is made from: a length, ids, or a function.
      batch_class: of its batches, a subclass of `Batch`.
      preloaded: the data of all items, if it is there: a dict by component, a tuple in the order
        of the class's components, one array or list, `Records`, or a `ComponentSource`. Batches
        copy what they are asked for out of it. Without it an action loads the data.

    Raises:
      DefinitionError: if the batch class is none, or its components don't fit.
      DataError: if there is no item, an id comes twice, or the data doesn't fit the index or the
        components.

    Attributes:
      index, batch_class: as given.
      source: the preloaded data by component, or None.
      train, test, validation: parts of it, once `split` was called; before, None.

    >>> import numpy as np
    >>> dataset = Dataset(10, preloaded={"x": np.arange(10) ** 2})
    >>> [batch.x.tolist() for batch in dataset.gen_batch(4)]
    [[0, 1, 4, 9], [16, 25, 36, 49], [64, 81]]
    """

    def __init__(self, index: Any, batch_class: type[Batch] = Batch, preloaded: Any = None) -> None:
        if not isinstance(batch_class, type) or not issubclass(batch_class, Batch):
            raise DefinitionError(
                f"batch_class must be a subclass of dovetail.Batch; got {batch_class!r}."
            )
        self.index = index if isinstance(index, DatasetIndex) else DatasetIndex(index)
        self.batch_class = batch_class
        self.source: ComponentSource | None = as_source(
            preloaded, len(self.index), batch_class.components, batch_class.__name__
        )
        if self.source is not None and batch_class.components is None:
            check_components(batch_class, self.source.names)
        self.train: Any = None
        self.test: Any = None
        self.validation: Any = None
        self._puller = Puller(self.index)

    @classmethod
    def from_records(
        cls: type[Self], path: str | Path | Records, batch_class: type[Batch] = Batch
    ) -> Self:
        """Make a data set of records: a batch's components are the schema's fields.

        Args:
          path: the folder that `dovetail prepare` wrote, or `Records`, a part of some too. The
            ids are the rows' numbers in the whole set.
          batch_class: its components, if it names any, are fields of the schema; it may name
            others beside, for its actions to fill.

        Raises:
          DataError: if the folder holds no whole records, or no row, or the class doesn't fit.

        A batch reads a field when it is first asked for, by one gather from the mapped shards.
        """
        source = RecordColumns(path)
        if not len(source):
            raise DataError(f"{source.records.path} holds no examples to make a data set of.")
        return cls(source.records.numbers, batch_class, preloaded=source)

    @property
    def indices(self) -> Any:
        """The ids of the items, [len]."""
        return self.index.indices

    def create_batch(self, items: Any, pipeline: Any = None) -> Batch:
        """Make a batch of some items.

        Args:
          items: a `Selection`, as a `walk` gives; or ids, [n].
          pipeline: that the batch is for.
        """
        chosen = items if isinstance(items, Selection) else self.index.select(items)
        return self.batch_class(chosen, dataset=self, pipeline=pipeline)

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
        """Give an iterator over `Selection`s that knows where it stands; see `Walk`."""
        return self.index.walk(
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
    ) -> Iterator[Batch]:
        """Yield batch after batch; the arguments are a `Walk`'s."""
        walk = self.walk(
            batch_size,
            shuffle=shuffle,
            n_epochs=n_epochs,
            n_iters=n_iters,
            drop_last=drop_last,
            seed=seed,
        )
        return (self.create_batch(selection) for selection in walk)

    def next_batch(
        self,
        batch_size: int,
        *,
        shuffle: Shuffle = False,
        n_epochs: int | None = None,
        drop_last: bool = False,
        seed: int = 0,
    ) -> Batch:
        """Give the next batch; see `DatasetIndex.next_batch`.

        Raises:
          StopIteration: when all epochs are done.
        """
        taken = self._puller.take(
            batch_size, shuffle=shuffle, n_epochs=n_epochs, drop_last=drop_last, seed=seed
        )
        return self.create_batch(taken)

    def reset(self) -> None:
        """Have `next_batch` begin anew."""
        self._puller.reset()

    def subset_by_pos(self: Self, pos: Any) -> Self:
        """Make a data set of some items, by their positions; see `DatasetIndex.subset_by_pos`."""
        return self._with(self.index.subset_by_pos(pos))

    def create_subset(self: Self, ids: Any) -> Self:
        """Make a data set of some items, by their ids (or an index of them), in that order."""
        return self._with(self.index.create_subset(ids))

    def split(
        self: Self,
        shares: float | Sequence[float] = 0.8,
        *,
        shuffle: Shuffle = True,
        seed: int = 0,
    ) -> Split[Self]:
        """Divide it into `train`, `test` and `validation`; see `DatasetIndex.split`.

        >>> dataset = Dataset(10)
        >>> _ = dataset.split(0.7)
        >>> len(dataset.train), len(dataset.test)
        (7, 3)
        """
        parts = self.index.split(shares, shuffle=shuffle, seed=seed)
        made: list[Any] = [None if part is None else self._with(part) for part in parts]
        self.train, self.test, self.validation = made
        return Split(*made)

    def folds(
        self: Self, n_folds: int, *, shuffle: Shuffle = True, seed: int = 0
    ) -> list[Split[Self]]:
        """Divide it for cross-validation; see `DatasetIndex.folds`."""
        folds = self.index.folds(n_folds, shuffle=shuffle, seed=seed)
        return [Split(self._with(fold.train), self._with(fold.test), None) for fold in folds]

    @overload
    def cv_split(
        self: Self, shares: float | Sequence[float] = 0.8, *, shuffle: Shuffle = ..., seed: int = 0
    ) -> Split[Self]: ...
    @overload
    def cv_split(
        self: Self, *, n_folds: int, shuffle: Shuffle = ..., seed: int = 0
    ) -> list[Split[Self]]: ...

    def cv_split(
        self,
        shares: float | Sequence[float] = 0.8,
        *,
        n_folds: int | None = None,
        shuffle: Shuffle = True,
        seed: int = 0,
    ) -> Any:
        """Divide it: `folds` if `n_folds` is given, else `split`; see there."""
        if n_folds is not None:
            return self.folds(n_folds, shuffle=shuffle, seed=seed)
        return self.split(shares, shuffle=shuffle, seed=seed)

    @property
    def p(self) -> Any:
        """A new pipeline over this data set, still without actions."""
        return self.pipeline()

    def pipeline(self, config: Any = None) -> Any:
        """Make a pipeline over this data set.

        Args:
          config: of the pipeline, a dict.
        """
        # Not at the top: a pipeline knows data sets, and not the other way round.
        pipelines = importlib.import_module("dovetail.data.pipeline.pipeline")
        return pipelines.Pipeline(config=config) << self

    def __rshift__(self, other: Any) -> Any:
        """Bind a pipeline that has no data set yet: `dataset >> pipeline`."""
        # Numbers have an operator << too, which is another one.
        bind = hasattr(type(other), "__lshift__") and hasattr(other, "steps")
        return other << self if bind else NotImplemented

    def __len__(self) -> int:
        return len(self.index)

    def __getstate__(self) -> dict[str, Any]:
        """What travels to another process: all but where `next_batch` stands."""
        return {**self.__dict__, "_puller": Puller(self.index)}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} items, {self.batch_class.__name__})"

    def _with(self: Self, index: DatasetIndex) -> Self:
        """The same with fewer items: what is preloaded is shared."""
        made = type(self).__new__(type(self))
        source = self.source
        if source is not None:
            source = Part(source, self.index.get_pos(index.indices))
        Dataset.__init__(made, index, self.batch_class, source)
        return made
