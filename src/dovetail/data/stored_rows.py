"""Rows back out of one Arrow file, exactly as they went in: how a writer takes up its own work."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from dovetail.data.layout import buffers, has_shapes
from dovetail.data.schema import Field, Schema, Value


def stored_rows(path: Path, schema: Schema) -> list[dict[str, Value]]:
    """Read all rows of a shard's file, as `Schema.convert` gives them.

    Args:
      path: a file whose bytes are known to be those that were written.
      schema: what it was written with.
    """
    with pa.OSFile(str(path)) as source, pa.ipc.open_file(source) as reader:
        rows: list[dict[str, Value]] = []
        for batch in map(reader.get_batch, range(reader.num_record_batches)):
            columns = [
                _values(field, batch.column(position), batch.num_rows)
                for position, field in enumerate(schema.fields)
            ]
            rows += [
                dict(zip(schema, values, strict=True)) for values in zip(*columns, strict=True)
            ]
    return rows


def _values(field: Field, array: Any, rows: int) -> list[Value]:
    parts = buffers(field, array)
    if field.kind == "fixed":
        stacked = _numbers(field, parts[0]).reshape(rows, *(size or 0 for size in field.shape))
        return [np.asarray(value) for value in stacked]
    starts = _integers(parts[0])
    if field.shape == ():
        return _texts(field, starts, parts[-1])
    shapes = (
        _integers(parts[-1]).reshape(rows, -1) if has_shapes(field) else np.diff(starts)[:, None]
    )
    items: np.ndarray
    if field.is_numeric:
        items = _numbers(field, parts[1])
    else:
        texts = _texts(field, _integers(parts[1]), parts[2])
        items = np.empty(len(texts), object)
        items[:] = texts
    return [items[starts[row] : starts[row + 1]].reshape(shapes[row]) for row in range(rows)]


def _integers(buffer: pa.Buffer | None) -> np.ndarray:
    empty = buffer is None or not buffer.size
    return np.zeros(0, np.int64) if empty else np.frombuffer(buffer or b"", np.int64)


def _numbers(field: Field, buffer: pa.Buffer | None) -> np.ndarray:
    empty = buffer is None or not buffer.size
    return np.zeros(0, field.dtype) if empty else np.frombuffer(buffer or b"", field.dtype)


def _texts(field: Field, starts: np.ndarray, buffer: pa.Buffer | None) -> list[Any]:
    content = b"" if buffer is None else buffer.to_pybytes()
    texts = [content[a:b] for a, b in itertools.pairwise(starts)]
    return [text.decode() for text in texts] if field.dtype == "string" else texts
