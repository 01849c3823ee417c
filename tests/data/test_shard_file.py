"""A shard's description leads to its bytes."""

import zlib

import numpy as np
import pytest

from dovetail.data.manifest import BLOCK_BYTES, shard_from_dict, shard_to_dict
from dovetail.data.schema import Field, Schema
from dovetail.data.shard_file import write_shard

SCHEMA = Schema([Field("x", (100,), "int32"), Field("name", (), "string")])


def write(path, compression, count=2000):
    rows = [
        SCHEMA.convert((np.full(100, number, np.int32), f"{number}"), "") for number in range(count)
    ]
    return write_shard(path, SCHEMA, rows, compression)


@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
def test_checksums_are_those_of_the_files_blocks(tmp_path, compression):
    shard = write(tmp_path / "a.arrow", compression)
    content = (tmp_path / "a.arrow").read_bytes()
    assert shard.bytes == len(content)
    expected = [
        zlib.crc32(content[at : at + BLOCK_BYTES]) for at in range(0, len(content), BLOCK_BYTES)
    ]
    assert list(shard.blocks) == expected
    assert shard_from_dict(shard_to_dict(shard)) == shard


def test_plain_buffers_lie_where_it_is_said(tmp_path):
    shard = write(tmp_path / "a.arrow", None)
    content = (tmp_path / "a.arrow").read_bytes()
    found = np.frombuffer(content, np.int32, 200_000, shard.buffers["x"][0]).reshape(2000, 100)
    assert (found == np.arange(2000)[:, None]).all()
    assert shard.row_blocks == ()


def test_compressed_rows_lie_in_blocks_one_behind_the_other(tmp_path):
    shard = write(tmp_path / "a.arrow", "lz4")
    assert sum(block.rows for block in shard.row_blocks) == 2000
    # 400 bytes of numbers, and 8 and at most 4 of text, up to 64 KiB.
    assert {block.rows for block in shard.row_blocks[1:-1]} <= set(range(159, 162))
    for block, following in zip(shard.row_blocks[:-1], shard.row_blocks[1:], strict=True):
        assert block.end == following.begin
    assert shard.row_blocks[-1].end < shard.bytes
    assert shard.buffers == {}
