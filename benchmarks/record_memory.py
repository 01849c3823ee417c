"""How much memory of its own a process takes that reads ever larger records."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

SIZES_GB = (0.1, 1.0, 2.0, 4.0, 8.0)
_ROW = (256, 256, 3)  # uint8: 196,608 bytes


def growth(gigabytes: float, folder: Path) -> list[dict[str, Any]]:
    """Measure sets of growing size up to `gigabytes`; each is removed when it is measured.

    Returns:
      for each size: GB of records, batches read, MiB of anonymous memory at the end.
    """
    rows: list[dict[str, Any]] = []
    for size in [size for size in SIZES_GB if size < gigabytes] + [gigabytes]:
        place = folder / "growing"
        shutil.rmtree(place, ignore_errors=True)
        try:
            _write(place, size)
            command = [sys.executable, __file__, str(place)]
            said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        finally:
            shutil.rmtree(place, ignore_errors=True)
        rows.append({"records_gb": size, **json.loads(said)})
        print(rows[-1], file=sys.stderr, flush=True)
    return rows


def _write(place: Path, gigabytes: float) -> None:
    """Write records of a size; their bytes are cheap to make, which nothing here depends on."""
    from dovetail.data.record_writer import RecordWriter
    from dovetail.data.schema import Field, Schema

    schema = Schema([Field("image", _ROW, "uint8"), Field("label", (), "int64")])
    pixels = np.random.default_rng(0).integers(0, 256, _ROW, np.uint8)
    with RecordWriter(place, schema) as writer:
        for number in range(max(int(gigabytes * 1e9 / pixels.nbytes), 64)):
            pixels[0, 0] = number % 251
            writer.append({"image": pixels, "label": number})


def _read(place: Path) -> None:
    from dovetail.data.feed import RecordFeed
    from dovetail.data.records import Records

    records = Records(place)
    batches = max(2 * len(records) // 64, 500)  # every record is read, and its block checked
    batches = min(batches, 1_500)
    peak = 0
    feed = iter(RecordFeed(records, 64))
    for number, _ in enumerate(feed):
        if number % 50 == 49:
            peak = max(peak, anonymous())
        if number == batches:
            break
    feed.close()
    print(json.dumps({"batches": batches, "anonymous_mib": round(peak / 2**20, 1)}))


def anonymous() -> int:
    """Return the bytes of anonymous memory of this process that are in RAM (Linux)."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) * 1024
    raise SystemExit("This system does not say how much memory of a process is anonymous.")


if __name__ == "__main__":
    _read(Path(sys.argv[1]))
