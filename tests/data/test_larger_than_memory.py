"""Sets larger than memory: what a process holds for itself does not grow with what it reads.

Mapped files are the kernel's to drop; anonymous memory (RssAnon) is what counts against a process.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROW_BYTES = 32 * 32 * 3
SPARE_MB = 12  # what allocators may keep or take between two looks

# Writes a set of so many megabytes, and reads epochs of it in shuffled batches, each process
# looking at its own memory all along.
WRITE = """
import numpy as np
from dovetail.data.record_writer import RecordWriter
from dovetail.data.schema import Field, Schema

schema = Schema([Field("image", (32, 32, 3), "uint8"), Field("number", (), "int64")])
with RecordWriter(place, schema, shard_bytes=16 << 20) as writer:
    for number in range(rows):
        writer.append((np.full((32, 32, 3), number % 251, np.uint8), number))
        if number % 500 == 0:
            look()
"""
READ = """
import numpy as np
from dovetail.data.feed import RecordFeed
from dovetail.data.records import Records

records = Records(place)
seen = np.zeros((2, rows), bool)
def input_fn(batch):
    return {"image": batch["image"], "number": batch["number"], "noise": batch.uniform()}
feed = RecordFeed(records, 64, stop=2 * rows, input_fn=input_fn, prefetch=4)
for at, fed in enumerate(feed):
    positions = np.arange(fed.position_after - fed.count, fed.position_after)
    numbers = fed.features["number"].numpy()
    assert (fed.features["image"].numpy() == (numbers % 251)[:, None, None, None]).all()
    seen[positions // rows, numbers] = True
    if at % 50 == 0:
        look()
assert seen.all()
"""
LOOK = """
import json, sys
place, rows = sys.argv[1], int(sys.argv[2])
looks = []
def look():
    with open("/proc/self/status") as file:
        looks.append(next(int(line.split()[1]) for line in file if line.startswith("RssAnon")))
"""
SAY = """
print(json.dumps(looks))
"""


def anonymous(script: str, place: Path, rows: int) -> list[float]:
    """Run a script in a process of its own and give its anonymous memory over time, in MB."""
    arguments = [sys.executable, "-c", LOOK + script + SAY, str(place), str(rows)]
    ended = subprocess.run(arguments, capture_output=True, text=True, timeout=1000)
    assert ended.returncode == 0, ended.stderr
    return [kilobytes / 1024 for kilobytes in json.loads(ended.stdout)]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """Where the set goes, which is too large to be kept as pytest keeps its folders."""
    yield tmp_path / "records"
    shutil.rmtree(tmp_path / "records", ignore_errors=True)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's /proc")
@pytest.mark.timeout(1200)
def test_anonymous_memory_stays_flat_over_shuffled_epochs(place: Path, soak: bool):
    rows = (2000 if soak else 200) * 2**20 // ROW_BYTES
    writing = anonymous(WRITE, place, rows)
    # A writer holds the rows of one shard, and the shard they become.
    assert max(writing) - writing[0] < 100
    assert max(writing[len(writing) // 2 :]) < max(writing[: len(writing) // 2]) + SPARE_MB
    reading = anonymous(READ, place, rows)
    warm = reading[2:]  # batches made ahead are there by then
    assert max(warm) - min(warm) < SPARE_MB
