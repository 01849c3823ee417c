"""A batch: some items of a data set, their data by component, and what can be done with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self, overload

import numpy as np

from dovetail.data.batches.base_actions import BaseActions
from dovetail.data.batches.components import NotLoadedError, check_components
from dovetail.data.batches.item import Item
from dovetail.data.batches.merging import merged, part_of
from dovetail.data.batches.seeds import SeededItems
from dovetail.data.datasets.ids import ids_array
from dovetail.data.datasets.preloaded import as_source
from dovetail.data.datasets.selection import Selection
from dovetail.data.pipeline.model_actions import ModelActions
from dovetail.errors import DataError, nearest

if TYPE_CHECKING:
    from dovetail.data.datasets.dataset import Dataset


class Batch(BaseActions, ModelActions, SeededItems):
    """Some items of a data set.

    Subclasses name their `components`, such as `components = "images", "labels"`, and add
    actions, methods marked with `@action`. Each component is an attribute: [n, ...] or a list of
    n values. What the data set has preloaded is read when it is first asked for, and copied, so
    that it may be written to; what an action makes is assigned.

    Args:
      indices: the ids of the items, [n]; or how many; or a `Selection`.
      preloaded: data of these n items: a dict by component, a tuple in the order of the
        components, or one array or list. Without it the data set's.
      dataset: which the items are of.
      pipeline: that is at work on the batch.

    Raises:
      DataError: if the data does not fit the components, or the ids.

    Attributes:
      components: names of the components; None: there is one nameless whole, `data`.
      selection: the items, and where in the run they come.
      dataset, pipeline: as given, or None.

    >>> class Digits(Batch):
    ...     components = "images", "labels"
    >>> batch = Digits([7, 9], preloaded=(np.zeros((2, 8, 8)), np.array([1, 0])))
    >>> batch.labels.tolist(), batch[1].labels, batch.images.shape
    ([1, 0], np.int64(0), (2, 8, 8))
    """

    components: Sequence[str] | None = None
    dataset: Dataset | None = None
    pipeline: Any = None
    _whole: Any = None  # the data of a batch without components

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "components" in vars(cls) and cls.components is not None:
            names = [cls.components] if isinstance(cls.components, str) else cls.components
            cls.components = tuple(names)
        if cls.components is not None:  # inherited ones too: a method may have taken the name
            check_components(cls, cls.components)

    def __init__(
        self,
        indices: Any,
        preloaded: Any = None,
        *,
        dataset: Dataset | None = None,
        pipeline: Any = None,
    ) -> None:
        self.selection = indices if isinstance(indices, Selection) else selected(indices)
        self.dataset = dataset
        self.pipeline = pipeline
        if preloaded is not None:
            what = type(self).__name__
            source = as_source(preloaded, len(self.selection), self.components, what)
            # The source is in the order of the batch, whatever the items' places elsewhere are.
            self._source, self._numbers = source, np.arange(len(self.selection))
        else:
            self._source = None if dataset is None else dataset.source
            self._numbers = self.selection.numbers
        if self.components is None and self._source is not None and self._source.names:
            self.components = self._source.names
            if dataset is None:
                check_components(type(self), self.components)

    @property
    def indices(self) -> np.ndarray:
        """The ids of the items, [n]."""
        return self.selection.ids

    @property
    def epoch(self) -> int:
        """In which epoch the first item comes."""
        return int(self.selection.epochs[0]) if len(self) else 0

    @property
    def epochs(self) -> np.ndarray:
        """In which epoch each item comes, int64 [n]: a batch may cross from one to the next."""
        return self.selection.epochs

    @property
    def iteration(self) -> int:
        """Which batch of the run it is, from 0 on."""
        return self.selection.iteration

    @property
    def seed(self) -> int:
        """The seed of the run."""
        return self.selection.seed

    @property
    def data(self) -> Any:
        """All data: the nameless whole (None before it is loaded); or a dict by component.

        The dict holds what is loaded or can be. Assigning a dict, or a tuple in the order of the
        components, sets several at once.
        """
        if self.components:
            there = [name for name in self.components if self.has(name)]
            return {name: getattr(self, name) for name in there}
        if "_whole" not in self.__dict__ and self._source is not None:
            # Of several threads that come here at once, all get what the first one read.
            return self.__dict__.setdefault("_whole", self._source.take(None, self._numbers))
        return self._whole

    @data.setter
    def data(self, value: Any) -> None:
        if not self.components:
            self._whole = value
            return
        if isinstance(value, tuple) and len(value) <= len(self.components):
            value = dict(zip(self.components, value, strict=False))
        if not isinstance(value, Mapping):
            raise DataError(
                f"The data of {type(self).__name__} is a dict by component, or a tuple in their "
                f"order ({', '.join(self.components)}); got {type(value).__name__}."
            )
        for name in value:
            self._require(name)
        self.__dict__.update(value)

    def has(self, component: str) -> bool:
        """Say whether a component is loaded, or is there to be loaded when it is asked for."""
        source = self._source
        return component in self.__dict__ or (source is not None and component in source.names)

    def column(self, component: str | None = None) -> Any:
        """Give a component (None: the nameless whole), and check that it has a value an item."""
        if component is None and self.components:  # whose data is a dict, not a value an item
            raise DataError(
                f"{type(self).__name__} has its data by component: say which is meant, as in "
                f"component='{self.components[0]}'; it has {', '.join(self.components)}."
            )
        values = self.data if component is None else getattr(self, self._require(component))
        if values is None or not hasattr(values, "__len__") or len(values) != len(self):
            what = "data" if component is None else f"component '{component}'"
            had = "none" if values is None else len(values) if hasattr(values, "__len__") else 1
            raise DataError(
                f"{what} of {type(self).__name__} needs a value for each of its {len(self)} items; "
                f"it has {had}."
            )
        return values

    def set_component(self, name: str, values: Any) -> None:
        """Assign a component by its name, which it must have."""
        self.__dict__[self._require(name)] = values

    def add_components(self, names: str | Sequence[str], data: Any = None) -> Self:
        """Give this batch components that its class has not.

        Args:
          names: one or more.
          data: of the one; or a tuple with that of each; None: to be assigned later.
        """
        added = (names,) if isinstance(names, str) else tuple(names)
        check_components(type(self), added)
        self.components = (*(self.components or ()), *added)
        check_components(type(self), self.components)
        if data is not None:
            values = (data,) if isinstance(names, str) else data
            self.__dict__.update(zip(added, values, strict=True))
        return self

    def get_pos(self, id: Any) -> int:
        """Say at which position in the batch an item is, by its id (the first, of several)."""
        ids = self.indices.tolist()
        if id not in ids:
            raise DataError(
                f"There is no item {id!r} in this batch.{nearest(str(id), map(str, ids))}"
            )
        return ids.index(id)

    def get(self, item: Any = None, component: str | None = None) -> Any:
        """Give an item by its id, or one component of it, or one component of all.

        Args:
          item: an id; None: all items.
          component: a name; None: all.
        """
        if item is None:
            return self.data if component is None else self.column(component)
        one = Item(self, self.get_pos(item))
        return one if component is None else one[component]

    @overload
    def __getitem__(self, key: slice | list[int] | np.ndarray) -> Self: ...
    @overload
    def __getitem__(self, key: int | str) -> Item: ...

    def __getitem__(self, key: Any) -> Any:
        """Give the item at a position, or of an id that is text; a slice or list: a batch."""
        if isinstance(key, str):
            return Item(self, self.get_pos(key))
        if isinstance(key, int | np.integer):
            if not -len(self) <= key < len(self):
                raise IndexError(
                    f"This batch of {len(self)} items has none at position {key}. By a number "
                    "items are found by their position; by their id with get(id)."
                )
            return Item(self, range(len(self))[key])
        return self.subset(np.arange(len(self))[key])

    def __len__(self) -> int:
        return len(self.selection)

    def __iter__(self) -> Iterator[Item]:
        return (Item(self, at) for at in range(len(self)))

    def __getattr__(self, name: str) -> Any:
        # Only what is not there yet comes here: a component, to be loaded now.
        if name.startswith("_"):  # such as __array__, by which libraries ask what an object can do
            raise AttributeError(f"{type(self).__name__} has no '{name}'.")
        if name not in (self.components or ()):
            known = [one for one in dir(type(self)) if not one.startswith("_")]
            said = nearest(name, [*(self.components or ()), *known])
            said = said or f" Its components are {', '.join(self.components or ()) or 'none'}."
            raise AttributeError(f"{type(self).__name__} has no '{name}'.{said}")
        if self._source is None or name not in self._source.names:
            raise NotLoadedError(
                f"{type(self).__name__} has no data for its component '{name}' yet. Load or assign "
                "it in an action before this one, or give the data set preloaded data."
            )
        # Of several threads that come here at once, all get what the first one read.
        return self.__dict__.setdefault(name, self._source.take(name, self._numbers))

    def subset(self, positions: Any) -> Self:
        """Make a batch of some of the items, with copies of what they have loaded.

        Args:
          positions: int [n], in this batch.
        """
        return part_of(self, positions)

    def split(self, batch_size: int) -> list[Self]:
        """Divide the batch into batches of a size; the last may be short."""
        if batch_size < 1:
            raise DataError(f"batch_size is 1 or more; got {batch_size!r}.")
        starts = range(0, len(self), batch_size)
        return [self.subset(np.arange(at, min(at + batch_size, len(self)))) for at in starts]

    @classmethod
    def merge(cls, batches: Sequence[Self]) -> Self:
        """Join batches of one class into one; what none has loaded stays to be loaded.

        Args:
          batches: one or more; the dataset and the pipeline are kept if all have the same.

        Raises:
          DataError: if there is none, or they differ in class or components.
        """
        if not batches or {type(one) for one in batches} != {cls}:
            kinds = ", ".join(sorted({type(one).__name__ for one in batches})) or "none"
            raise DataError(f"{cls.__name__}.merge joins batches of that class; got {kinds}.")
        named = {tuple(one.components or ()) for one in batches}
        if len(named) > 1:
            raise DataError(
                f"{cls.__name__}.merge joins batches of the same components; got "
                f"{' and '.join(str(list(names)) for names in sorted(named))}."
            )
        return merged(batches)

    def get_model_by_name(self, name: str) -> Any:
        """Give a model of the pipeline that is at work on this batch, by its exact name."""
        if self.pipeline is None:
            raise DataError(
                f"This batch belongs to no pipeline, so there is no model '{name}' to be had."
            )
        return self.pipeline.get_model_by_name(name, batch=self)

    def __getstate__(self) -> dict[str, Any]:
        """What travels to another process: all but the pipeline, the data set and its source."""
        state = dict(self.__dict__)
        state["pipeline"] = state["dataset"] = None
        if self.dataset is not None and self._source is self.dataset.source:
            state["_source"] = None
        return state

    def bare(self) -> Self:
        """Give a batch of the same items that knows ids and seeds, and has no data at all."""
        made = type(self).__new__(type(self))
        made.__dict__.update(
            {k: v for k, v in self.__dict__.items() if k not in (self.components or ())}
        )
        made._whole = made._source = made.pipeline = made.dataset = None
        return made

    def attach(self, dataset: Dataset | None, pipeline: Any) -> None:
        """Give a batch that came from another process its data set and its pipeline again."""
        self.dataset, self.pipeline = dataset, pipeline
        if self._source is None and dataset is not None:
            self._source = dataset.source

    def __repr__(self) -> str:
        shown = ", ".join(map(repr, self.indices[:4].tolist()))
        return f"{type(self).__name__}({len(self)} items: {shown}{', ...' * (len(self) > 4)})"

    def _require(self, component: str) -> str:
        known = self.components or ()
        if component not in known:
            raise DataError(
                f"{type(self).__name__} has no component '{component}'; it has "
                f"{', '.join(known) or 'none'}.{nearest(component, known)}"
            )
        return component


def selected(indices: Any) -> Selection:
    """Give the selection of a batch that no walk gave: its ids, as they stand, or a length."""
    whole = isinstance(indices, int | np.integer) and not isinstance(indices, bool)
    ids = np.arange(indices) if whole else ids_array(indices)
    count = len(ids)
    return Selection(ids, np.arange(count), np.zeros(count, np.int64))
