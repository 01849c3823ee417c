"""Files that hold a row for each item: npy, npz, csv, parquet and arrow, read and written whole."""

from __future__ import annotations

import contextlib
import functools
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from dovetail.data.readers.table_values import first_null, values_of
from dovetail.errors import DataError, nearest

FORMATS = ("npy", "npz", "csv", "parquet", "arrow", "feather")
_KEPT = 4  # tables that stay in memory, for the batches that come next


@dataclass(frozen=True)
class Table:
    """The columns of a file, of which rows can be taken.

    Attributes:
      where: the file's name, for messages.
      columns: name -> all values; the name of a `.npy` file's one array is None.
    """

    where: str
    columns: Mapping[str | None, Any]

    def __len__(self) -> int:
        return min((len(column) for column in self.columns.values()), default=0)

    def take(self, name: str | None, rows: np.ndarray) -> Any:
        """Copy some rows of a column: an array, or a list where it is text or varies in size.

        Raises:
          DataError: if there is no such column, or it has a null there.
        """
        if name not in self.columns:
            known = ", ".join(map(str, self.columns))
            raise DataError(
                f"{self.where} has no column '{name}'; it has {known}."
                f"{nearest(str(name), self.columns)}"
            )
        column = self.columns[name]
        if isinstance(column, np.ndarray):
            return np.array(column[rows])
        taken = column.take(pa.array(rows)).combine_chunks()
        if isinstance(taken, pa.ChunkedArray):  # of an older pyarrow
            taken = pa.concat_arrays(taken.chunks)
        null = first_null(taken)
        if null is not None:
            raise DataError(
                f"{self.where}, column '{name}': row {int(rows[null])} has no value. Fill it in, "
                "or leave the column out (components=...)."
            )
        values = values_of(taken, f"{self.where}, column '{name}'")
        return np.array(values) if isinstance(values, np.ndarray) else values

    def rows_of(self, ids: Sequence[Any], id_column: str) -> np.ndarray:
        """Find the rows of some ids, int64 [n], by the column that holds them.

        Raises:
          DataError: if an id has no row, or two.
        """
        column = self.columns[id_column]
        known = column.tolist() if isinstance(column, np.ndarray) else column.to_pylist()
        places = {id: row for row, id in enumerate(known)}
        if len(places) != len(known):
            raise DataError(f"{self.where} has an id in two rows (column '{id_column}').")
        rows = [places.get(id) for id in ids]
        if None in rows:
            id = ids[rows.index(None)]
            raise DataError(
                f"{self.where} has no row for the item {id!r}, by its column '{id_column}'. If its "
                "rows are in the order of the data set, say id_column=None."
            )
        return np.array(rows, np.int64)


def read_table(path: str, fmt: str) -> Table:
    """Read a file; the last few read stay in memory until they change on disk.

    Args:
      path: the file.
      fmt: one of `FORMATS`.

    Raises:
      DataError: naming the file, if it can't be read.
    """
    try:
        stat = os.stat(path)
        return _read(path, fmt, (stat.st_mtime_ns, stat.st_size, stat.st_ino))
    except (OSError, ValueError, EOFError, pa.ArrowException) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"'{path}' can't be read as {fmt} ({type(error).__name__}: {error})."
        ) from error


def write_table(path: str, fmt: str, columns: Mapping[str | None, Any]) -> None:
    """Write columns to a file, which appears whole or not at all.

    Args:
      path: the file.
      fmt: one of `FORMATS`; "npy" takes one column.
      columns: name -> [n, ...] or a list of n values.

    Raises:
      DataError: if the format can't hold the values.
    """
    if fmt in ("npy", "npz"):
        arrays = {name: _array(name, values, fmt) for name, values in columns.items()}
        with written(path) as file:
            if fmt == "npy":
                (array,) = arrays.values()
                np.save(file, array, allow_pickle=False)
            else:
                named = {str(name): array for name, array in arrays.items()}
                np.savez(file, allow_pickle=False, **named)
        return
    arrow = [_arrow(name, values, fmt) for name, values in columns.items()]
    table = pa.table(arrow, names=[str(name) for name in columns])
    with written(path) as file:
        if fmt == "parquet":
            import pyarrow.parquet as parquet

            parquet.write_table(table, file)
        elif fmt == "csv":
            import pyarrow.csv as csv

            csv.write_csv(table, file)
        else:
            with pa.ipc.new_file(file, table.schema) as writer:
                writer.write_table(table)


@functools.lru_cache(_KEPT)
def _read(path: str, fmt: str, version: tuple[int, ...]) -> Table:
    if fmt == "npy":
        return Table(path, {None: np.load(path, mmap_mode="r", allow_pickle=False)})
    if fmt == "npz":
        with np.load(path, allow_pickle=False) as arrays:
            return Table(path, dict(arrays))
    if fmt == "csv":
        import pyarrow.csv as csv

        table = csv.read_csv(path)
    elif fmt == "parquet":
        import pyarrow.parquet as parquet

        table = parquet.read_table(path)
    else:
        with pa.memory_map(path) as file:
            table = pa.ipc.open_file(file).read_all()
    if len(set(table.column_names)) < table.num_columns:
        raise DataError(f"{path}: columns need names of their own; got {table.column_names}.")
    return Table(path, dict(zip(table.column_names, table.columns, strict=True)))


def _array(name: str | None, values: Any, fmt: str) -> np.ndarray:
    try:
        array = np.asarray(values)
    except ValueError:  # sizes differ
        array = np.empty(0, object)
    if array.dtype == object:
        raise DataError(
            f"{_named(name)} can't be written as {fmt}: its values are no numbers or text of one "
            "shape. Write a file for each item, or parquet, or other components."
        )
    return array


def _arrow(name: str | None, values: Any, fmt: str) -> pa.Array:
    if hasattr(values, "numpy"):
        values = values.numpy()
    dims = np.ndim(values[0]) if len(values) and isinstance(values[0], np.ndarray) else 0
    if dims and fmt == "csv":
        raise DataError(
            f"{_named(name)} can't be written as csv: each value is an array of {dims} "
            "dimensions. Write parquet or npz, or other components."
        )
    try:
        if isinstance(values, np.ndarray) and values.ndim > 1:
            return pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(values))
        return pa.array(values.tolist() if _is_objects(values) else values)
    except (pa.ArrowException, TypeError) as error:
        raise DataError(
            f"{_named(name)} can't be written as {fmt} ({error}). Write a file for each item, or "
            "other components."
        ) from error


def _is_objects(values: Any) -> bool:
    return isinstance(values, np.ndarray) and values.dtype.kind in "OU"


def _named(name: str | None) -> str:
    return "The batch's data" if name is None else f"Component '{name}'"


@contextlib.contextmanager
def written(path: str) -> Iterator[Any]:
    """Open a new file under a name of its own, which becomes `path` once it is whole."""
    folder = Path(path).absolute().parent
    folder.mkdir(parents=True, exist_ok=True)
    handle, aside = tempfile.mkstemp(suffix=".part", dir=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        os.chmod(aside, 0o666 & ~_umask())
        os.replace(aside, path)
    except BaseException:
        os.unlink(aside)
        raise


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
