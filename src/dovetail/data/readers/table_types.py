"""What a column of an Arrow table holds, as the shape and dtype of one value."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.types as kinds

from dovetail.data.convert import NUMERIC_DTYPES
from dovetail.errors import DataError


class ColumnType(NamedTuple):
    """One value of a column: its shape (None where a size varies), its dtype, and its unit."""

    shape: tuple[int | None, ...]
    dtype: str
    unit: str | None = None  # of a time, such as "timestamp[us, tz=UTC]"

    @property
    def is_numeric(self) -> bool:
        """Whether the values are numbers, not text or bytes."""
        return self.dtype in NUMERIC_DTYPES

    def __str__(self) -> str:
        sizes = ", ".join("None" if size is None else str(size) for size in self.shape)
        return f"{self.dtype} [{sizes}]"


def type_of(arrow: pa.DataType, where: str) -> ColumnType:
    """Say what a column of an Arrow type holds.

    Lists vary in size, fixed-size lists and fixed-shape tensors do not; a dictionary is what its
    values are; times are whole numbers of their unit.

    Args:
      arrow: type of the column.
      where: the file and column, for messages.

    Raises:
      DataError: values of that type can't be stored.

    >>> print(type_of(pa.list_(pa.list_(pa.float32(), 3)), "a.parquet, column 'points'"))
    float32 [None, 3]
    """
    if isinstance(arrow, pa.FixedShapeTensorType):
        inner = type_of(arrow.value_type, where)
        axes = arrow.permutation or range(len(arrow.shape))
        return inner._replace(shape=tuple(arrow.shape[axis] for axis in axes))
    if isinstance(arrow, pa.BaseExtensionType):
        return type_of(arrow.storage_type, where)
    if kinds.is_dictionary(arrow) or kinds.is_run_end_encoded(arrow):
        return type_of(arrow.value_type, where)
    if kinds.is_fixed_size_list(arrow):
        inner = type_of(arrow.value_type, where)
        return inner._replace(shape=(arrow.list_size, *inner.shape))
    if kinds.is_list(arrow) or kinds.is_large_list(arrow):
        inner = type_of(arrow.value_type, where)
        return inner._replace(shape=(None, *inner.shape))
    if kinds.is_integer(arrow) or kinds.is_floating(arrow) or kinds.is_boolean(arrow):
        return ColumnType((), np.dtype(arrow.to_pandas_dtype()).name)
    if kinds.is_temporal(arrow) and not kinds.is_interval(arrow):
        return ColumnType((), "int64", str(arrow))
    if kinds.is_string(arrow) or kinds.is_large_string(arrow) or kinds.is_string_view(arrow):
        return ColumnType((), "string")
    binary = (kinds.is_binary, kinds.is_large_binary, kinds.is_fixed_size_binary)
    if any(is_kind(arrow) for is_kind in binary) or kinds.is_binary_view(arrow):
        return ColumnType((), "bytes")
    cure = "Leave it out (columns=[...]), or write it as numbers, text or lists of them."
    if kinds.is_null(arrow):
        cure = "It holds no value at all: leave it out (columns=[...])."
    elif kinds.is_decimal(arrow):
        cure = (
            "Write it as float64, or as text to keep all digits; or leave it out (columns=[...])."
        )
    raise DataError(f"{where} is of type {arrow}, which can't be stored. {cure}")


def joined(first: ColumnType, second: ColumnType) -> ColumnType | None:
    """Give the type that holds all values of both, or None where there is none.

    Numbers widen within what is exact (int32 and float64 give float64, int64 and float64 nothing);
    a size that differs becomes None.

    >>> print(joined(ColumnType((2,), "int8"), ColumnType((3,), "uint8")))
    int16 [None]
    """
    if len(first.shape) != len(second.shape) or first.unit != second.unit:
        return None
    pairs = zip(first.shape, second.shape, strict=True)
    shape = tuple(one if one == other else None for one, other in pairs)
    if first.dtype == second.dtype:
        return ColumnType(shape, first.dtype, first.unit)
    if not (first.is_numeric and second.is_numeric) or "bool" in (first.dtype, second.dtype):
        return None
    wide = np.promote_types(first.dtype, second.dtype)
    for one in (np.dtype(first.dtype), np.dtype(second.dtype)):
        if one.kind in "iu" and wide.kind == "f" and one.itemsize == 8:
            return None
    return ColumnType(shape, wide.name)


def flat_names(schema: pa.Schema) -> list[tuple[str, pa.DataType]]:
    """Name the columns of a schema with their types, those inside structs as `outer.inner`.

    >>> flat_names(pa.schema([("image", pa.struct([("bytes", pa.binary())]))]))
    [('image.bytes', DataType(binary))]
    """
    found: list[tuple[str, pa.DataType]] = []
    waiting = [(field.name, field.type) for field in schema]
    while waiting:
        name, kind = waiting.pop(0)
        if kinds.is_struct(kind):
            waiting[:0] = [(f"{name}.{field.name}", field.type) for field in kind]
        else:
            found.append((name, kind))
    return found


def flat_columns(batch: pa.RecordBatch) -> dict[str, pa.Array]:
    """Give the columns of a batch under the names of `flat_names`; a null struct gives nulls."""
    found: dict[str, pa.Array] = {}
    waiting = list(zip(batch.schema.names, batch.columns, strict=True))
    while waiting:
        name, array = waiting.pop(0)
        if not kinds.is_struct(array.type):
            found[name] = array
            continue
        inner = zip(array.type, array.flatten(), strict=True)
        waiting[:0] = [(f"{name}.{field.name}", child) for field, child in inner]
    return found
