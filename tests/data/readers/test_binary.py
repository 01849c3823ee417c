"""Exact numbers of bytes, from files that are compressed or not."""

import gzip
import io
from pathlib import Path

import pytest

from dovetail.data.readers.binary import open_binary, read_exactly, read_up_to
from dovetail.errors import DataError


def test_gzip_is_told_by_its_first_bytes_and_not_by_the_name(tmp_path: Path) -> None:
    (tmp_path / "packed").write_bytes(gzip.compress(b"hello"))
    (tmp_path / "plain.gz").write_bytes(b"hello")
    for name in ("packed", "plain.gz"):
        with open_binary(str(tmp_path / name)) as stream:
            assert stream.read() == b"hello"


def test_every_cut_and_every_flipped_byte_of_gzip_that_changes_the_content_is_found(
    tmp_path: Path,
) -> None:
    content = bytes(range(256)) * 4
    whole = gzip.compress(content, mtime=0)
    path = tmp_path / "a.gz"
    damaged = [whole[:length] for length in range(2, len(whole))]
    damaged += [whole[:i] + bytes([whole[i] ^ 255]) + whole[i + 1 :] for i in range(2, len(whole))]
    refused = 0
    for data in damaged:
        path.write_bytes(data)
        try:
            with open_binary(str(path)) as stream:
                assert stream.read() == content  # some bytes of the header say nothing
        except DataError:
            refused += 1
    assert refused > len(damaged) - 10


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nothing\.bin: .*No such file"):
        with open_binary(str(tmp_path / "nothing.bin")):
            pass


def test_a_length_that_is_a_lie_asks_for_no_memory() -> None:
    assert read_up_to(io.BytesIO(b"abc"), 1 << 60) == b"abc"
    with pytest.raises(DataError, match=r"a\.bin, row 3: the file ends after 3 of \d+ bytes"):
        read_exactly(io.BytesIO(b"abc"), 1 << 60, "a.bin, row 3")
