"""Which items a batch has, and where in a walk over an index it comes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np


class Position(NamedTuple):
    """Where a walk stands: how many epochs and, of the next one, how many items are behind it.

    Attributes:
      epoch: from 0 on.
      position: within the epoch, 0 to length - 1.
      iteration: how many batches came before.
    """

    epoch: int = 0
    position: int = 0
    iteration: int = 0


@dataclass(frozen=True, eq=False)
class Selection:
    """The items of one batch, and where in the walk they come.

    Attributes:
      ids: [n].
      numbers: int64 [n], the positions of the items in their index.
      epochs: int64 [n], in which epoch each comes: a batch may cross from one to the next.
      seed: of the run, for the random numbers of each item.
      iteration: which batch it is, from 0 on.
      after: the position once this batch is done; None for items that no walk gave.
    """

    ids: np.ndarray
    numbers: np.ndarray
    epochs: np.ndarray
    seed: int = 0
    iteration: int = 0
    after: Position | None = None

    def __len__(self) -> int:
        return len(self.numbers)

    def at(self, positions: Any) -> Selection:
        """Give some of the items, by their positions in the batch."""
        return Selection(
            self.ids[positions],
            self.numbers[positions],
            self.epochs[positions],
            self.seed,
            self.iteration,
            self.after,
        )

    def moved(self, ids: np.ndarray, numbers: np.ndarray) -> Selection:
        """Give the selection of other items, [n], at the same places in the walk."""
        return Selection(ids, numbers, self.epochs, self.seed, self.iteration, self.after)
