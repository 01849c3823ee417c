"""The rows of a table's batches, made as a plan says."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.types as kinds

from dovetail.data.readers.table_columns import Expected
from dovetail.data.readers.table_types import ColumnType
from dovetail.data.readers.table_values import Values, first_null, values_of
from dovetail.data.schema import Field, Schema
from dovetail.errors import DataError, nearest

pc: Any = pyarrow.compute  # made when it is imported, so pyright does not see its functions

Batch = Mapping[str, pa.Array]  # some rows of a table, by name of the column


@dataclass(frozen=True)
class PlannedField:
    """How one field is made.

    Attributes:
      field: what is stored.
      sources: its columns; several, or one in a tuple of one, are joined if `joins`.
      fills: the value for empty cells of each column; None refuses them.
      values: texts that are stored as their index.
      rounds: whether floats are rounded to the field's dtype.
    """

    field: Field
    sources: tuple[str, ...]
    fills: tuple[Any, ...]
    values: tuple[str, ...] | None = None
    rounds: bool = False
    joins: bool = False


@dataclass(frozen=True)
class TablePlan:
    """How the rows of all files are made.

    Attributes:
      fields: what is stored, and from what.
      schema: the fields.
      metadata: what the records keep beside the rows.
      expected: the columns that each file must have.
      types: what the columns hold, over all files.
    """

    fields: tuple[PlannedField, ...]
    schema: Schema
    metadata: dict[str, Any]
    expected: Expected
    types: dict[str, ColumnType]

    @property
    def sources(self) -> list[str]:
        """Names of the columns that are read."""
        return list(dict.fromkeys(name for one in self.fields for name in one.sources))


def rows(plan: TablePlan, filename: str, batches: Iterable[Batch]) -> Iterator[dict[str, Any]]:
    """Yield the rows of one file by name of the field.

    Args:
      plan: how fields are made.
      filename: the file, for messages.
      batches: its columns, some rows at a time.

    Raises:
      DataError: naming file, row and column: a cell is empty, or its text is no known category.
    """
    start = 0
    names = [one.field.name for one in plan.fields]
    for batch in batches:
        columns = [_field_values(one, batch, filename, start) for one in plan.fields]
        for values in zip(*columns, strict=True):
            yield dict(zip(names, values, strict=True))
        start += len(batch[plan.fields[0].sources[0]])


def distinct_texts(
    columns: Sequence[str],
    fills: Mapping[str, Any],
    files: Iterable[Callable[[], Iterable[Batch]]],
) -> dict[str, list[str]]:
    """Give the texts of columns, sorted; an empty cell counts as its column's fill value.

    Args:
      columns: names of columns of text.
      fills: the value of their empty cells, if there is one.
      files: reads of one file each; one that fails counts for nothing, it will fail again.
    """
    found: dict[str, set[str]] = {name: set() for name in columns}
    for read in files:
        mine: dict[str, set[Any]] = {name: set() for name in columns}
        try:
            for batch in read():
                for name, texts in mine.items():
                    texts.update(pc.unique(_text(batch[name])).to_pylist())
        except DataError:
            continue
        for name, texts in mine.items():
            told = {fills.get(name) if text is None else text for text in texts}
            found[name].update(text for text in told if text is not None)
    return {name: sorted(texts) for name, texts in found.items()}


def _field_values(one: PlannedField, batch: Batch, filename: str, start: int) -> Values:
    where = f"{filename}: column '{one.sources[0]}'"
    arrays = [
        _filled(batch[column], fill, column, filename, start)
        for column, fill in zip(one.sources, one.fills, strict=True)
    ]
    if one.values is not None:
        return _coded(one, arrays[0], filename, start)
    if one.joins:
        values: Values = np.stack([np.asarray(values_of(array, where)) for array in arrays], axis=1)
    else:
        values = values_of(arrays[0], where)
    if one.rounds and one.field.is_numeric:
        values = _rounded(values, one.field, filename, start)
    return _shaped(values, one.field)


def _filled(array: pa.Array, fill: Any, column: str, filename: str, start: int) -> pa.Array:
    row = first_null(array)
    if row is None:
        return array
    where = f"{filename}, row {start + row}: column '{column}' is empty there (null)"
    if fill is None:
        raise DataError(
            f"{where}. Give a value for empty cells (fill=...), leave the column out "
            "(columns=[...]), or remove such rows; the first row is row 0."
        )
    if kinds.is_dictionary(array.type):
        array = array.dictionary_decode()
    try:
        return pc.fill_null(array, pa.scalar(fill).cast(array.type))  # refuses what it changes
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise DataError(
            f"{where}, and the fill value {fill!r} is none of type {array.type} ({error})."
        ) from error


def _coded(one: PlannedField, array: pa.Array, filename: str, start: int) -> np.ndarray:
    assert one.values is not None
    texts = _text(array)
    codes = pc.index_in(texts, value_set=pa.array(one.values, texts.type))
    row = first_null(codes)
    if row is not None:
        text = texts[row].as_py()
        raise DataError(
            f"{filename}, row {start + row}: column '{one.sources[0]}' holds {text!r}, which is "
            f"none of its {len(one.values)} values.{nearest(text, one.values)}"
        )
    return codes.to_numpy().astype(np.int64)


def _text(array: pa.Array) -> pa.Array:
    return array if kinds.is_string(array.type) else array.cast(pa.string())


def _rounded(values: Values, field: Field, filename: str, start: int) -> Values:
    if isinstance(values, list):
        return [
            _rounded(value, field, filename, start + row) if value.dtype.kind == "f" else value
            for row, value in enumerate(values)
        ]
    if values.dtype.kind != "f" or field.numpy_dtype.kind != "f":
        return values
    with np.errstate(over="ignore"):
        result = values.astype(field.numpy_dtype)
    lost = np.isfinite(values) & ~np.isfinite(result)
    if lost.any():
        raise DataError(
            f"{filename}, near row {start}: {values[lost].flat[0]} is too large for the field "
            f"{field}. Store it as float64."
        )
    return result


def _shaped(values: Values, field: Field) -> Values:
    """Fold flat rows to a field's sizes, such as 784 numbers to [28, 28], where that is all."""
    if None in field.shape or len(field.shape) < 2 or not field.is_numeric:
        return values
    shape = tuple(size or 0 for size in field.shape)
    if isinstance(values, np.ndarray):
        folds = values.ndim == 2 and values.shape[1] == math.prod(shape)
        return values.reshape(len(values), *shape) if folds else values
    return [
        value.reshape(shape) if value.ndim == 1 and len(value) == math.prod(shape) else value
        for value in values
    ]
