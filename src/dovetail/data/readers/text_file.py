"""The text of files: decoded by line, so that what does not decode is named by its line."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator

import pyarrow as pa

from dovetail.data.schema import Field, Schema
from dovetail.errors import DataError

_BOM = "\ufeff"


def lines_of(filename: str, encoding: str = "utf-8") -> Iterator[str]:
    """Yield the lines of a file without their ends (a line feed, or carriage return and line feed).

    A file whose name ends in .gz, .bz2, .zst or .lz4 is decompressed. The empty text after the
    last line feed is no line.

    Args:
      filename: path of the file.
      encoding: by Python's name; one in which a line feed is the one byte that it is in ASCII.

    Raises:
      DataError: naming the file, and the line (the first is 1) that does not decode.

    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "a.txt"
    >>> _ = path.write_bytes(b"one\\r\\ntwo")
    >>> list(lines_of(str(path)))
    ['one', 'two']
    """
    decode = _decoder(encoding, filename)
    for number, line in enumerate(_raw_lines(filename), 1):
        text = decode(line, number)
        if number == 1:
            text = text.removeprefix(_BOM)
        if not text:  # the file holds nothing but the mark
            return
        yield text.removesuffix("\n").removesuffix("\r") if text.endswith("\n") else text


def text_of(filename: str, encoding: str = "utf-8") -> str:
    """Read all text of a file, its line ends as they are; otherwise as `lines_of`."""
    decode = _decoder(encoding, filename)
    lines = [decode(line, number) for number, line in enumerate(_raw_lines(filename), 1)]
    return "".join(lines).removeprefix(_BOM)


def text_and_label(schema: Schema | None, *, labelled: bool, reader: str) -> tuple[Field, ...]:
    """Find the fields that a reader of text fills: the text, and the label if there is one.

    Args:
      schema: the user's; None gives `text`, and `label` as int64.
      labelled: whether rows have a label.
      reader: its name, for messages.

    Raises:
      DataError: the schema has other fields than these.

    >>> [str(one) for one in text_and_label(None, labelled=True, reader="TextFolder")]
    ["'text': string []", "'label': int64 []"]
    """
    if schema is None:
        fields = (Field("text", (), "string"), Field("label", (), "int64"))
        return fields if labelled else fields[:1]
    texts = [one for one in schema.values() if one.dtype == "string" and one.shape in ((), (1,))]
    labels = [one for one in schema.values() if "int" in one.dtype and one.shape in ((), (1,))]
    found = (*texts, *labels) if labelled else tuple(texts)
    if len(texts) != 1 or len(labels) != labelled or len(schema) != len(found):
        wanted = "one field of text (string, shape [] or [1])"
        wanted += " and one of whole numbers of shape [] or [1]" if labelled else " and no other"
        raise DataError(f"{reader} gives {wanted}; this schema has {schema}.")
    return found


def _raw_lines(filename: str) -> Iterator[bytes]:
    try:
        with pa.input_stream(filename, compression="detect") as source:
            yield from io.BufferedReader(source, 1 << 20)
    except (OSError, pa.ArrowException) as error:
        raise DataError(
            f"{filename}: the file can't be read ({type(error).__name__}: {error})."
        ) from error


class _Decoder:
    def __init__(self, encoding: str, filename: str) -> None:
        self.encoding = encoding
        self.filename = filename

    def __call__(self, line: bytes, number: int) -> str:
        try:
            return line.decode(self.encoding)
        except UnicodeDecodeError as error:
            raise DataError(
                f"{self.filename}, line {number}: this is not {self.encoding} text (byte "
                f"{error.start + 1} of the line, {line[error.start : error.start + 1]!r}: "
                f"{error.reason}). Say its encoding (encoding='latin-1', say), or convert the file."
            ) from None


def _decoder(encoding: str, filename: str) -> _Decoder:
    try:
        codecs.lookup(encoding)
        by_line = "\n".encode(encoding) == b"\n"
    except (LookupError, UnicodeError) as error:
        raise DataError(f"{filename}: {encoding!r} is no encoding of text ({error}).") from None
    if not by_line:
        raise DataError(
            f"{filename}: text in {encoding} can't be cut into lines before it is decoded. Convert "
            "the file to UTF-8."
        )
    return _Decoder(encoding, filename)
