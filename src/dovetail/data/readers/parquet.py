"""Read Parquet files, some rows at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dovetail.data.readers.table_options import TableOptions
from dovetail.data.readers.table_plan import bound_to, check_typed, kept_beside, plan_typed
from dovetail.data.readers.table_rows import Batch, TablePlan, rows
from dovetail.data.readers.table_types import flat_columns
from dovetail.errors import DataError

_BATCH_BYTES = 8 << 20  # decoded rows held at a time, about
_BUFFER_BYTES = 1 << 20  # read ahead of each column, instead of a row group's whole column


@dataclass(frozen=True, kw_only=True)
class Parquet(TableOptions):
    """A reader for `prepare`: each row of Parquet files.

    Fields are the columns with the types that the files give them; where they differ between
    files, the type that holds all values exactly. Lists become fields whose size varies (None),
    fixed-size lists and tensors fields of their shape; the parts of a struct are columns named
    `struct.part`; times are int64 in their unit, which the records' metadata keeps as `units`.

    Args: those of `TableOptions`.

    Raises:
      DataError: naming file, row and column: an empty cell without a `fill`, a type that can't be
        stored, files whose columns differ, or a file that is no whole Parquet file.

    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "a.parquet"
    >>> pq.write_table(pa.table({"size": [1.5, 2.5], "kind": ["cat", "dog"]}), path)
    >>> reader = Parquet(label="kind").for_files([str(path)])
    >>> print(reader.schema, reader.metadata)
    'size': float64 []; 'label': int64 [] {'classes': ['cat', 'dog']}
    >>> [row["label"].item() for row in reader(str(path))]
    [0, 1]
    """

    _plan: TablePlan | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def metadata(self) -> dict[str, Any]:
        """What the records keep beside the rows: classes, categories and units."""
        return kept_beside(self._plan)

    def for_files(self, files: Iterable[str]) -> Parquet:
        """Return this reader with the types of these files; only their ends are read.

        Args:
          files: names of all files that are going to be read.
        """
        return bound_to(self, plan_typed(self, list(files), _schema, _batches))

    def __call__(self, filename: str) -> Iterator[dict[str, Any]]:
        """Yield the rows of one file as dicts by field name.

        Args:
          filename: path of the file.
        """
        plan = self._plan or plan_typed(self, [filename], _schema, _batches)
        check_typed(plan, filename, _schema(filename))
        yield from rows(plan, filename, _batches(filename, plan.sources))


def _schema(filename: str) -> pa.Schema:
    try:
        return pq.read_schema(filename)
    except (pa.ArrowException, OSError) as error:
        raise _refusal(filename, error) from error


def _batches(filename: str, columns: Sequence[str]) -> Iterator[Batch]:
    try:
        with pq.ParquetFile(filename, buffer_size=_BUFFER_BYTES) as file:
            for group in range(file.metadata.num_row_groups):
                head = file.metadata.row_group(group)
                row_bytes = max(head.total_byte_size // max(head.num_rows, 1), 1)
                size = min(max(_BATCH_BYTES // row_bytes, 1), 1 << 16)
                for batch in file.iter_batches(size, row_groups=[group], columns=list(columns)):
                    yield flat_columns(batch)
    except (pa.ArrowException, OSError) as error:
        raise _refusal(filename, error) from error


def _refusal(filename: str, error: Exception) -> DataError:
    return DataError(
        f"{filename}: the file can't be read as Parquet ({type(error).__name__}: {error}). Fetch "
        "or write it again, or leave it out of the pattern."
    )
