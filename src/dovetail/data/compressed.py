"""Reading compressed shards: a block of rows is decompressed whole, and kept for a while."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from dovetail.data.columns import Column, FixedColumn, VaryingColumn, assembled
from dovetail.data.layout import arrow_schema, buffers
from dovetail.data.manifest import Shard
from dovetail.data.schema import Schema
from dovetail.data.shards import DamagedBlockError, Shards

CACHE_BYTES = 64 << 20

_Columns = Mapping[str, FixedColumn | VaryingColumn]


class CompressedRows:
    """The rows of a set whose shards are compressed.

    Args:
      schema: of the rows.
      shards: the mapped bytes.
      entries: what the manifest says of each shard.
      cache_bytes: blocks that were used lately are kept decompressed, up to so many bytes, at
        least one; several threads share them.
    """

    def __init__(
        self,
        schema: Schema,
        shards: Shards,
        entries: tuple[Shard, ...],
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self._schema = schema
        self._arrow_schema = arrow_schema(schema)
        self._shards = shards
        self._entries = entries
        self._cache_bytes = cache_bytes
        table = np.array(
            [(shard, *block) for shard, e in enumerate(entries) for block in e.row_blocks], np.int64
        ).reshape(-1, 4)
        self._shard, rows, begin, end = table.T
        self._ends = np.cumsum(rows)
        self._first = self._ends - rows
        self._begin, self._end = (
            begin + shards.starts[self._shard],
            end + shards.starts[self._shard],
        )
        self._cache: OrderedDict[int, tuple[_Columns, int]] = OrderedDict()
        self._cached_bytes = 0
        self._lock = threading.Lock()

    def gather(self, rows: np.ndarray, names: Sequence[str]) -> dict[str, Column]:
        """Copy out some fields of some rows.

        Args:
          rows: int64 [n], n at least 1, rows of the data set, within bounds.
          names: of the fields.

        Raises:
          DamagedBlockError: if a block that holds any of them is damaged.
        """
        block = np.searchsorted(self._ends, rows, "right")
        order = np.argsort(block, kind="stable")  # so that each block is met once
        cuts = np.flatnonzero(np.diff(block[order])) + 1
        pieces: list[tuple[np.ndarray, dict[str, Column]]] = []
        for at in np.split(order, cuts):
            number = int(block[at[0]])
            columns = self._block(number)
            within = rows[at] - self._first[number]
            pieces.append((at, {name: columns[name].gather(within, 0) for name in names}))
        return assembled(len(rows), pieces)

    def rows_at(self, shard: int, begin: int, end: int, rows: int) -> tuple[int, int] | None:
        """Say which rows of a shard have bytes between two places of its file: first and last."""
        first, spans = 0, []
        for block in self._entries[shard].row_blocks:
            if block.begin < end and begin < block.end:
                spans.append((first, first + block.rows - 1))
            first += block.rows
        return (spans[0][0], spans[-1][1]) if spans else None

    def spans(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Say where in the mapped bytes some rows lie: their blocks' begins and ends."""
        block = np.unique(np.searchsorted(self._ends, rows, "right"))
        return self._begin[block], self._end[block]

    def _block(self, number: int) -> _Columns:
        with self._lock:
            found = self._cache.get(number)
            if found is not None:
                self._cache.move_to_end(number)
                return found[0]
        # Out of the lock: two threads that want one block both make it, which harms nothing.
        columns, size = self._decompressed(number)
        with self._lock:
            if number not in self._cache:
                self._cache[number] = columns, size
                self._cached_bytes += size
            while self._cached_bytes > self._cache_bytes and len(self._cache) > 1:
                self._cached_bytes -= self._cache.popitem(last=False)[1][1]
        return columns

    def _decompressed(self, number: int) -> tuple[_Columns, int]:
        where = slice(number, number + 1)
        self._shards.touch(self._begin[where], self._end[where])
        message = self._shards.memory[int(self._begin[number]) : int(self._end[number])]
        try:
            batch = pa.ipc.read_record_batch(pa.py_buffer(message), self._arrow_schema)
        except (pa.ArrowException, OSError):  # its checksum is right: it was written so
            shard = int(self._shard[number])
            start = int(self._shards.starts[shard])
            begin, end = int(self._begin[number]) - start, int(self._end[number]) - start
            raise DamagedBlockError(shard, begin, end) from None
        return _laid_out(batch, self._schema)


class _Block:
    """Bytes that were decompressed, as `Shards` has those of files.

    Its columns hold it, and it must not hold them: in a cycle it would outlive its place among the
    blocks that are kept, until Python looks for cycles.
    """

    starts = np.zeros(1, np.int64)
    unchecked = 0

    def __init__(self, memory: np.ndarray) -> None:
        self.memory = memory

    def touch(self, begin: np.ndarray, end: np.ndarray) -> None:
        """Nothing is left to check."""


def _laid_out(batch: pa.RecordBatch, schema: Schema) -> tuple[_Columns, int]:
    """Lay a block of rows out as a plain shard is, for a plain shard's columns to read."""
    parts = [buffers(f, batch.column(at)) for at, f in enumerate(schema.fields)]
    sizes = np.array([one.size if one else 0 for part in parts for one in part], np.int64)
    ends = np.cumsum((sizes + 63) // 64 * 64)
    places = iter((ends - (sizes + 63) // 64 * 64).tolist())
    memory = np.empty(int(ends[-1]), np.uint8)
    held: dict[str, tuple[int, ...]] = {}
    for field, part in zip(schema.fields, parts, strict=True):
        starts = []
        for one in part:
            starts.append(next(places))
            if one is not None and one.size:
                memory[starts[-1] :][: one.size] = np.frombuffer(one, np.uint8)
        held[field.name] = tuple(starts)
    block, entry = _Block(memory), Shard("", batch.num_rows, memory.nbytes, held, ())
    columns = {
        f.name: (FixedColumn if f.kind == "fixed" else VaryingColumn)(
            f, block, (entry,), block.starts
        )
        for f in schema.fields
    }
    return columns, memory.nbytes
