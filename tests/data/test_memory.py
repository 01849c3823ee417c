"""Records are read from where the system keeps the files: what the process holds stays small."""

import ctypes
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from dovetail.data import shards
from dovetail.data.record_writer import RecordWriter
from dovetail.data.records import Records
from dovetail.data.schema import Field, Schema

ROW = 64 << 10
READ = """
import sys
import numpy as np
from dovetail.data.feed import RecordFeed
from dovetail.data.records import Records

def anonymous():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) // 1024

records = Records(sys.argv[1])
feed = RecordFeed(records, 16, seed=1, stop=2 * len(records))
batches = iter(feed)
next(batches)
before = anonymous()
for fed in batches:
    assert (fed.features["x"][:, 0] == fed.features["x"][:, -1]).all()
print(anonymous() - before)
"""


def write(place, rows, compression=None):
    schema = Schema([Field("x", (ROW,), "uint8"), Field("text", (), "string")])
    with RecordWriter(place, schema, shard_bytes=8 << 20, compression=compression) as writer:
        for number in range(rows):
            writer.append((np.full(ROW, number % 256, np.uint8), "z" * 100))
    return place


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is asked of Linux")
@pytest.mark.parametrize("compression", [None, "lz4"])
def test_the_processes_own_memory_does_not_grow_with_the_records(tmp_path, compression, soak):
    # 32 and 96 MB; in full, 100 MB and 8 GB. Compressed, blocks of 64 MB at most are kept.
    sizes = [1600, 128_000] if soak and compression is None else [512, 1536]
    grown = []
    for rows in sizes:
        place = write(tmp_path / f"{rows}", rows, compression)
        done = subprocess.run(
            [sys.executable, "-c", READ, str(place)], capture_output=True, text=True, check=True
        )
        grown.append(int(done.stdout))
    limit = 32 if compression is None else 32 + 64
    assert max(grown) < limit, grown


def drop(place):
    """Have the system forget the files' bytes, as far as it knows them from the disk."""
    for file in place.glob("*.arrow"):
        handle = os.open(file, os.O_RDONLY)
        os.fsync(handle)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(handle)


def resident(address, size):
    """How many of some pages are in memory, as the system says."""
    pages = -(-size // shards._PAGE)
    found = (ctypes.c_ubyte * pages)()
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mincore.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)
    assert libc.mincore(address, size, found) == 0
    return sum(one & 1 for one in found)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the advice is tried on Linux")
def test_rows_that_will_be_needed_are_read_without_being_touched(tmp_path, monkeypatch):
    # As a larger set than memory, lest the system reads on for megabytes from what is touched.
    monkeypatch.setattr(shards, "memory_bytes", lambda: 1)
    place = write(tmp_path / "r", 512)
    records = Records(place)
    rows = np.arange(200, 210)
    shard = np.searchsorted(records._shard_ends, rows, "right")
    begin, end = records._columns["x"].spans(rows, shard)
    base = records._shards.memory.ctypes.data
    first = (base + int(begin.min())) // shards._PAGE * shards._PAGE
    size = base + int(end.max()) - first
    drop(place)
    if resident(first, size):  # some file systems keep all in memory
        pytest.skip("files can't be dropped from memory here")
    records.will_need(rows)
    deadline = time.monotonic() + 20
    while resident(first, size) < size // shards._PAGE and time.monotonic() < deadline:
        time.sleep(0.01)
    assert resident(first, size) >= size // shards._PAGE
