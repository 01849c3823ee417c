"""The text of CSV files, parsed by Arrow, with errors that name file and row."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.csv as pc

from dovetail.errors import DataError

_SEPARATORS = ";\t|"
_TABBED = re.compile(r"\.(tsv|tab)(\.\w+)?$", re.IGNORECASE)


@dataclass(frozen=True)
class CsvFormat:
    """How a CSV file is written; see `Csv`."""

    delimiter: str | None = None
    names: Sequence[str] | None = None
    quote: str = '"'
    encoding: str = "utf-8"
    longest: int = 1 << 20


def column_names(filename: str, form: CsvFormat) -> list[str]:
    """Read the names of a file's columns.

    Raises:
      DataError: naming the file: it is empty, can't be read, or is separated otherwise.
    """
    with _opened(filename, form, None) as reader:
        names = list(reader.schema.names)
    delimiter = _delimiter(filename, form)
    other = next((sign for sign in _SEPARATORS if sign != delimiter and sign in names[0]), None)
    if len(names) == 1 and form.names is None and other is not None:
        raise DataError(
            f"{filename}: its first line holds no {delimiter!r} but {other!r}: it seems to be "
            f"separated by that. Say delimiter={other!r}."
        )
    return names


def text_batches(
    filename: str, form: CsvFormat, columns: Sequence[str]
) -> Iterator[dict[str, pa.Array]]:
    """Yield the text of some columns, about as many bytes at a time as the longest row may have.

    Arrow reads up to 32 times as much ahead, so that is what memory holds.

    Raises:
      DataError: naming file and row: too few or too many cells, or text that does not decode.
    """
    start = 0
    single = len(column_names(filename, form)) == 1
    with _opened(filename, form, list(columns), keep_empty=single) as reader:
        for batch in reader:
            text: dict[str, pa.Array] = {}
            for name, array in zip(batch.schema.names, batch.columns, strict=True):
                try:
                    text[name] = array.cast(pa.string())
                except pa.ArrowInvalid:
                    row, why = _undecodable(array)
                    raise DataError(
                        f"{filename}, row {start + row}: column '{name}' is not UTF-8 text ({why})."
                        " Say its encoding (encoding='latin-1', say), or convert the file; the "
                        "first row is row 0."
                    ) from None
            yield text
            start += batch.num_rows


@contextlib.contextmanager
def _opened(
    filename: str, form: CsvFormat, columns: list[str] | None, keep_empty: bool = False
) -> Iterator[pc.CSVStreamingReader]:
    try:
        with pa.input_stream(filename, compression="detect") as source:
            yield pc.open_csv(
                source,
                read_options=pc.ReadOptions(
                    use_threads=False,  # so that errors name the row
                    block_size=form.longest,
                    column_names=None if form.names is None else list(form.names),
                    encoding="utf8" if form.encoding.lower() == "utf-8" else form.encoding,
                ),
                parse_options=pc.ParseOptions(
                    delimiter=_delimiter(filename, form),
                    quote_char=form.quote or False,
                    newlines_in_values=True,
                    ignore_empty_lines=not keep_empty,
                ),
                convert_options=pc.ConvertOptions(
                    include_columns=columns,
                    column_types=dict.fromkeys(columns or (), pa.binary()),
                    check_utf8=False,  # done by column, so that the row can be named
                    strings_can_be_null=False,
                ),
            )
    except (pa.ArrowException, OSError, UnicodeError, LookupError) as error:
        raise DataError(
            f"{filename}: the file can't be read as CSV: {_told(error, form)}"
        ) from error


def _told(error: Exception, form: CsvFormat) -> str:
    text = str(error).rstrip(".")
    if "Empty CSV file" in text:
        return "it is empty. Leave it out of the pattern."
    found = re.search(r"(?:Row #(\d+): )?(Expected \d+ columns, got \d+): (.*)", text, re.DOTALL)
    if found is not None:
        line, counts, row = found.groups()
        at = f"row {line} of the file (the first line is 1): " if line else ""
        return f"{at}{counts.lower()}: {row[:80]!r}. Correct that row, or say its delimiter."
    if "straddling object" in text:
        return (
            f"a row is longer than {form.longest} bytes (longest=... allows more), or a quote is "
            "not closed."
        )
    return f"{type(error).__name__}: {text}."


def _delimiter(filename: str, form: CsvFormat) -> str:
    return form.delimiter or ("\t" if _TABBED.search(filename) else ",")


def _undecodable(array: pa.Array) -> tuple[int, str]:
    for row, value in enumerate(array):
        try:
            value.as_py().decode()
        except UnicodeDecodeError as error:
            return row, str(error)
    raise AssertionError("Arrow refused text that decodes")
