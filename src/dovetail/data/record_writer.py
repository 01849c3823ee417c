"""Writing records: rows into shards, aside; then the manifest, last; then one rename."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa

from dovetail.data.aside import Aside
from dovetail.data.layout import arrow_array, arrow_schema, buffers, row_bytes
from dovetail.data.manifest import BLOCK_BYTES, Manifest, Shard, write_manifest
from dovetail.data.schema import Schema, Value
from dovetail.data.stored_rows import stored_rows
from dovetail.errors import DataError


class RecordWriter:
    """Write a record set; the folder appears whole, when it is closed, or not at all.

    The files' bytes are a function of schema, rows, metadata and shard size alone.

    Args:
      directory: the folder to make; absent, or empty.
      schema: the fields of every row.
      metadata: what to keep beside the rows, as JSON can hold it; `writer.metadata` may be added
        to until the writer is closed.
      shard_bytes: about how large a shard's file grows before the next begins.
      aside: the folder to write in until all is whole; None takes one for this directory.

    Attributes:
      rows: how many there are.
      pending: those that are in no shard yet, as `Schema.convert` gives them.
      on_shard: called with each shard once it is durable.

    Raises:
      DataError: if the folder holds something, is being written by another process, or can't be
        written.

    >>> import tempfile
    >>> from dovetail.data.records import Records
    >>> from dovetail.data.schema import Field
    >>> place = Path(tempfile.mkdtemp()) / "records"
    >>> with RecordWriter(place, Schema([Field("x", (2,), "int64")])) as writer:
    ...     writer.append({"x": [1, 2]})
    >>> Records(place).gather([0])["x"]
    array([[1, 2]])
    """

    def __init__(
        self,
        directory: str | Path,
        schema: Schema,
        *,
        metadata: Mapping[str, Any] | None = None,
        shard_bytes: int = 64 << 20,
        aside: Aside | None = None,
    ) -> None:
        self.directory = Path(os.path.abspath(directory))
        self.schema = schema
        self.metadata: dict[str, Any] = dict(metadata or {})
        self.rows = 0
        self.pending: list[dict[str, Value]] = []
        self.on_shard: Callable[[Shard], None] | None = None
        self._shard_bytes = shard_bytes
        self._shards: list[Shard] = []
        self._pending_bytes = 0
        self._aside = aside or Aside(self.directory)

    def append(self, row: tuple[Any, ...] | Mapping[str, Any], where: str | None = None) -> None:
        """Add one row, converted as `Schema.convert` does.

        Args:
          row: a tuple in the schema's order, or a dict by name.
          where: the file that the row is from, for messages.
        """
        if not self._aside.held:
            raise DataError(f"{self.directory}: the writer is closed; open another.")
        converted = self.schema.convert(row, where or f"row {self.rows}")
        size = row_bytes(converted)
        if self.pending and self._pending_bytes + size > self._shard_bytes:
            self._write_shard()
        self.pending.append(converted)
        self._pending_bytes += size
        self.rows += 1

    def resume(self, shards: Sequence[Shard], pending: Sequence[dict[str, Value]] = ()) -> None:
        """Begin with rows that an earlier writer with this schema and shard size got.

        Args:
          shards: finished ones, whose files are in place.
          pending: the rows after those of the shards, as its `pending` had them.
        """
        assert not self.rows
        self._shards = list(shards)
        self.pending = list(pending)
        self._pending_bytes = sum(row_bytes(row) for row in self.pending)
        self.rows = sum(shard.rows for shard in shards) + len(self.pending)

    def rewind(self, rows: int, before: Callable[[int], None] | None = None) -> None:
        """Forget the rows after the first so many, as if they had never been appended.

        Args:
          rows: how many to keep.
          before: called with the number of shards kept, before the files of others are removed.
        """
        first = sum(shard.rows for shard in self._shards)
        kept, gone = list(self._shards), []
        while first > rows:
            gone.append(kept.pop())
            first -= gone[-1].rows
        if gone:
            self.pending = stored_rows(self._aside.records / gone[-1].file, self.schema)
            self._shards = kept
            if before is not None:
                before(len(kept))
            for shard in gone:
                (self._aside.records / shard.file).unlink()
        del self.pending[rows - first :]
        self._pending_bytes = sum(row_bytes(row) for row in self.pending)
        self.rows = rows

    def close(self) -> None:
        """Write what is left and the manifest, and put the folder in its place."""
        if not self._aside.held:
            return
        try:
            if self.pending:
                self._write_shard()
            manifest = Manifest(self.schema, tuple(self._shards), self.metadata)
            write_manifest(self._aside.records, manifest)
            self._aside.put_in_place()
        except BaseException:
            self.abort()
            raise

    def abort(self) -> None:
        """Give up: remove what was written aside, unless its journal says that it can go on."""
        self._aside.give_up()

    def __enter__(self) -> RecordWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def _write_shard(self) -> None:
        path = self._aside.records / f"shard-{len(self._shards):05d}.arrow"
        self._shards.append(write_shard(path, self.schema, self.pending))
        self.pending = []
        self._pending_bytes = 0
        if self.on_shard is not None:
            self.on_shard(self._shards[-1])


def write_shard(path: Path, schema: Schema, rows: Sequence[Mapping[str, Value]]) -> Shard:
    """Write rows to a file; it is durable on return, but for its name.

    Args:
      path: of the file.
      schema: of the rows.
      rows: as `Schema.convert` gives them; at least one.

    Returns:
      what a manifest says of the file.
    """
    columns = [arrow_array(field, [row[field.name] for row in rows]) for field in schema.fields]
    described = arrow_schema(schema)
    batch = pa.record_batch(columns, schema=described)
    with path.open("wb") as sink:
        with pa.ipc.new_file(sink, described) as stream:
            stream.write_batch(batch)
        sink.flush()
        os.fsync(sink.fileno())
    return _describe(path, schema, batch.num_rows)


def _describe(path: Path, schema: Schema, rows: int) -> Shard:
    """Say where a shard's buffers begin, and take the checksums of its blocks."""
    with pa.memory_map(str(path)) as source:
        content = source.read_buffer()
    batch = pa.ipc.open_file(pa.BufferReader(content)).get_batch(0)
    assert batch.num_rows == rows
    starts: dict[str, tuple[int, ...]] = {}
    for position, field in enumerate(schema.fields):
        # An empty buffer (every row of no length) lies nowhere; it is never read.
        starts[field.name] = tuple(
            one.address - content.address if one is not None and one.size else 0
            for one in buffers(field, batch.column(position))
        )
    view = memoryview(content)
    blocks = [zlib.crc32(view[at : at + BLOCK_BYTES]) for at in range(0, len(view), BLOCK_BYTES)]
    return Shard(path.name, rows, len(view), starts, tuple(blocks))
