"""What is needed soon is asked for before, and only once."""

import numpy as np
import pytest

from dovetail.data import read_ahead, shards
from dovetail.data.feed import RecordFeed
from dovetail.data.manifest import BLOCK_BYTES
from dovetail.data.read_ahead import ReadAhead
from dovetail.data.record_writer import RecordWriter
from dovetail.data.records import Records
from dovetail.data.schema import Field, Schema
from dovetail.errors import DataError

ROW = 5000


class Asked:
    """Stands for records, and keeps what it is asked for."""

    def __init__(self, row_bytes=1):
        self.row_bytes = row_bytes
        self.rows = []

    def will_need(self, indices):
        self.rows += indices.tolist()


def taken(ahead, order, batch):
    for at in range(batch, len(order) + 1, batch):
        yield at
        ahead.advance(order[at:])


def test_every_row_is_asked_for_once_and_before_its_batch():
    asked, order = Asked(), np.random.default_rng(0).permutation(1000)
    ahead = ReadAhead(asked, 10, 0, 10)
    for at in taken(ahead, order, 10):
        assert asked.rows[: max(at - 10, 0)] == order[10:at].tolist()
    assert asked.rows == order[10:].tolist()


def test_a_worker_asks_for_its_share_alone():
    asked, order = Asked(), np.arange(200)
    for _ in taken(ReadAhead(asked, 10, 3, 6), order, 10):
        pass
    assert asked.rows == [row for row in range(10, 200) if 3 <= row % 10 < 6]


def test_large_rows_are_not_asked_for_far_ahead(monkeypatch):
    monkeypatch.setattr(read_ahead, "_BYTES", 1000)
    asked = Asked(row_bytes=25)
    ahead = ReadAhead(asked, 10, 0, 10)
    ahead.advance(np.arange(500))
    assert len(asked.rows) == ahead.rows == 40
    huge = ReadAhead(Asked(row_bytes=10**9), 10, 0, 10)
    assert huge.rows == 20


@pytest.fixture
def place(tmp_path):
    rng = np.random.default_rng(0)
    schema = Schema([Field("x", (ROW,), "uint8"), Field("text", (), "string")])
    with RecordWriter(tmp_path / "r", schema, shard_bytes=1_500_000) as writer:
        for number in range(1000):
            row = rng.integers(0, 256, ROW, dtype=np.uint8)
            writer.append((row, "y" * (number % 5 * 1000)))
    return tmp_path / "r"


@pytest.fixture
def advised(monkeypatch):
    """Ranges of addresses that the operating system was asked to read."""
    found = []

    def advise(address, size, advice):
        if advice == shards._WILL_NEED:
            found.append((address, size))

    monkeypatch.setattr(shards, "_advise", advise)
    return found


def covered(records, advised):
    """Which bytes of the mapping were asked for, or read before, as the ends of shards are."""
    asked = asked_for(records, advised)
    return asked | np.repeat(records._shards._checked, BLOCK_BYTES)


def asked_for(records, advised):
    base = records._shards.memory.ctypes.data
    asked = np.zeros(len(records._shards.memory), bool)
    for address, size in advised:
        assert (address % shards._PAGE, size > 0) == (0, True)
        assert address - base + size <= len(asked)
        asked[address - base : address - base + size] = True
    return asked


def places(records, rows):
    """Where the rows' bytes lie, found from the manifest by hand."""
    for row in rows:
        at = int(np.searchsorted(records._shard_ends, row, "right"))
        entry = records.manifest.shards[at]
        within = row - int(records._first_rows[at])
        start = int(records._shards.starts[at])
        begin = start + entry.buffers["x"][0] + within * ROW
        yield begin, begin + ROW


def test_a_feed_asks_for_coming_batches_before_they_are_gathered(place, advised):
    records = Records(place)
    feed = RecordFeed(records, 16, seed=3, stop=16 * 12, prefetch=0)
    order = feed.examples(0, 16 * 12)
    batches = iter(feed)
    next(batches)
    asked = covered(records, advised)
    for begin, end in places(records, order[16:].tolist()):
        assert asked[begin:end].all()


def test_whole_blocks_are_asked_for_at_first_and_nothing_once_all_is_read(place, advised):
    records = Records(place)
    records.will_need([50, 60, 70])
    assert advised
    asked = covered(records, advised)
    for begin, end in places(records, [50, 60, 70]):
        assert asked[
            begin // BLOCK_BYTES * BLOCK_BYTES : -(-end // BLOCK_BYTES) * BLOCK_BYTES
        ].all()
    records.verify()
    advised.clear()
    records.will_need(range(1000))
    assert not advised


def test_pages_are_asked_for_again_where_the_set_may_not_stay_in_memory(
    place, advised, monkeypatch
):
    monkeypatch.setattr(shards, "memory_bytes", lambda: 1000)
    records = Records(place)
    records.verify()
    rows = [7, 3, 900]
    for _ in range(2):
        advised.clear()
        records.will_need(rows)
        asked = asked_for(records, advised)
        for begin, end in places(records, rows):
            assert asked[begin:end].all()
        assert asked.sum() < 3 * (ROW + 5000 + 4 * shards._PAGE)


def test_a_view_asks_for_its_own_rows(place, advised):
    records = Records(place)
    records.select([700, 701]).will_need([0])
    asked = covered(records, advised)
    (begin, end), (other, _) = places(records, [700, 100])
    assert asked[begin:end].all()
    assert not asked_for(records, advised)[other]


def test_compressed_blocks_are_asked_for(tmp_path, advised):
    schema = Schema([Field("x", (ROW,), "uint8")])
    with RecordWriter(tmp_path / "c", schema, compression="lz4", shard_bytes=500_000) as writer:
        for number in range(300):
            writer.append((np.random.default_rng(number).integers(0, 256, ROW, dtype="u1"),))
    records = Records(tmp_path / "c")
    records.will_need([250])
    first = 0
    at = int(np.searchsorted(records._shard_ends, 250, "right"))
    for block in records.manifest.shards[at].row_blocks:
        if first <= 250 - records._first_rows[at] < first + block.rows:
            start = int(records._shards.starts[at])
            assert covered(records, advised)[start + block.begin : start + block.end].all()
            break
        first += block.rows
    else:
        pytest.fail("the row is in no block")


def test_asking_for_damaged_rows_is_no_error_until_they_are_gathered(place):
    records = Records(place)
    start = records.manifest.shards[1].buffers["text"][0]
    file = place / records.manifest.shards[1].file
    content = bytearray(file.read_bytes())
    content[start + 100] ^= 1
    file.write_bytes(content)
    opened = Records(place)
    opened.will_need(range(1000))
    with pytest.raises(DataError, match="is damaged"):
        opened.gather(range(1000))


def test_memory_is_that_of_the_machine_or_less():
    assert 0 < shards.memory_bytes() <= 1 << 50
