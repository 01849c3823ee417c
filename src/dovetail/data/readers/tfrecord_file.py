"""The framing of TFRecord files: records one after another, each with its length and checksums."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Literal, get_args

from dovetail.data.readers.binary import GZIP, open_binary, read_exactly, read_up_to
from dovetail.data.readers.crc32c import masked_crc32c
from dovetail.errors import DataError

Compression = Literal["auto", "none", "gzip"]

_HEADER = 12  # the length as uint64, and its checksum
_CURE = "The file is damaged: get it again, or leave it out of the pattern."


def read_records(filename: str, compression: Compression = "auto") -> Iterator[bytes]:
    """Yield the records of one TFRecord file, each after its checksum has been compared.

    Args:
      filename: path of the file. An empty one holds no record.
      compression: "gzip" for a file written with TFRecordOptions("GZIP"), "none", or "auto" to
        tell by its first bytes.

    Raises:
      DataError: naming the file, the record's number and its place: the file is cut, a checksum
        differs, or it is no TFRecord file.

    Source: tensorflow/core/lib/io/record_writer.h: length (uint64), masked CRC-32C of the length,
    data, masked CRC-32C of the data, all little-endian.

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "a.tfrecord"
    >>> size = struct.pack("<Q", 2)
    >>> checksums = [struct.pack("<I", masked_crc32c(part)) for part in (size, b"hi")]
    >>> _ = path.write_bytes(size + checksums[0] + b"hi" + checksums[1])
    >>> list(read_records(path.as_posix()))
    [b'hi']
    """
    if compression not in get_args(Compression):
        raise DataError(f"compression must be 'auto', 'none' or 'gzip'; got {compression!r}.")
    unzip = _is_gzip(filename) if compression == "auto" else compression == "gzip"
    with open_binary(filename, unzip=unzip) as stream:
        number = place = 0
        while header := read_up_to(stream, _HEADER):
            where = f"{filename}, record {number} at byte {place}"
            if len(header) < _HEADER:
                raise DataError(f"{where}: the file ends within the record's header. {_CURE}")
            length = _checked_length(header, where, first=not number)
            data = read_exactly(stream, length, where)
            stored = read_exactly(stream, 4, f"{where}, checksum")
            if stored != struct.pack("<I", masked_crc32c(data)):
                raise DataError(f"{where}: the checksum of its {length} bytes differs. {_CURE}")
            yield data
            number += 1
            place += _HEADER + length + 4


def _checked_length(header: bytes, where: str, *, first: bool) -> int:
    length, stored = struct.unpack("<QI", header)
    if stored == masked_crc32c(header[:8]):
        return length
    cure = "This is not a TFRecord file, or it is damaged or compressed otherwise." * first
    raise DataError(f"{where}: the checksum of its length differs. {cure or _CURE}")


def _is_gzip(filename: str) -> bool:
    """Whether a file is gzip: it begins so, and not with a length that its checksum confirms."""
    with open_binary(filename, unzip=False) as stream:
        start = stream.read(_HEADER)
    if len(start) == _HEADER and start[8:] == struct.pack("<I", masked_crc32c(start[:8])):
        return False
    return start[:2] == GZIP
