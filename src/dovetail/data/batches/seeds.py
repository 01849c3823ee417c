"""The random numbers of a batch's items, each by its own seed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dovetail.data import example_random
from dovetail.data.datasets.item_seeds import item_keys
from dovetail.data.datasets.selection import Selection


class SeededItems:
    """Items that draw random numbers: a function of (seed, epoch, id), and of what was drawn.

    What they get is the same in whichever batch they come, and in whichever order.

    Attributes:
      selection: the items, and where in the run they come.
    """

    selection: Selection
    _draws: int = 0  # uses of random numbers so far
    _seeds: np.ndarray | None = None

    @property
    def seeds(self) -> np.ndarray:
        """Each item's own seed, int64 [n], a function of (seed, epoch, id); not to be changed."""
        if self._seeds is None:
            keys = item_keys(self.selection.ids)
            self._seeds = example_random.example_seeds(
                self.selection.seed, self.selection.epochs, keys
            )
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
        at = range(len(self.selection))[position]
        counts: dict[int, int] = self.__dict__.setdefault("_draws_of_item", {})
        draw = counts.get(at, 0)
        counts[at] = draw + 1
        return example_random.generator(int(self.seeds[at]), (self._draws << 32) + draw)
