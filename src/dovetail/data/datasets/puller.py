"""One batch at a call: what `next_batch` is made of."""

from __future__ import annotations

from typing import Any

from dovetail.data.datasets.selection import Selection
from dovetail.data.datasets.walk import Indexed, Walk, checked_size
from dovetail.errors import DataError


class Puller:
    """One walk at a time over an index, for `next_batch`: begun at the first call, gone on later.

    >>> from dovetail.data.datasets.index import DatasetIndex
    >>> puller = Puller(DatasetIndex(3))
    >>> puller.take(2).ids.tolist(), puller.take(2).ids.tolist()
    ([0, 1], [2, 0])
    """

    def __init__(self, index: Indexed) -> None:
        self._index = index
        self._walk: Walk | None = None
        self._given: dict[str, Any] = {}

    def take(self, batch_size: int, **options: Any) -> Selection:
        """Give the next batch; options are a `Walk`'s, the same at each call until `reset`."""
        options = {"n_epochs": None, **options}
        if self._walk is None:
            self._walk = Walk(self._index, batch_size, **options)
            self._given = options
        elif options != self._given:
            names = sorted(set(options) | set(self._given))
            changed = [name for name in names if options.get(name) != self._given.get(name)]
            raise DataError(
                f"next_batch was begun with another {', '.join(changed)}. Call reset() to begin "
                "anew."
            )
        checked_size(batch_size, len(self._index), self._walk.drop_last)
        try:
            return self._walk.take(batch_size)
        except StopIteration:
            raise StopIteration("All epochs are done. Call reset() to begin anew.") from None

    def reset(self) -> None:
        """Forget where it stood: the next batch is the first again."""
        self._walk = None
