"""How a field lies in an Arrow file: its type there, its array, and where its buffers begin.

| field | Arrow type | buffers, in order |
|---|---|---|
| numbers, shape [] | the number's type | data |
| numbers, fixed shape | arrow.fixed_shape_tensor | data |
| numbers, ragged | large_list of numbers | offsets, data |
| text or bytes, shape [] | large_string, large_binary | offsets, data |
| text or bytes, any other | large_list of those | offsets, offsets of the items, data |

A ragged field of two or more dimensions, and text of two or more, is a struct of such a list
(`values`) and a fixed_size_list (`shape`); the shape is then the last buffer. bool is stored as
uint8, since Arrow packs its own bool into bits, which no gather can take.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from dovetail.data.schema import Field, Schema, Value


def arrow_schema(schema: Schema) -> pa.Schema:
    """Give the Arrow schema of a shard's file.

    >>> from dovetail.data.schema import Field, Schema
    >>> arrow_schema(Schema([Field("text", (), "string")])).field("text").type
    DataType(large_string)
    """
    fields = [pa.field(one.name, arrow_type(one), nullable=False) for one in schema.fields]
    return pa.schema(fields, metadata={"dovetail.schema": json.dumps(schema.to_list())})


def arrow_type(field: Field) -> pa.DataType:
    """Give the Arrow type of a field's column."""
    item = _item_type(field)
    if field.kind == "fixed":
        sizes = [size for size in field.shape if size is not None]
        return pa.fixed_shape_tensor(item, sizes) if sizes else item
    if field.shape == ():
        return item
    values = pa.large_list(pa.field("item", item, nullable=False))
    if not has_shapes(field):
        return values
    shape = pa.list_(pa.field("item", pa.int64(), nullable=False), len(field.shape))
    return pa.struct(
        [pa.field("values", values, nullable=False), pa.field("shape", shape, nullable=False)]
    )


def has_shapes(field: Field) -> bool:
    """Whether each row's shape is stored, as its length does not tell it."""
    return field.kind != "fixed" and len(field.shape) > 1


def offset_levels(field: Field) -> int:
    """How many buffers of offsets stand between a row and its data."""
    if field.kind == "fixed":
        return 0
    return 1 if field.is_numeric or field.shape == () else 2


def arrow_array(field: Field, rows: Sequence[Value]) -> pa.Array:
    """Make the column of a field.

    Args:
      field: which field.
      rows: its values, as `Schema.convert` gives them; at least one.

    Returns:
      an array of `arrow_type(field)`, without nulls.
    """
    kind: Any = arrow_type(field)
    if field.kind == "fixed":
        flat = pa.array(_bits(np.stack([np.asarray(row) for row in rows]), field).ravel())
        if field.shape == ():
            return flat
        storage = pa.FixedSizeListArray.from_arrays(flat, type=kind.storage_type)
        return pa.ExtensionArray.from_storage(kind, storage)
    if field.shape == ():
        return pa.array(rows, kind)
    arrays = [np.asarray(row) for row in rows]
    lengths = np.fromiter((array.size for array in arrays), np.int64, len(arrays))
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))
    if field.is_numeric:
        items = pa.array(_bits(np.concatenate([array.ravel() for array in arrays]), field))
    else:
        items = pa.array([item for array in arrays for item in array.flat], _item_type(field))
    list_type = kind.field("values").type if has_shapes(field) else kind
    values = pa.LargeListArray.from_arrays(offsets, items, type=list_type)
    if not has_shapes(field):
        return values
    sizes = pa.array(np.array([array.shape for array in arrays], np.int64).ravel())
    shapes = pa.FixedSizeListArray.from_arrays(sizes, type=kind.field("shape").type)
    return pa.StructArray.from_arrays([values, shapes], fields=list(kind))


def buffers(field: Field, array: Any) -> list[pa.Buffer | None]:
    """Give the buffers of a field's column, in the order of the table above."""
    shapes: list[pa.Buffer | None] = []
    if has_shapes(field):
        shapes = [array.field("shape").buffers()[-1]]
        array = array.field("values")
    # Arrow puts a column's buffers parent first: a validity bitmap (None here), then its own.
    every = array.storage.buffers() if isinstance(array, pa.ExtensionArray) else array.buffers()
    levels = offset_levels(field)
    return [*every[1 : 2 * levels : 2], every[-1], *shapes]


def row_bytes(row: dict[str, Value]) -> int:
    """Give about how many bytes a row takes in a shard; the same for the same row.

    >>> row_bytes({"x": np.zeros(3, np.float32), "name": "ab"})
    22
    """
    return sum(_value_bytes(value) for value in row.values())


def _value_bytes(value: Value) -> int:
    if isinstance(value, str):
        return 8 + len(value.encode())
    if isinstance(value, bytes):
        return 8 + len(value)
    if value.dtype == object:
        return 8 + sum(_value_bytes(item) for item in value.flat)
    return value.nbytes


def _item_type(field: Field) -> pa.DataType:
    if field.dtype == "string":
        return pa.large_string()
    if field.dtype == "bytes":
        return pa.large_binary()
    return pa.from_numpy_dtype(np.uint8 if field.dtype == "bool" else field.numpy_dtype)


def _bits(array: np.ndarray, field: Field) -> np.ndarray:
    return array.view(np.uint8) if field.dtype == "bool" else array
