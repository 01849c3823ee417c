"""Where predictions go: JSON lines on the screen or in a file, or an Arrow file.

A file appears under its name when it is whole; until then it is a hidden one beside it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from dovetail.cli.show import to_json
from dovetail.errors import DefinitionError, DovetailError

if TYPE_CHECKING:
    import pyarrow as pa

Batch = dict[str, np.ndarray]
Write = Callable[[Batch], int]
"""Writes a batch (name -> array, batch first) and returns how many rows it had."""


@contextmanager
def opened(output: str | None) -> Iterator[Write]:
    """Open where predictions go.

    Args:
      output: a file, Arrow (IPC) if its name ends in .arrow, else JSON lines; None: stdout.

    Raises:
      DovetailError: the file can't be written.
    """
    if output is None:
        yield lambda batch: write_lines(batch, sys.stdout)
        return
    path = Path(output)
    aside = path.with_name(f".{path.name}.partial")
    if path.is_dir():
        raise DovetailError(f"--output {output} is a folder; name a file in it.")
    kind = _arrow if path.suffix == ".arrow" else _lines
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside.open("wb").close()
    except OSError as error:
        raise DovetailError(
            f"--output {output} can't be written: {error.strerror}. Give yourself permission "
            "there, or name another file."
        ) from error
    try:
        with kind(aside) as write:
            yield write
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def write_lines(batch: Batch, stream: TextIO) -> int:
    """Write one line of JSON for each row; returns how many.

    >>> write_lines({"class": np.array([3, 1]), "score": np.float32([0.1, 0.9])}, sys.stdout)
    {"class": 3, "score": 0.1}
    {"class": 1, "score": 0.9}
    2
    """
    rows = _rows(batch)
    columns = [_plain(array) for array in batch.values()]
    for values in zip(*columns, strict=True):
        stream.write(to_json(dict(zip(batch, values, strict=True))) + "\n")
    return rows


@contextmanager
def _lines(path: Path) -> Iterator[Write]:
    with path.open("w", encoding="utf-8") as stream:
        yield lambda batch: write_lines(batch, stream)


@contextmanager
def _arrow(path: Path) -> Iterator[Write]:
    import pyarrow as pa

    writer: Any = None

    def write(batch: Batch) -> int:
        nonlocal writer
        rows = _rows(batch)
        table = pa.record_batch({name: _column(array) for name, array in batch.items()})
        if writer is None:
            writer = pa.ipc.new_file(str(path), table.schema)
        writer.write_batch(table)
        return rows

    try:
        yield write
    finally:
        if writer is not None:
            writer.close()


def _column(array: np.ndarray) -> pa.Array:
    """Return an array as an Arrow column: numbers, or lists of them, nested as deep as needed.

    The lists vary in length, since a prediction may be longer in another batch.
    """
    import pyarrow as pa

    column: pa.Array = pa.array(np.ascontiguousarray(array).reshape(-1))
    for axis in range(array.ndim - 1, 0, -1):
        size = array.shape[axis]
        count = int(np.prod(array.shape[:axis]))
        offsets = np.arange(count + 1, dtype=np.int64) * size
        column = pa.LargeListArray.from_arrays(offsets, column)
    return column


def _plain(array: np.ndarray) -> list[Any]:
    """Return an array as Python values; a float32 as the shortest number that stands for it."""
    if array.dtype in (np.float32, np.float16):
        array = array.astype(str).astype(np.float64)
    return array.tolist()


def _rows(batch: Batch) -> int:
    sizes = {name: array.shape[0] if array.ndim else None for name, array in batch.items()}
    if len(set(sizes.values())) != 1 or None in sizes.values():
        raise DefinitionError(
            f"The predictions are not one row per example (their first dimensions: {sizes}). Give "
            "predictions batch first, or choose those that are with --predict-keys."
        )
    (rows,) = set(sizes.values())
    assert rows is not None
    return rows
