"""Gathering one field's values of some rows from the mapped shards."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import numpy as np

from dovetail.data.layout import has_shapes, offset_levels
from dovetail.data.manifest import Shard
from dovetail.data.schema import Field

Column = np.ndarray | list[Any]


class Memory(Protocol):
    """The bytes of some shards, as `Shards` maps them; see there."""

    memory: np.ndarray
    starts: np.ndarray
    unchecked: int

    def touch(self, begin: np.ndarray, end: np.ndarray) -> None:
        """Check ranges of the bytes before they are used."""
        ...


class FixedColumn:
    """A field whose rows are all as long: a batch is one gather from memory.

    Args:
      field: which field, of kind "fixed".
      shards: the mapped bytes.
      entries: what the manifest says of each shard.
      first_rows: int64, the number of each shard's first row.
    """

    def __init__(
        self, field: Field, shards: Memory, entries: tuple[Shard, ...], first_rows: np.ndarray
    ) -> None:
        self.field = field
        self._shards = shards
        self._row_bytes = field.row_bytes
        self._sizes = [size or 0 for size in field.shape]
        starts = np.array([entry.buffers[field.name][0] for entry in entries], np.int64)
        self._in_file = starts
        self._dtype = field.numpy_dtype
        # An array of overlapping rows, one beginning at each byte of memory: so a batch is one
        # gather though it lies in many shards. By numpy, on one core: torch's index_select alone
        # is quicker on 2 free cores (4.2 against 2.9 million rows of 3 KB a second), but from a
        # prefetching thread its threads and those of the step wait for each other (a step of
        # 0.7 ms took 0.75 ms beside numpy's gather and 1.6 to 2.0 ms beside torch's).
        # Rows of one machine word are quicker as such words.
        words = self._row_bytes in (2, 4, 8)
        self._unit = self._row_bytes if words else 1  # bytes from one entry of _rows to the next
        self._stride = self._row_bytes // self._unit
        # Row r of the data set, in shard s, is entry r * stride + bias[s] of _rows.
        self._bias = (shards.starts + starts - first_rows * self._row_bytes) // self._unit
        if words:
            self._rows = shards.memory.view(f"u{self._unit}")
        else:
            count = max(len(shards.memory) - self._row_bytes + 1, 0)
            row = np.dtype((np.void, self._row_bytes))
            self._rows = np.ndarray((count,), row, shards.memory, strides=(1,))

    def gather(self, rows: np.ndarray, shard: np.ndarray | int) -> np.ndarray:
        """Copy out the values of some rows.

        Args:
          rows: int64 [n], rows of the data set, within bounds.
          shard: which shard each is in; one number if all are in one.

        Returns:
          an array [n, *field.shape] of the field's dtype.

        Raises:
          DamagedBlockError: if a block that holds any of them is damaged.
        """
        at = (rows if self._stride == 1 else rows * self._stride) + self._bias[shard]
        if self._shards.unchecked:
            begin = at * self._unit
            self._shards.touch(begin, begin + self._row_bytes)
        return self._rows[at].view(self._dtype).reshape(len(rows), *self._sizes)

    def spans(self, rows: np.ndarray, shard: np.ndarray | int) -> tuple[np.ndarray, np.ndarray]:
        """Say where in the mapped bytes some rows lie: their begins and ends."""
        begin = (rows * self._stride + self._bias[shard]) * self._unit
        return begin, begin + self._row_bytes

    def rows_at(self, shard: int, begin: int, end: int, rows: int) -> tuple[int, int] | None:
        """Say which rows of a shard have bytes between two places of its file: first and last."""
        return _span(int(self._in_file[shard]), self._row_bytes, begin, end, rows)


class VaryingColumn:
    """A field whose rows differ in length: ragged numbers, text, bytes. One copy for each row."""

    def __init__(
        self, field: Field, shards: Memory, entries: tuple[Shard, ...], first_rows: np.ndarray
    ) -> None:
        self.field = field
        self._shards = shards
        self._first_rows = first_rows
        self._levels = offset_levels(field)
        self._item_bytes = field.numpy_dtype.itemsize if field.is_numeric else 1
        self._in_file = np.array([entry.buffers[field.name] for entry in entries], np.int64)
        self._file_bytes = [entry.bytes for entry in entries]
        self._at = self._in_file + shards.starts[:, None]  # [shards, buffers]
        self._longs = shards.memory.view(np.int64)

    def gather(self, rows: np.ndarray, shard: np.ndarray | int) -> list[Any]:
        """Copy out the values of some rows; as `FixedColumn.gather`, but a list of values."""
        at = np.broadcast_to(self._at[shard], (len(rows), self._at.shape[1]))
        within = rows - self._first_rows[shard]
        begin, end = self._offsets(at[:, 0], within, within + 1)
        if not self.field.is_numeric and self.field.shape != ():
            values = self._lists_of_text(at, begin, end)
        else:
            begin, end = at[:, 1] + begin * self._item_bytes, at[:, 1] + end * self._item_bytes
            self._shards.touch(begin, end)
            values = self._values(begin, end)
        if not has_shapes(self.field):
            return values
        shapes = self._shapes(at[:, -1], within)
        return [value.reshape(shape) for value, shape in zip(values, shapes, strict=True)]

    def spans(self, rows: np.ndarray, shard: np.ndarray | int) -> tuple[np.ndarray, np.ndarray]:
        """Say where in the mapped bytes some rows' values lie; this reads their offsets."""
        at = np.broadcast_to(self._at[shard], (len(rows), self._at.shape[1]))
        within = rows - self._first_rows[shard]
        begin, end = self._offsets(at[:, 0], within, within + 1)
        if self._levels == 2:  # of lists of text: where each text begins
            return at[:, 1] + begin * 8, at[:, 1] + (end + 1) * 8
        return at[:, 1] + begin * self._item_bytes, at[:, 1] + end * self._item_bytes

    def rows_at(self, shard: int, begin: int, end: int, rows: int) -> tuple[int, int] | None:
        """Say which rows of a shard have bytes between two places of its file: first and last."""
        starts = self._in_file[shard].tolist()
        offsets = self._longs[self._at[shard, 0] // 8 :][: rows + 1]
        # The offsets may be damaged too: what they say here is but a hint for the message, and
        # may not lead beyond the file, where no memory is.
        count = max(int(offsets[-1]), 0)
        if self._levels == 1:
            items = [_span(starts[1], self._item_bytes, begin, end, count)]
        else:
            count = min(count, (self._file_bytes[shard] - starts[1]) // 8 - 1)
            inner = self._longs[self._at[shard, 1] // 8 :][: count + 1]
            text = _span(starts[2], 1, begin, end, max(int(inner[-1]), 0))
            items = [_span(starts[1], 8, begin, end, count + 1), _owners(inner, text)]
        found = [_owners(offsets, span) for span in items]
        found.append(_span(starts[0] + 8, 8, begin - 8, end, rows))  # of a row's end, or beginning
        if has_shapes(self.field):
            found.append(_span(starts[-1], 8 * len(self.field.shape), begin, end, rows))
        spans = [span for span in found if span]
        return (min(low for low, _ in spans), max(high for _, high in spans)) if spans else None

    def _offsets(
        self, at: np.ndarray, first: np.ndarray, last: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        begin, end = at + first * 8, at + last * 8
        self._shards.touch(begin, begin + 8)
        self._shards.touch(end, end + 8)
        return self._longs[begin // 8], self._longs[end // 8]

    def _values(self, begin: np.ndarray, end: np.ndarray) -> list[Any]:
        memory = self._shards.memory
        pieces = [memory[low:high] for low, high in zip(begin.tolist(), end.tolist(), strict=True)]
        if self.field.dtype == "string":
            return [str(piece.data, "utf-8") for piece in pieces]
        if self.field.dtype == "bytes":
            return [piece.tobytes() for piece in pieces]
        return [piece.copy().view(self.field.numpy_dtype) for piece in pieces]

    def _lists_of_text(self, at: np.ndarray, begin: np.ndarray, end: np.ndarray) -> list[Any]:
        low, high = at[:, 1] + begin * 8, at[:, 1] + (end + 1) * 8
        self._shards.touch(low, high)
        lists: list[Any] = []
        for row, (first, last) in enumerate(zip(low.tolist(), high.tolist(), strict=True)):
            bounds = at[row, 2] + self._longs[first // 8 : last // 8]
            self._shards.touch(bounds[:1], bounds[-1:])
            array = np.empty(len(bounds) - 1, object)
            array[:] = self._values(bounds[:-1], bounds[1:])
            lists.append(array)
        return lists

    def _shapes(self, at: np.ndarray, within: np.ndarray) -> list[list[int]]:
        dims = len(self.field.shape)
        begin = at + within * dims * 8
        self._shards.touch(begin, begin + dims * 8)
        return self._longs[begin[:, None] // 8 + np.arange(dims)].tolist()


def assembled(
    count: int, pieces: Iterable[tuple[np.ndarray, Mapping[str, Column]]]
) -> dict[str, Column]:
    """Put columns together whose rows were gathered in pieces.

    Args:
      count: how many rows there are in all, each in one piece.
      pieces: which rows, int64, and their columns.

    >>> one, other = (np.array([2, 0]), {"x": np.array([7, 5])}), (np.array([1]), {"x": [6]})
    >>> assembled(3, [one, other])["x"]
    array([5, 6, 7])
    """
    whole: dict[str, Column] = {}
    for at, columns in pieces:
        for name, part in columns.items():
            column = whole.get(name)
            if column is None:
                fixed = isinstance(part, np.ndarray)
                empty = np.empty((count, *part.shape[1:]), part.dtype) if fixed else [None] * count
                column = whole[name] = empty
            if isinstance(column, np.ndarray):
                column[at] = part
            else:
                for place, value in zip(at.tolist(), part, strict=True):
                    column[place] = value
    return whole


def _span(start: int, stride: int, begin: int, end: int, rows: int) -> tuple[int, int] | None:
    """First and last of `rows` rows, each `stride` bytes from `start`, that meet [begin, end)."""
    low = max((begin - start) // stride, 0)
    high = min(math.ceil((end - start) / stride), rows)
    return (low, high - 1) if low < high else None


def _owners(offsets: np.ndarray, items: tuple[int, int] | None) -> tuple[int, int] | None:
    """First and last of the rows whose items, by their offsets, are the first to the last here."""
    if items is None:
        return None
    last = len(offsets) - 2
    low, high = np.searchsorted(offsets, items, "right").tolist()
    return min(max(low - 1, 0), last), min(max(high - 1, 0), last)
