"""Several data sets as one: an item is the items of all of them that belong together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dovetail.data.batches.batch import Batch
from dovetail.data.datasets.dataset import Dataset
from dovetail.errors import DataError

_SHOWN = 3


class JointDataset(Dataset):
    """Data sets whose items are taken together, such as images here and their masks there.

    Args:
      datasets: two or more; ids and order are those of the first.
      align: "id": the items of one id belong together, so all must have the same ids, in any
        order; "position": those at one position, so all must have as many.
      batch_class: of its batches; by default `JointBatch`.

    Raises:
      DataError: if the data sets don't match, or two have a component of one name.

    What the data sets have preloaded are the components of a batch. `batch.joined` gives a batch
    of each, in their own classes, for what actions load.

    >>> images = Dataset(["a", "b"], preloaded={"image": np.zeros((2, 4, 4))})
    >>> labels = Dataset(["b", "a"], preloaded={"label": np.array([1, 0])})
    >>> batch = JointDataset((images, labels)).next_batch(2)
    >>> batch.image.shape, batch.label.tolist()
    ((2, 4, 4), [0, 1])
    """

    def __init__(
        self,
        datasets: Sequence[Dataset],
        align: str = "id",
        batch_class: type[Batch] | None = None,
    ) -> None:
        if len(datasets) < 2 or not all(isinstance(one, Dataset) for one in datasets):
            raise DataError(f"JointDataset takes two or more data sets; got {datasets!r}.")
        self.datasets = tuple(datasets)
        self.align = align
        first = self.datasets[0]
        if align == "position":
            lengths = [len(one) for one in datasets]
            if len(set(lengths)) > 1:
                raise DataError(f"Aligned by position, data sets are of one length; got {lengths}.")
            self._numbers = [np.arange(len(first))] * len(datasets)
        elif align == "id":
            self._numbers = [_aligned(first, one, at) for at, one in enumerate(datasets)]
        else:
            raise DataError(f'align is "id" or "position"; got {align!r}.')
        source = _JointSource(self.datasets, self._numbers)
        super().__init__(first.index, batch_class or JointBatch, source if source.names else None)

    def joined(self, batch: Batch) -> tuple[Batch, ...]:
        """Give, for a batch, a batch of each data set; the items are those of its places."""
        chosen = batch.selection
        batches: list[Batch] = []
        for dataset, numbers in zip(self.datasets, self._numbers, strict=True):
            own = numbers[chosen.numbers]
            selection = chosen.moved(dataset.index.ids_at(own), own)
            batches.append(dataset.create_batch(selection, batch.pipeline))
        return tuple(batches)

    def _with(self, index: Any) -> Any:
        numbers = self.index.get_pos(index.indices)
        parts = [
            dataset.subset_by_pos(own[numbers])
            for dataset, own in zip(self.datasets, self._numbers, strict=True)
        ]
        return type(self)(parts, "position", self.batch_class)


class JointBatch(Batch):
    """A batch of several data sets at once."""

    @property
    def joined(self) -> tuple[Batch, ...]:
        """A batch of each data set, made at the first call; actions may load what they need."""
        # Of other items, as after `subset`, what was made before is no longer right.
        of, made = self.__dict__.get("_joined", (None, ()))
        if of is not self.selection:
            if not isinstance(self.dataset, JointDataset):
                raise DataError("This batch is of no JointDataset, so there is nothing joined.")
            made = self.dataset.joined(self)
            self.__dict__["_joined"] = self.selection, made
        return made

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        state.pop("_joined", None)
        return state


class _JointSource:
    """The components of several data sets, side by side."""

    def __init__(self, datasets: Sequence[Dataset], numbers: Sequence[np.ndarray]) -> None:
        self._homes: dict[str, tuple[Any, np.ndarray]] = {}
        self._length = len(numbers[0])
        places: dict[str, int] = {}
        for at, (dataset, own) in enumerate(zip(datasets, numbers, strict=True)):
            for name in dataset.source.names if dataset.source is not None else ():
                if name in self._homes:
                    raise DataError(
                        f"Data sets {places[name]} and {at} both have a component '{name}'. "
                        "Name it otherwise in one of them."
                    )
                self._homes[name], places[name] = (dataset.source, own), at
        self.names = tuple(self._homes)

    def __len__(self) -> int:
        return self._length

    def take(self, name: str | None, numbers: np.ndarray) -> Any:
        """Give a component of some items, from the data set that has it."""
        assert name is not None
        source, own = self._homes[name]
        return source.take(name, own[numbers])


def _aligned(first: Dataset, other: Dataset, at: int) -> np.ndarray:
    """For each item of the first data set, the position of the same id in another."""
    ours, theirs = set(first.indices.tolist()), set(other.indices.tolist())
    if ours != theirs:
        lacking = sorted(map(repr, ours - theirs))[:_SHOWN]
        beyond = sorted(map(repr, theirs - ours))[:_SHOWN]
        raise DataError(
            f"Aligned by id, data sets have the same ids. Data set {at} lacks "
            f"{len(ours - theirs)} of the first's ({', '.join(lacking) or 'none'}) and has "
            f"{len(theirs - ours)} others ({', '.join(beyond) or 'none'}). Make subsets of the "
            "ids that they share."
        )
    return other.index.get_pos(first.indices)
