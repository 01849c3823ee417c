"""Where batches get their data from, if nothing has to be loaded by an action."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from dovetail.data.records import Records
from dovetail.errors import DataError, nearest


@runtime_checkable
class ComponentSource(Protocol):
    """What gives the items of a data set their data, component by component.

    Attributes:
      names: of the components that it has; empty if its data is one nameless whole.
    """

    names: tuple[str, ...]

    def __len__(self) -> int: ...

    def take(self, name: str | None, numbers: np.ndarray) -> Any:
        """Give a component of some items, as a copy that may be written to.

        Args:
          name: of the component; None: the nameless whole.
          numbers: int64 [n], positions in the data set.
        """
        ...


class Columns:
    """Arrays, tensors or lists that hold all items of a data set, by component.

    Args:
      columns: name -> [n, ...] or a list of n values; the name None for a nameless whole.
      length: how many items there must be.

    Raises:
      DataError: if a column has another length.

    >>> Columns({"x": [3, 4, 5]}, 3).take("x", np.array([2, 0]))
    [5, 3]
    """

    def __init__(self, columns: Mapping[str | None, Any], length: int) -> None:
        self.names = tuple(name for name in columns if name is not None)
        self._columns = dict(columns)
        self._length = length
        for name, column in columns.items():
            what = "preloaded" if name is None else f"preloaded['{name}']"
            if not hasattr(column, "__len__") or not hasattr(column, "__getitem__"):
                raise DataError(
                    f"{what} must be an array, or a list with a value for each item; got "
                    f"{type(column).__name__}."
                )
            if len(column) != length:
                raise DataError(
                    f"{what} holds {len(column)} values, and the index {length} items. They must "
                    "be as many: the first value is that of the first item."
                )

    def __len__(self) -> int:
        return self._length

    def take(self, name: str | None, numbers: np.ndarray) -> Any:
        """Give a component of some items; see `ComponentSource`."""
        return taken(self._columns[name], numbers)


class RecordColumns:
    """Records as a source: the schema's fields are the components, gathered when asked for.

    Args:
      records: a record set, or the folder of one.
    """

    def __init__(self, records: Records | str | Path) -> None:
        self.records = records if isinstance(records, Records) else Records(records)
        self.names = tuple(self.records.schema)

    def __len__(self) -> int:
        return len(self.records)

    def take(self, name: str | None, numbers: np.ndarray) -> Any:
        """Gather a field of some rows; see `Records.gather`."""
        assert name is not None
        return self.records.gather(numbers, [name])[name]


class Part:
    """Some items of a source, in an order of their own.

    Args:
      source: the whole.
      numbers: int64 [n], positions in it.
    """

    def __init__(self, source: ComponentSource, numbers: np.ndarray) -> None:
        if isinstance(source, Part):
            source, numbers = source._source, source._part[numbers]
        self.names = source.names
        self._source, self._part = source, numbers

    def __len__(self) -> int:
        return len(self._part)

    def take(self, name: str | None, numbers: np.ndarray) -> Any:
        """Give a component of some items; see `ComponentSource`."""
        return self._source.take(name, self._part[numbers])


def as_source(
    preloaded: Any, length: int, components: Sequence[str] | None, what: str
) -> ComponentSource | None:
    """Make a source of what a user gave as `preloaded`.

    Args:
      preloaded: None, a source, records, a dict or a data frame by component, a tuple in the
        order of the components, or an array or list: the one component, or the nameless whole.
      length: how many items there are.
      components: of the batch class; None: any.
      what: names the batch class, for messages.

    Raises:
      DataError: if it does not fit the components, or the number of items.
    """
    if preloaded is None:
        return None
    if isinstance(preloaded, Records):
        preloaded = RecordColumns(preloaded)
    if isinstance(preloaded, ComponentSource):
        _same_length(preloaded, length)
        _known(preloaded.names, components, what, all_needed=False)
        return preloaded
    if hasattr(preloaded, "columns") and hasattr(preloaded, "to_numpy"):  # a data frame
        preloaded = {str(name): preloaded[name].to_numpy() for name in preloaded.columns}
    if isinstance(preloaded, Mapping):
        _known(list(preloaded), components, what, all_needed=True)
        return Columns(dict(preloaded), length)
    if isinstance(preloaded, tuple):
        if components is None:
            raise DataError(
                f"preloaded is a tuple, and {what} names no components that its parts could be. "
                "Give a dict by name, or name the class's components."
            )
        if len(preloaded) > len(components):
            raise DataError(
                f"preloaded is a tuple of {len(preloaded)}, and {what} has {len(components)} "
                f"components: {', '.join(components)}."
            )
        return Columns(dict(zip(components, preloaded, strict=False)), length)
    if not components:
        return Columns({None: preloaded}, length)
    if len(components) > 1:
        raise DataError(
            f"preloaded is one {type(preloaded).__name__}, and {what} has the components "
            f"{', '.join(components)}. Give a dict by name, or a tuple in that order."
        )
    return Columns({components[0]: preloaded}, length)


def taken(column: Any, numbers: np.ndarray) -> Any:
    """Copy some items out of a column: an array, a tensor, or a list."""
    if isinstance(column, np.ndarray):
        return column[numbers]
    if hasattr(column, "index_select"):
        import torch  # only for who gives tensors

        return column[torch.from_numpy(np.asarray(numbers))]
    values = [column[at] for at in np.asarray(numbers).tolist()]
    # An action may write to what it gets: nothing of that is to reach the data set.
    return [one.copy() if isinstance(one, np.ndarray) else one for one in values]


def _same_length(source: ComponentSource, length: int) -> None:
    if len(source) != length:
        raise DataError(f"The preloaded data has {len(source)} items, and the index {length}.")


def _known(
    names: Sequence[str], components: Sequence[str] | None, what: str, *, all_needed: bool
) -> None:
    """Refuse names that the class has not; or, where it may use a part of them, no overlap."""
    if components is None:
        return
    unknown = [name for name in names if name not in components]
    if not unknown or (not all_needed and len(unknown) < len(names)):
        return
    raise DataError(
        f"{what} does not fit the data: its components are {', '.join(components)}, and the data "
        f"has {', '.join(map(str, names))}.{nearest(str(unknown[0]), components)}"
    )
