"""A batch: some items of a data set, their data by component, and what can be done with them."""

from __future__ import annotations

import keyword
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, overload

import numpy as np

from dovetail.data import batch_io, example_random
from dovetail.data.actions import action
from dovetail.data.batch_merge import merged_column, merged_selection
from dovetail.data.inbatch import assembled, each
from dovetail.data.index import DatasetIndex, ids_array
from dovetail.data.item import Item
from dovetail.data.item_seeds import item_keys
from dovetail.data.preloaded import as_source, taken
from dovetail.data.walk import Selection
from dovetail.errors import DataError, DefinitionError, nearest

if TYPE_CHECKING:
    from dovetail.data.dataset import Dataset

Self = TypeVar("Self", bound="Batch")


class NotLoadedError(DataError, AttributeError):
    """A component was asked for before any data was loaded or assigned for it."""


class Batch:
    """Some items of a data set.

    Subclasses name their `components`, such as `components = "images", "labels"`, and add
    actions, methods marked with `@action`. Each component is an attribute: [n, ...] or a list of
    n values. What the data set has preloaded is read when it is first asked for, and copied, so
    that it may be written to; what an action makes is assigned.

    Args:
      indices: the ids of the items, [n]; or a `Selection`.
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
    selection: Selection

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "components" in vars(cls) and cls.components is not None:
            names = [cls.components] if isinstance(cls.components, str) else cls.components
            cls.components = tuple(names)
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
        self._whole: Any = None  # the data of a batch without components
        self._draws = 0
        self._seeds: np.ndarray | None = None
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
    def seeds(self) -> np.ndarray:
        """Each item's own seed, int64 [n], a function of (seed, epoch, id); not to be changed."""
        if self._seeds is None:
            keys = item_keys(self.indices)
            self._seeds = example_random.example_seeds(self.seed, self.epochs, keys)
            self._seeds.flags.writeable = False
        return self._seeds

    def next_draw(self) -> int:
        """Count a use of random numbers, so that the next one gets others from the same seeds."""
        self._draws += 1
        self.__dict__.pop("_draws_of_item", None)
        return self._draws

    def uniform(self, low: float = 0.0, high: float = 1.0, shape: Sequence[int] = ()) -> np.ndarray:
        """Draw numbers for each item, float32 [n, *shape]; anew at each call. See `Rows`."""
        draw = example_random.STREAM + self.next_draw()
        return example_random.uniform(self.seeds, low, high, shape, draw=draw)

    def integers(self, low: int, high: int, shape: Sequence[int] = ()) -> np.ndarray:
        """Draw whole numbers from `low` to `high - 1`, int64 [n, *shape]; anew at each call."""
        draw = example_random.STREAM + self.next_draw()
        return example_random.integers(self.seeds, low, high, shape, draw=draw)

    def random(self, position: int) -> np.random.Generator:
        """Make a NumPy generator for the item at a position; each call gives another one.

        What it gives depends on (seed, epoch, id), on how many uses of random numbers came before
        on the batch, and how many of this item's since; not on threads or other items.
        """
        at = range(len(self))[position]
        counts: dict[int, int] = self.__dict__.setdefault("_draws_of_item", {})
        draw = counts.get(at, 0)
        counts[at] = draw + 1
        return example_random.generator(int(self.seeds[at]), (self._draws << 32) + draw)

    @property
    def data(self) -> Any:
        """All data: the nameless whole (None before it is loaded); or a dict by component.

        The dict holds what is loaded or can be. Assigning a dict, or a tuple in the order of the
        components, sets several at once.
        """
        if self.components:
            there = [name for name in self.components if self.has(name)]
            return {name: getattr(self, name) for name in there}
        if self._whole is None and self._source is not None:
            self._whole = self._source.take(None, self._numbers)
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
        values = self.data if component is None else getattr(self, self._require(component))
        if values is None or not hasattr(values, "__len__") or len(values) != len(self):
            what = "data" if component is None else f"component '{component}'"
            had = "none" if values is None else len(values) if hasattr(values, "__len__") else 1
            raise DataError(
                f"{what} of {type(self).__name__} needs a value for each of its {len(self)} items; "
                f"it has {had}."
            )
        return values

    def add_components(self: Self, names: str | Sequence[str], data: Any = None) -> Self:
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
        found = np.flatnonzero(self.indices == id)
        if not len(found):
            raise DataError(
                f"There is no item {id!r} in this batch."
                f"{nearest(str(id), map(str, self.indices.tolist()))}"
            )
        return int(found[0])

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
    def __getitem__(self, key: slice | list[int] | np.ndarray) -> Batch: ...
    @overload
    def __getitem__(self, key: int | str) -> Item: ...

    def __getitem__(self, key: Any) -> Any:
        """Give the item at a position, or of an id that is text; a slice or list: a batch."""
        if isinstance(key, str):
            return Item(self, self.get_pos(key))
        if isinstance(key, int | np.integer):
            return Item(self, range(len(self))[key])
        return self.subset(np.arange(len(self))[key])

    def __len__(self) -> int:
        return len(self.selection)

    def __iter__(self) -> Iterator[Item]:
        return (Item(self, at) for at in range(len(self)))

    def __getattr__(self, name: str) -> Any:
        # Only what is not there yet comes here: a component, to be loaded now.
        if name.startswith("_") or name not in (self.components or ()):
            known = [one for one in dir(type(self)) if not one.startswith("_")]
            said = nearest(name, [*(self.components or ()), *known])
            raise AttributeError(f"{type(self).__name__} has no '{name}'.{said}")
        if self._source is None or name not in self._source.names:
            raise NotLoadedError(
                f"{type(self).__name__} has no data for its component '{name}' yet. Load or assign "
                "it in an action before this one, or give the data set preloaded data."
            )
        value = self.__dict__[name] = self._source.take(name, self._numbers)
        return value

    def subset(self: Self, positions: Any) -> Self:
        """Make a batch of some of the items, with copies of what they have loaded.

        Args:
          positions: int [n], in this batch.
        """
        made = type(self).__new__(type(self))
        made.__dict__.update(self.__dict__)
        made.selection, made._numbers = self.selection.at(positions), self._numbers[positions]
        made._seeds = None
        made.__dict__.pop("_draws_of_item", None)
        if self._whole is not None:
            made._whole = taken(self.column(), positions)
        for name in self.components or ():
            if name in self.__dict__:
                made.__dict__[name] = taken(self.column(name), positions)
        return made

    def split(self: Self, batch_size: int) -> list[Self]:
        """Divide the batch into batches of a size; the last may be short."""
        starts = range(0, len(self), batch_size)
        return [self.subset(np.arange(at, min(at + batch_size, len(self)))) for at in starts]

    @classmethod
    def merge(cls: type[Self], batches: Sequence[Self]) -> Self:
        """Join batches of one class into one; what none has loaded stays to be loaded.

        Args:
          batches: one or more; the dataset and the pipeline are kept if all have the same.

        Raises:
          DataError: if there is none, or they differ in class or components.
        """
        if not batches or {type(one) for one in batches} != {cls}:
            kinds = ", ".join(sorted({type(one).__name__ for one in batches})) or "none"
            raise DataError(f"{cls.__name__}.merge joins batches of that class; got {kinds}.")
        first = batches[0]
        made = cls.__new__(cls)
        made.__dict__.update(first.__dict__)
        made.selection = merged_selection([one.selection for one in batches])
        made._numbers = np.concatenate([one._numbers for one in batches])
        made._seeds, made._draws = None, max(one._draws for one in batches)
        made.__dict__.pop("_draws_of_item", None)
        made.components = first.components
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

    @action
    def load(
        self: Self,
        src: Any = None,
        fmt: str | None = None,
        components: str | Sequence[str] | None = None,
        *,
        id_column: str | None = "id",
        channels: int = 3,
        size: tuple[int, int] | None = None,
    ) -> Self:
        """Fill components of the batch.

        Args:
          src: what from. None: what the data set has preloaded, or, of a `FilesIndex`, the files.
            Data of the whole data set, as for `Dataset(preloaded=...)`. The path of one file
            (npy, npz, csv, parquet, arrow) with a row for each item of the data set. A folder
            with a file for each item (an image, npy or npz), called by its id, with an ending or
            without. A function from an id to the path of its file.
          fmt: of the files; "image" for any image. None: by their endings.
          components: which to fill; None: all that are there. Where a file holds one value, the
            one component that it is.
          id_column: the column by which a file's rows are found; if it has none of that name, or
            for None, its rows are in the order of the data set.
          channels, size: of images; see `decode_images`. Images of several sizes become a list.

        Raises:
          DataError: if something does not fit or can't be read; nothing is taken by pickle.
          ItemsError: naming the items whose own files failed.
        """
        batch_io.load(self, src, fmt, components, id_column=id_column, channels=channels, size=size)
        return self

    @action
    def dump(
        self: Self,
        dst: str | Path | Callable[[Any], str | Path],
        fmt: str | None = None,
        components: str | Sequence[str] | None = None,
        *,
        id_column: str | None = "id",
        overwrite: bool = False,
    ) -> Self:
        """Write components to files, each of which appears whole or not at all.

        Args:
          dst: a folder, for a file for each item, of its id (such a file is written anew); or a
            path that ends in npy, npz, csv, parquet or arrow, for one file of the batch; or a
            function of the batch that gives either.
          fmt: npz (unless said), npy, image or an ending of images; of one file, by its ending.
          components: which; None: all that there are.
          id_column: the column, of one file, that gets the ids; None: none.
          overwrite: whether one file of the batch may take the place of another.

        Raises:
          DataError: if the format can't hold the values, or the file is there.
          ItemsError: naming the items that could not be written.
        """
        batch_io.dump(self, dst, fmt, components, id_column=id_column, overwrite=overwrite)
        return self

    @action
    def apply(
        self: Self,
        fn: Callable[..., Any],
        *args: Any,
        component: str | None = None,
        to: str | None = None,
        whole: bool = False,
        target: str = "for",
        **kwargs: Any,
    ) -> Self:
        """Replace each item's value by what a function makes of it.

        Args:
          fn: called as `fn(value, *args, **kwargs)` for each item; or once, see `whole`.
          component: what is given to it; None: the nameless whole.
          to: the component that gets the results; None: the same.
          whole: give it the whole component, [n, ...], at once.
          target: how the items are gone through; see `inbatch_parallel`.

        Raises:
          ItemsError: naming the items for which it failed.
        """
        values = self.column(component)
        if whole:
            made = fn(values, *args, **kwargs)
        else:
            calls = [((value, *args), kwargs) for value in values]
            made = assembled(each(fn, calls, self.indices, target))
        name = to or component
        if name is None:
            self._whole = made
        else:
            setattr(self, self._require(name), made)
        return self

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

    def bare(self: Self) -> Self:
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
    """Give the selection of a batch that no walk gave: its ids, as they stand."""
    ids = DatasetIndex(indices).indices if isinstance(indices, DatasetIndex) else ids_array(indices)
    count = len(ids)
    return Selection(ids, np.arange(count), np.zeros(count, np.int64))


def check_components(batch_class: type[Batch], names: Sequence[str]) -> None:
    """Refuse names that can't be components of a batch class.

    Raises:
      DefinitionError: if a name is no identifier, comes twice, or means something else already.
    """
    what = batch_class.__name__
    for at, name in enumerate(names):
        if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name):
            raise DefinitionError(
                f"Components of {what} are attributes of a batch, so each is a Python name; got "
                f"{name!r}."
            )
        if name in names[:at]:
            raise DefinitionError(f"{what} names its component '{name}' twice.")
        if name.startswith("_") or name == "selection" or hasattr(batch_class, name):
            raise DefinitionError(
                f"'{name}' can't be a component of {what}: a batch has an attribute of that name "
                "already. Call it otherwise; of records, name the components that you need "
                "in a batch class of your own."
            )
