"""What a reader is: it turns the files of one format into rows, for `prepare`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol, runtime_checkable

from dovetail.data.schema import Schema


@runtime_checkable
class Reader(Protocol):
    """A reader is called with one file name and gives the file's row or rows.

    Any function of one file name is one. A reader that is more than a function may also have

    - `for_files(names) -> Reader`: the reader to use for these files, asked once before the first
      is read. What depends on all of them, such as the classes or the types, is settled there.
    - `schema: Schema | None`: what its rows are, where it is known; after `for_files` at the
      latest where the files say it. `prepare(files, output, None, reader)` takes it.
    - `metadata: dict`: what the records keep beside the rows, after `for_files`.

    Readers are plain values that can be pickled, such as frozen dataclasses: processes that read
    in parallel get a copy each. Rows are a tuple in the schema's order or a dict by name; many of
    them are an iterator or a list. A file that can't be read whole is a DataError that names it.

    >>> def squares(filename):
    ...     return {"square": int(open(filename).read()) ** 2}
    >>> isinstance(squares, Reader)
    True
    """

    def __call__(self, filename: str, /) -> Any:
        """Read one file.

        Args:
          filename: path of the file, with forward slashes.

        Returns:
          a row, or an iterator or list of rows.
        """
        ...


def bound(reader: Reader, names: Iterable[str]) -> Reader:
    """Give the reader to use for these files: what its `for_files` says, or the reader itself.

    >>> def read(filename): ...
    >>> bound(read, ["a.txt"]) is read
    True
    """
    bind = getattr(reader, "for_files", None)
    return reader if bind is None else bind(list(names))


def schema_of(reader: Reader) -> Schema | None:
    """Give what the reader says its rows are, or None; ask a reader that is `bound`.

    >>> from dovetail.data.readers.cifar import Cifar10
    >>> print(schema_of(Cifar10()))
    'image': uint8 [32, 32, 3]; 'label': int64 []
    """
    schema = getattr(reader, "schema", None)
    return schema if isinstance(schema, Schema) else None


def metadata_of(reader: Reader) -> dict[str, Any]:
    """Give what the records are to keep beside this reader's rows; ask a reader that is `bound`.

    >>> metadata_of(lambda filename: None)
    {}
    """
    return dict(getattr(reader, "metadata", {}))
