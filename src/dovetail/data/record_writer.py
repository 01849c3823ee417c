"""Writing records: rows into shards, aside; then the manifest, last; then one rename."""

from __future__ import annotations

import fcntl
import os
import shutil
import zlib
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa

from dovetail.data.layout import arrow_array, arrow_schema, buffers, row_bytes
from dovetail.data.manifest import (
    BLOCK_BYTES,
    NAME,
    Manifest,
    Shard,
    sync_directory,
    write_manifest,
)
from dovetail.data.schema import Schema, Value
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
    ) -> None:
        self.directory = Path(os.path.abspath(directory))
        self.schema = schema
        self.metadata: dict[str, Any] = dict(metadata or {})
        self.rows = 0
        self._shard_bytes = shard_bytes
        self._arrow_schema = arrow_schema(schema)
        self._shards: list[Shard] = []
        self._pending: list[dict[str, Value]] = []
        self._pending_bytes = 0
        self._aside = self.directory.with_name(f".{self.directory.name}.partial")
        _refuse_occupied(self.directory)
        self._lock: int | None = _take(self._aside, self.directory)

    def append(self, row: tuple[Any, ...] | Mapping[str, Any], where: str | None = None) -> None:
        """Add one row, converted as `Schema.convert` does.

        Args:
          row: a tuple in the schema's order, or a dict by name.
          where: the file that the row is from, for messages.
        """
        if self._lock is None:
            raise DataError(f"{self.directory}: the writer is closed; open another.")
        converted = self.schema.convert(row, where or f"row {self.rows}")
        size = row_bytes(converted)
        if self._pending and self._pending_bytes + size > self._shard_bytes:
            self._write_shard()
        self._pending.append(converted)
        self._pending_bytes += size
        self.rows += 1

    def close(self) -> None:
        """Write what is left and the manifest, and put the folder in its place."""
        if self._lock is None:
            return
        try:
            if self._pending:
                self._write_shard()
            write_manifest(self._aside, Manifest(self.schema, tuple(self._shards), self.metadata))
            _refuse_occupied(self.directory)
            os.rename(self._aside, self.directory)
            sync_directory(self.directory.parent)
        except BaseException:
            self.abort()
            raise
        os.close(self._lock)
        self._lock = None

    def abort(self) -> None:
        """Give up: remove what was written aside."""
        if self._lock is not None:
            shutil.rmtree(self._aside, ignore_errors=True)
            os.close(self._lock)
            self._lock = None

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
        file = f"shard-{len(self._shards):05d}.arrow"
        columns = [
            arrow_array(field, [row[field.name] for row in self._pending])
            for field in self.schema.fields
        ]
        batch = pa.record_batch(columns, schema=self._arrow_schema)
        path = self._aside / file
        with path.open("wb") as sink:
            with pa.ipc.new_file(sink, self._arrow_schema) as stream:
                stream.write_batch(batch)
            sink.flush()
            os.fsync(sink.fileno())
        self._shards.append(_describe(path, self.schema, batch.num_rows))
        self._pending = []
        self._pending_bytes = 0


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


def _refuse_occupied(directory: Path) -> None:
    if not directory.exists():
        return
    if not directory.is_dir():
        raise DataError(f"{directory} is a file; records need a folder of their own.")
    if any(directory.iterdir()):
        what = "a set of records" if (directory / NAME).exists() else "files"
        raise DataError(
            f"{directory} already holds {what}. Choose another folder, or remove it first."
        )


def _take(aside: Path, directory: Path) -> int:
    """Make the folder to write in, empty, and lock it; what a killed writer left goes."""
    try:
        aside.mkdir(parents=True, exist_ok=True)
        handle = os.open(aside, os.O_RDONLY)
    except OSError as error:
        raise DataError(f"{directory} can't be written: {error.strerror} ({aside}).") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.path.samestat(os.fstat(handle), os.stat(aside)):
            raise BlockingIOError
        for left in aside.iterdir():
            left.unlink()
    except (BlockingIOError, FileNotFoundError):
        os.close(handle)
        raise DataError(
            f"{directory} is being written by another process. Wait for it, or choose another "
            "folder."
        ) from None
    except OSError as error:
        os.close(handle)
        raise DataError(f"{directory} can't be written: {error.strerror} ({aside}).") from error
    return handle
