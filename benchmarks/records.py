"""Random batches from disk, and JPEG decoding, beside other libraries; memory as records grow.

Run with `make bench`, in the environment that holds the rivals. What is measured is printed and
written to benchmarks/results/records.json.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import record_files
from machine import describe
from record_memory import growth
from turns import Rival, Started, measured, summary

RESULTS = Path(__file__).parent / "results"
OURS = "Dovetail"
BATCH = 64

RIVALS = [
    Rival(OURS, "record_readers:dovetail", {}),
    Rival("Dovetail, no thread", "record_readers:dovetail", {"prefetch": 0}),
    Rival("DataLoader, 0 workers", "record_readers:data_loader", {"workers": 0}),
    Rival("DataLoader, 2 workers", "record_readers:data_loader", {"workers": 2}),
    Rival("TFRecord, tf.data", "record_readers:tf_data", {}),
    Rival("ArrayRecord", "record_readers:array_record", {}),
    Rival("WebDataset", "record_readers:webdataset", {}),
]
JPEG_RIVALS = [
    Rival(OURS, "record_readers:dovetail_jpeg", {}),
    Rival("DataLoader, 2 workers, Pillow", "record_readers:data_loader_jpeg", {"workers": 2}),
    Rival("TFRecord, tf.data", "record_readers:tf_data_jpeg", {}),
]
LIBRARIES = ["array_record", "numpy", "pillow", "simplejpeg", "tensorflow-cpu", "webdataset"]


def compare(rivals: Sequence[Rival], folder: Path, *, rounds: int, seconds: float) -> Any:
    """Measure some rivals in turn, after all have shown that they give the same."""
    started = [Started(rival, folder) for rival in rivals]
    try:
        checks = {one.rival.name: one.ask("check") for one in started}
        times = measured(started, rounds=rounds, seconds=seconds, say=_say)
    finally:
        for one in started:
            one.close()
    return checks, summary(times, OURS)


def _same(checks: dict[str, dict[str, Any]], *, pixels: float) -> None:
    """Refuse results of rivals that do not give the same.

    Args:
      pixels: by which share the sum of all pixels may differ; 0 wants every byte equal.
    """
    ours = checks[OURS]
    for name, check in checks.items():
        same = check["rows"] == ours["rows"] and check["batch"] == ours["batch"]
        if pixels:
            same = same and abs(check["pixels"] / ours["pixels"] - 1) <= pixels
        else:
            same = same and check["sum"] == ours["sum"]
        if not same:
            raise SystemExit(f"{name} gives other batches than {OURS}: {check}, {ours}")


def _table(title: str, rows: Sequence[dict[str, Any]]) -> None:
    print(f"\n{title}")
    print(f"{'':<32}{'us a batch':>12}{'records/s':>12}{'of our time':>13}")
    for row in rows:
        print(
            f"{row['name']:<32}{row['median'] * 1e6:>12.1f}{BATCH / row['median']:>12,.0f}"
            f"{row['times_ours']:>12.2f}x"
        )


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure how quickly batches come from disk.")
    parser.add_argument("--rounds", type=int, default=11, help="turns of each (%(default)s)")
    parser.add_argument("--seconds", type=float, default=0.7, help="of a turn (%(default)s)")
    parser.add_argument(
        "--gigabytes", type=float, default=8, help="records to grow to; 0: leave out (%(default)s)"
    )
    parser.add_argument(
        "--folder", type=Path, help="keep the sets here instead of making them anew"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        _say("writing the sets ...")
        record_files.write(folder)
        checks, batches = compare(RIVALS, folder, rounds=options.rounds, seconds=options.seconds)
        _same(checks, pixels=0)
        checks, decoded = compare(
            JPEG_RIVALS, folder, rounds=options.rounds, seconds=2 * options.seconds
        )
        _same(checks, pixels=1e-3)  # decoders may differ in rounding
        memory = growth(options.gigabytes, folder) if options.gigabytes else None

    _table("Random batches of 64 from 50,000 images of 32x32x3 bytes", batches)
    _table("JPEG files of 224x224, decoded, in batches of 64", decoded)
    others = [row["times_ours"] for row in batches if not row["name"].startswith(OURS)]
    bars = {
        "records: the best other's time over ours, at least 5": round(min(others), 2),
        "JPEG: the best other's time over ours, at least 1": round(
            min(row["times_ours"] for row in decoded if row["name"] != OURS), 2
        ),
    }
    if memory is not None:
        print("\nAnonymous memory while reading random batches")
        for row in memory:
            print(f"{row['records_gb']:>8.2f} GB of records{row['anonymous_mib']:>9.1f} MiB")
        spread = max(r["anonymous_mib"] for r in memory) - min(r["anonymous_mib"] for r in memory)
        bars["memory: MiB between the least and the most, flat"] = round(spread, 1)
    print()
    for bar, value in bars.items():
        print(f"{bar}: {value}")
    result = {
        "benchmark": "records",
        "unit": "seconds a batch",
        "rounds": options.rounds,
        "machine": describe(),
        "versions": {name: metadata.version(name) for name in LIBRARIES},
        "bars": bars,
        "batches": batches,
        "jpeg": decoded,
        "memory": memory,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "records.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
