"""One shard's file: written, and described for the manifest."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from dovetail.data.layout import arrow_array, arrow_schema, buffers, row_bytes
from dovetail.data.manifest import BLOCK_BYTES, RowBlock, Shard
from dovetail.data.schema import Schema, Value

CODECS = ("lz4", "zstd")

# What is compressed together. To read one row all of its block is decompressed, so that a larger
# one makes random rows dearer; a smaller one compresses less.
_ROW_BLOCK_BYTES = 1 << 16


def write_shard(
    path: Path,
    schema: Schema,
    rows: Sequence[dict[str, Value]],
    compression: str | None = None,
) -> Shard:
    """Write rows to a file; it is durable on return, but for its name.

    Args:
      path: of the file.
      schema: of the rows.
      rows: as `Schema.convert` gives them; at least one.
      compression: "lz4" or "zstd" writes many Arrow record batches with compressed buffers; None
        writes one with plain buffers, which can be gathered from where they lie.

    Returns:
      what a manifest says of the file.
    """
    described = arrow_schema(schema)
    parts = [rows] if compression is None else _row_blocks(rows)
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with path.open("wb") as sink:
        with pa.ipc.new_file(sink, described, options=options) as stream:
            for part in parts:
                columns = [arrow_array(f, [row[f.name] for row in part]) for f in schema.fields]
                stream.write_batch(pa.record_batch(columns, schema=described))
        sink.flush()
        os.fsync(sink.fileno())
    with pa.memory_map(str(path)) as source:
        content = source.read_buffer()
    starts = _buffers(content, schema) if compression is None else {}
    placed = () if compression is None else tuple(_placed(content, described))
    view = memoryview(content)
    blocks = [zlib.crc32(view[at : at + BLOCK_BYTES]) for at in range(0, len(view), BLOCK_BYTES)]
    return Shard(path.name, len(rows), len(view), starts, tuple(blocks), placed)


def _row_blocks(rows: Sequence[dict[str, Value]]) -> Iterator[Sequence[dict[str, Value]]]:
    begin = size = 0
    for end, row in enumerate(rows):
        if end > begin and size + row_bytes(row) > _ROW_BLOCK_BYTES:
            yield rows[begin:end]
            begin, size = end, 0
        size += row_bytes(row)
    yield rows[begin:]


def _buffers(content: pa.Buffer, schema: Schema) -> Mapping[str, tuple[int, ...]]:
    """Say where the buffers of a file with one plain record batch begin."""
    batch = pa.ipc.open_file(pa.BufferReader(content)).get_batch(0)
    # An empty buffer (every row of no length) lies nowhere; it is never read.
    return {
        field.name: tuple(
            one.address - content.address if one is not None and one.size else 0
            for one in buffers(field, batch.column(position))
        )
        for position, field in enumerate(schema.fields)
    }


def _placed(content: pa.Buffer, described: pa.Schema) -> Iterator[RowBlock]:
    """Say where each record batch of a file lies, by walking over its messages."""
    source = pa.BufferReader(content)
    source.seek(8)  # "ARROW1", filled up to eight bytes
    pa.ipc.read_message(source)  # the schema
    count = pa.ipc.open_file(pa.BufferReader(content)).num_record_batches
    for _ in range(count):
        begin = source.tell()
        batch = pa.ipc.read_record_batch(pa.ipc.read_message(source), described)
        yield RowBlock(batch.num_rows, begin, source.tell())
