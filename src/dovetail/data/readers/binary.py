"""Read exact numbers of bytes from a file, compressed with gzip or not."""

from __future__ import annotations

import contextlib
import gzip
import zlib
from collections.abc import Iterator
from typing import IO, cast

from dovetail.errors import DataError

_PIECE = 16 << 20  # a length that is a lie must not ask for all the memory at once
GZIP = b"\x1f\x8b"


@contextlib.contextmanager
def open_binary(filename: str, *, unzip: bool | None = None) -> Iterator[IO[bytes]]:
    """Open a file for reading, unpacking it where it begins as gzip does.

    Args:
      filename: path of the file.
      unzip: whether to unpack it; None looks at the file's first two bytes.

    Raises:
      DataError: naming the file, if it can't be opened, or reading it inside the `with` fails:
        gzip's own checksum is wrong, it is cut, or the disk reports an error.

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "a.gz"
    >>> _ = path.write_bytes(gzip.compress(b"abc"))
    >>> with open_binary(str(path)) as stream:
    ...     stream.read()
    b'abc'
    """
    try:
        with open(filename, "rb") as plain:
            if unzip is None:
                unzip = plain.read(2) == GZIP
                plain.seek(0)
            if not unzip:
                yield plain
                return
            with gzip.open(plain, "rb") as stream:
                yield cast(IO[bytes], stream)
    except DataError:
        raise
    except (OSError, EOFError, zlib.error) as error:
        absent = isinstance(error, FileNotFoundError | PermissionError)
        cure = "" if absent else " Get the file again, or leave it out of the pattern."
        said = getattr(error, "strerror", None) or str(error).rstrip(".")
        raise DataError(f"{filename}: the file can't be read ({said}).{cure}") from error


def read_up_to(stream: IO[bytes], size: int) -> bytes:
    """Read `size` bytes, or what there is before the end.

    >>> import io
    >>> read_up_to(io.BytesIO(b"abc"), 10)
    b'abc'
    """
    if size <= _PIECE:
        return stream.read(size)
    pieces = []
    while size and (piece := stream.read(min(size, _PIECE))):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def read_exactly(stream: IO[bytes], size: int, where: str) -> bytes:
    """Read `size` bytes.

    Args:
      stream: where to read.
      size: number of bytes.
      where: the file and what the bytes are, for the message.

    Raises:
      DataError: the file ends before.

    >>> import io
    >>> read_exactly(io.BytesIO(b"abc"), 4, "a.bin, image 0")
    Traceback (most recent call last):
    dovetail.errors.DataError: a.bin, image 0: the file ends after 3 of 4 bytes. It is cut: ...
    """
    data = read_up_to(stream, size)
    if len(data) < size:
        raise DataError(
            f"{where}: the file ends after {len(data)} of {size} bytes. It is cut: get it again."
        )
    return data
