"""Asking for the rows of coming batches, so that a slow disk reads them while others are used."""

from __future__ import annotations

from typing import Protocol

import numpy as np

_BATCHES = 16
_BYTES = 64 << 20


class Readable(Protocol):
    """Rows that can be asked for before they are needed."""

    @property
    def row_bytes(self) -> int:
        """About how many bytes of a file one row takes."""
        ...

    def will_need(self, indices: np.ndarray) -> None:
        """Have rows read from disk that are needed soon."""
        ...


class ReadAhead:
    """Keeps the disk some batches ahead of a feed.

    Args:
      records: what is read.
      batch_size: rows of a batch, of all workers.
      begin, end: which of them this worker reads.

    Attributes:
      rows: how many coming rows it looks at, at most: those of 16 batches or 64 MB, but of no
        fewer than 2 batches.

    >>> class Seen:
    ...     row_bytes = 1
    ...     def will_need(self, indices):
    ...         print(len(indices), "rows from", indices[0])
    >>> ahead, order = ReadAhead(Seen(), 2, 0, 2), np.arange(1000)
    >>> for position in range(0, 20, 2):
    ...     ahead.advance(order[position + 2 :])
    32 rows from 2
    16 rows from 34
    """

    def __init__(self, records: Readable, batch_size: int, begin: int, end: int) -> None:
        self._records = records
        self._batch_size = batch_size
        self._share = slice(begin, end)
        fits = _BYTES // max(records.row_bytes * (end - begin), 1)
        self._depth = min(_BATCHES, max(2, fits))
        self.rows = self._depth * batch_size
        self._enough = self._depth // 2
        self._asked = 0  # of the coming batches: those that were asked for

    def advance(self, coming: np.ndarray) -> None:
        """Ask for what comes into sight, some batches at once; called once a batch.

        Args:
          coming: int64, the rows after those of the batch that was taken last, in order.
        """
        if self._asked:
            self._asked -= 1
        if self._asked > self._enough:
            return
        sight = min(len(coming) // self._batch_size, self._depth)
        if sight <= self._asked:
            return
        rows = coming[self._asked * self._batch_size : sight * self._batch_size]
        self._records.will_need(rows.reshape(-1, self._batch_size)[:, self._share].reshape(-1))
        self._asked = sight
