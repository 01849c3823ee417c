"""One item of a batch, seen through the batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dovetail.errors import nearest

if TYPE_CHECKING:
    from dovetail.data.batches.batch import Batch


class Item:
    """An item of a batch: its components as attributes, which are read from and written to it.

    Attributes:
      id: what the item is called.
      position: where it stands in the batch.

    >>> from dovetail.data.batches.batch import Batch
    >>> batch = Batch(["a", "b"], preloaded={"x": np.array([3, 4])})
    >>> item = batch[1]
    >>> item.x += 10
    >>> item.id, batch.x.tolist()
    ('b', [3, 14])
    """

    __slots__ = ("_batch", "position")
    position: int

    def __init__(self, batch: Batch, position: int) -> None:
        object.__setattr__(self, "_batch", batch)
        object.__setattr__(self, "position", position)

    @property
    def id(self) -> Any:
        """What the item is called."""
        one = self._batch.indices[self.position]
        return one.item() if isinstance(one, np.generic) else one

    @property
    def data(self) -> Any:
        """Its data: of a batch without components what it has; else a dict by component."""
        data = self._batch.data
        if self._batch.components:
            return {name: value[self.position] for name, value in data.items()}
        return None if data is None else data[self.position]

    def random(self) -> np.random.Generator:
        """Make a generator of the item's own; each call for an item gives another one."""
        return self._batch.random(self.position)

    def __getattr__(self, name: str) -> Any:
        return self._batch.column(self._known(name))[self.position]

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "data" and not self._batch.components:
            self._batch.data[self.position] = value
        else:
            self._batch.column(self._known(name))[self.position] = value

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name)

    def __setitem__(self, name: str, value: Any) -> None:
        setattr(self, name, value)

    def __repr__(self) -> str:
        return f"Item({self.id!r} of {self._batch!r})"

    def _known(self, name: str) -> str:
        components = self._batch.components or ()
        if name not in components:
            raise AttributeError(
                f"An item of {type(self._batch).__name__} has no '{name}'; its components are "
                f"{', '.join(components) or 'none'}.{nearest(name, components)}"
            )
        return name
