"""Read CSV files, some rows at a time, with the types that all their rows allow."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute

from dovetail.data.readers.csv_file import CsvFormat, column_names, text_batches
from dovetail.data.readers.csv_text import TextKind, first_unparsed, parsed
from dovetail.data.readers.table_columns import refuse_doubled
from dovetail.data.readers.table_options import TableOptions
from dovetail.data.readers.table_plan import (
    bound_to,
    kept_beside,
    make_plan,
    what_is_expected,
)
from dovetail.data.readers.table_rows import Batch, TablePlan, distinct_texts, rows
from dovetail.data.readers.table_types import ColumnType
from dovetail.errors import DataError

pc: Any = pyarrow.compute  # made when it is imported, so pyright does not see its functions

EMPTY = ("", "NA", "N/A", "#N/A", "null", "NULL")


@dataclass(frozen=True, kw_only=True)
class Csv(TableOptions):
    """A reader for `prepare`: each row of CSV files, whose first line names the columns.

    All files are read once to find what their columns hold: int64, float64 or bool (`true`,
    `false`) where every cell is one, else text. Numbers with leading zeros are text (007 is a
    code), and so are whole numbers beyond 64 bits. With a schema, a column is what it says there.
    Files that end in .gz, .bz2, .zst or .lz4 are decompressed.

    Args: those of `TableOptions`, and
      delimiter: what separates cells; None takes a tab for .tsv and .tab, else a comma.
      names: of the columns, where files have no first line with them.
      quote: the character around cells that hold the delimiter or a line break.
      encoding: of the text, by Python's name.
      longest: how many bytes a row may have; up to 32 times as much is held in memory.
      empty: texts that mean an empty cell in a column of numbers; in one of text they are text.

    Raises:
      DataError: naming file, row and column (the row after the names is row 0): a row of too few
        or too many cells, text that does not decode, an empty cell without a `fill`, or files
        whose columns differ.

    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "a.csv"
    >>> _ = path.write_text("size,zip,kind\\n1,00501,cat\\n2.5,10115,dog\\n")
    >>> reader = Csv(label="kind").for_files([str(path)])
    >>> print(reader.schema)
    'size': float64 []; 'zip': string []; 'label': int64 []
    >>> list(reader(str(path)))[1]
    {'size': np.float64(2.5), 'zip': '10115', 'label': np.int64(1)}
    """

    delimiter: str | None = None
    names: Sequence[str] | None = None
    quote: str = '"'
    encoding: str = "utf-8"
    longest: int = 1 << 20
    empty: Sequence[str] = EMPTY
    _plan: TablePlan | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def metadata(self) -> dict[str, Any]:
        """What the records keep beside the rows: classes and categories."""
        return kept_beside(self._plan)

    def for_files(self, files: Iterable[str]) -> Csv:
        """Return this reader with the types of these files, which are read once for that.

        Args:
          files: names of all files that are going to be read.
        """
        good, failures = [], []
        expected, layout = None, {}
        for name in files:
            try:
                there = column_names(name, self._format)
                refuse_doubled(there, name)
            except DataError as error:
                failures.append(error)
                continue
            if expected is None:
                expected, layout = what_is_expected(self, name, there)
            try:
                expected.check(name, there)
                good.append(name)
            except DataError as error:
                failures.append(error)
        if expected is None:
            raise failures[0]
        sources = list(dict.fromkeys(column for columns in layout.values() for column in columns))
        kinds = self._found(good, sources)
        kinds.update(self._stated(layout, kinds))

        def distinct(wanted: Sequence[str]) -> Mapping[str, Sequence[str]]:
            texts = dict.fromkeys(wanted, "string")
            fills = {column: self.fill_for(column, numeric=False) for column in wanted}
            return distinct_texts(wanted, fills, (partial(_typed, self, n, texts) for n in good))

        types = {name: ColumnType((), dtype) for name, dtype in kinds.items()}
        return bound_to(self, make_plan(self, layout, types, distinct, expected, rounds=True))

    def __call__(self, filename: str) -> Iterator[dict[str, Any]]:
        """Yield the rows of one file as dicts by field name.

        Args:
          filename: path of the file.
        """
        plan = self._plan or self.for_files([filename])._plan
        assert plan is not None
        plan.expected.check(filename, column_names(filename, self._format))
        kinds = {name: kind.dtype for name, kind in plan.types.items()}
        yield from rows(plan, filename, _typed(self, filename, kinds))

    @property
    def _format(self) -> CsvFormat:
        return CsvFormat(self.delimiter, self.names, self.quote, self.encoding, self.longest)

    def _found(self, files: Sequence[str], columns: Sequence[str]) -> dict[str, str]:
        """Find the dtype of each column from all of its text, but that of files that fail."""
        found = {name: TextKind() for name in columns}
        failures: list[DataError] = []
        for filename in files:
            more = copy.deepcopy(found)
            try:
                for batch in text_batches(filename, self._format, columns):
                    for name, kind in more.items():
                        kind.add(_trimmed(batch[name], self.empty))
            except DataError as error:
                failures.append(error)
            else:
                found = more
        if len(failures) == len(files):
            raise failures[0]
        for name, kind in found.items():
            fill = self.fill_for(name, numeric=True)
            if kind.has_empty and kind.dtype not in ("string", None) and fill is not None:
                kind.add(pa.array([str(fill)]))
        return {name: kind.dtype or "string" for name, kind in found.items()}

    def _stated(
        self, layout: Mapping[str, tuple[str, ...]], kinds: Mapping[str, str]
    ) -> dict[str, str]:
        """Give the dtypes that the schema wants to be read otherwise than was found."""
        stated: dict[str, str] = {}
        for name, sources in layout.items():
            wanted = self.schema[name] if self.schema is not None else None
            if wanted is None or sources[0] in self.categories:
                continue
            for column in sources:
                if wanted.dtype == "string":
                    stated[column] = "string"
                elif wanted.is_numeric and kinds[column] == "string" and column != self.label:
                    family = wanted.numpy_dtype.kind
                    stated[column] = {"b": "bool", "f": "float64", "u": "uint64"}.get(
                        family, "int64"
                    )
        return stated


def _typed(reader: Csv, filename: str, kinds: Mapping[str, str]) -> Iterator[Batch]:
    """Yield some columns of a file, their text turned into what it stands for."""
    start = 0
    for batch in text_batches(filename, reader._format, list(kinds)):
        arrays: dict[str, pa.Array] = {}
        for name, dtype in kinds.items():
            if dtype == "string":
                told = reader.fill_for(name, numeric=False) is not None
                gone = pc.is_in(batch[name], value_set=pa.array(reader.empty, pa.string()))
                blank = pa.scalar(None, pa.string())
                arrays[name] = pc.if_else(gone, blank, batch[name]) if told else batch[name]
                continue
            text = _trimmed(batch[name], reader.empty)
            values = parsed(text, dtype)
            if values is None:
                row = first_unparsed(text, dtype)
                raise DataError(
                    f"{filename}, row {start + row}: column '{name}' holds {text[row].as_py()!r}, "
                    f"which is no {dtype}. Correct it, or let the schema say string."
                )
            arrays[name] = values
        yield arrays
        start += len(next(iter(arrays.values())))


def _trimmed(text: pa.Array, empty: Sequence[str]) -> pa.Array:
    text = pc.utf8_trim_whitespace(text)
    gone = pc.is_in(text, value_set=pa.array(empty, pa.string()))
    return pc.if_else(gone, pa.scalar(None, pa.string()), text)
