"""Read Arrow IPC files and streams (Feather too), some rows at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from dovetail.data.readers.table_options import TableOptions
from dovetail.data.readers.table_plan import bound_to, check_typed, kept_beside, plan_typed
from dovetail.data.readers.table_rows import Batch, TablePlan, rows
from dovetail.data.readers.table_types import flat_columns
from dovetail.errors import DataError

_BATCH_BYTES = 8 << 20  # rows turned into values at a time, about


@dataclass(frozen=True, kw_only=True)
class Arrow(TableOptions):
    """A reader for `prepare`: each row of Arrow files, whether in the file or the stream format.

    What columns become is as for `Parquet`. The files are mapped, so a batch larger than memory
    is read in slices (unless it is compressed).

    Args: those of `TableOptions`.

    Raises:
      DataError: naming file, row and column; see `Parquet`.

    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "a.arrow"
    >>> table = pa.table({"x": [[1, 2], [3]]})
    >>> with pa.ipc.new_file(path, table.schema) as writer:
    ...     writer.write_table(table)
    >>> reader = Arrow().for_files([str(path)])
    >>> print(reader.schema)
    'x': int64 [None]
    >>> [row["x"].tolist() for row in reader(str(path))]
    [[1, 2], [3]]
    """

    _plan: TablePlan | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def metadata(self) -> dict[str, Any]:
        """What the records keep beside the rows: classes, categories and units."""
        return kept_beside(self._plan)

    def for_files(self, files: Iterable[str]) -> Arrow:
        """Return this reader with the types of these files; only their heads are read.

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
        with pa.memory_map(filename) as source:
            return _opened(source).schema
    except (pa.ArrowException, OSError) as error:
        raise _refusal(filename, error) from error


def _batches(filename: str, columns: Sequence[str]) -> Iterator[Batch]:
    try:
        with pa.memory_map(filename) as source:
            reader = _opened(source)
            if isinstance(reader, pa.RecordBatchFileReader):
                found = map(reader.get_batch, range(reader.num_record_batches))
            else:
                found = iter(reader)
            for batch in found:
                batch.validate()
                size = max(_BATCH_BYTES * batch.num_rows // max(batch.nbytes, 1), 1)
                for start in range(0, batch.num_rows, size):
                    arrays = flat_columns(batch.slice(start, size))
                    yield {name: arrays[name] for name in columns}
    except (pa.ArrowException, OSError) as error:
        raise _refusal(filename, error) from error


def _opened(source: pa.NativeFile) -> Any:
    magic = source.read(6)
    source.seek(0)
    return pa.ipc.open_file(source) if magic == b"ARROW1" else pa.ipc.open_stream(source)


def _refusal(filename: str, error: Exception) -> DataError:
    return DataError(
        f"{filename}: the file can't be read as Arrow ({type(error).__name__}: {error}). It must "
        "be in Arrow's IPC file or stream format; write it again, or leave it out of the pattern."
    )
