"""The mapping of shards is checked at first touch, once, and goes when nothing needs it."""

import gc
from pathlib import Path

import numpy as np
import pytest

from dovetail.data.manifest import BLOCK_BYTES
from dovetail.data.record_writer import RecordWriter
from dovetail.data.records import Records
from dovetail.data.schema import Field, Schema
from dovetail.data.shards import DamagedBlockError, Shards


@pytest.fixture
def place(tmp_path):
    rng = np.random.default_rng(0)
    with RecordWriter(
        tmp_path / "r", Schema([Field("x", (10_000,), "uint8")]), shard_bytes=400_000
    ) as writer:
        for _ in range(100):
            writer.append((rng.integers(0, 256, 10_000, dtype=np.uint8),))
    return tmp_path / "r"


def test_each_byte_is_where_its_shard_begins(place):
    shards = Shards(place, Records(place).manifest.shards)
    for file, start in zip(sorted(place.glob("*.arrow")), shards.starts, strict=True):
        content = np.frombuffer(file.read_bytes(), np.uint8)
        assert start % BLOCK_BYTES == 0
        np.testing.assert_array_equal(shards.memory[start : start + len(content)], content)


def test_blocks_are_counted_down_as_they_are_touched(place):
    shards = Shards(place, Records(place).manifest.shards)
    every = shards.unchecked
    shards.touch(np.array([5]), np.array([5]))
    assert shards.unchecked == every
    shards.touch(np.array([0, 7]), np.array([1, 8]))
    assert shards.unchecked == every - 1
    shards.touch(np.array([0]), np.array([4 * BLOCK_BYTES]))
    assert shards.unchecked == every - 4
    shards.touch(shards.starts, shards.starts + [s.bytes for s in Records(place).manifest.shards])
    assert shards.unchecked == 0


def test_a_damaged_block_is_found_whenever_it_is_touched(place):
    entries = Records(place).manifest.shards
    victim = place / entries[1].file
    content = bytearray(victim.read_bytes())
    content[2 * BLOCK_BYTES] ^= 1
    victim.write_bytes(content)
    shards = Shards(place, entries)
    at = shards.starts[1:2] + 2 * BLOCK_BYTES
    for _ in range(2):
        with pytest.raises(DamagedBlockError) as caught:
            shards.touch(at - 1, at + 1)
        assert (caught.value.shard, caught.value.begin) == (1, 2 * BLOCK_BYTES)
    assert [(d.shard, d.begin) for d in shards.damaged()] == [(1, 2 * BLOCK_BYTES)]


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="the list of mappings is Linux's")
def test_the_mapping_goes_with_the_last_that_uses_it(place):
    def mapped():
        gc.collect()
        return str(place) in Path("/proc/self/maps").read_text()

    records = Records(place)
    view = records.select([1])
    del records
    assert mapped()
    assert view.gather([0])["x"].any()
    del view
    assert not mapped()
