"""What pipelines cost and gain: threads that wait, empty actions, images beside other libraries.

Run with `make bench`, in the environment that holds the rivals. What is measured is printed and
written to benchmarks/results/pipelines.json.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import pipeline_images
from machine import describe
from turns import Rival, Started, measured, summary

from dovetail import Batch, Dataset, action

RESULTS = Path(__file__).parent / "results"
OURS = "Dovetail"
RIVALS = [
    Rival(OURS, "pipeline_images:dovetail", {}),
    Rival("DataLoader, 2 workers", "pipeline_images:data_loader", {"workers": 2}),
    Rival("tf.data", "pipeline_images:tf_data", {}),
    Rival("batchflow", "pipeline_images:batchflow", {}),
]
LIBRARIES = ["batchflow", "numpy", "pillow", "simplejpeg", "tensorflow-cpu", "torch"]


class Items(Batch):
    """Items without data."""

    @action
    def sleeps(self, seconds: float) -> Items:
        time.sleep(seconds)
        return self

    @action
    def empty(self) -> Items:
        return self


def _seconds(pipeline: Any, **how: Any) -> float:
    gc.collect()
    start = time.perf_counter()
    pipeline.run(1, **how)
    return time.perf_counter() - start


def waiting(rounds: int) -> dict[str, float]:
    """Measure 1,000 items whose action sleeps 2 ms: without threads, and with 8."""
    pipeline = Dataset(1000, Items).p.sleeps(0.002)
    alone, ahead = [], []
    for _ in range(rounds):
        alone.append(_seconds(pipeline))
        ahead.append(_seconds(pipeline, prefetch=8))
    times = [one / other for one, other in zip(alone, ahead, strict=True)]
    return {
        "alone": statistics.median(alone),
        "8 threads": statistics.median(ahead),
        "times_as_fast": statistics.median(times),
    }


def empty_action(rounds: int, batches: int = 2000, actions: int = 50) -> dict[str, float]:
    """Measure what each of many empty actions adds to a batch, and what a batch costs itself."""
    plain = Dataset(batches, Items).p
    full = plain
    for _ in range(actions):
        full = full.empty()
    cost, base = [], []
    _seconds(full)
    for _ in range(rounds):
        without, with_them = _seconds(plain), _seconds(full)
        cost.append((with_them - without) / batches / actions)
        base.append(without / batches)
    return {"action": statistics.median(cost), "batch": statistics.median(base)}


def images(folder: Path, *, rounds: int, seconds: float) -> list[dict[str, Any]]:
    """Measure all libraries in turn, after all have shown that they give the same images."""
    pipeline_images.write(folder)
    started = [Started(rival, folder) for rival in RIVALS]
    try:
        checks = {one.rival.name: one.ask("check") for one in started}
        _same(checks)
        times = measured(started, rounds=rounds, seconds=seconds, say=_say)
    finally:
        for one in started:
            one.close()
    return summary(times, OURS)


def _same(checks: dict[str, dict[str, Any]]) -> None:
    ours = checks[OURS]
    for name, check in checks.items():
        counts = all(check[key] == ours[key] for key in ("rows", "labels", "batch"))
        # Decoders may differ in rounding.
        if not counts or abs(check["pixels"] / ours["pixels"] - 1) > 1e-3:
            raise SystemExit(f"{name} gives other images than {OURS}: {check}, {ours}")


def _table(rows: Sequence[dict[str, Any]]) -> None:
    print("\nJPEG files of 224x224, decoded, cropped and mirrored, in batches of 64")
    print(f"{'':<32}{'ms a batch':>12}{'images/s':>12}{'of our time':>13}")
    for row in rows:
        print(
            f"{row['name']:<32}{row['median'] * 1e3:>12.1f}"
            f"{pipeline_images.BATCH / row['median']:>12,.0f}{row['times_ours']:>12.2f}x"
        )


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure pipelines.")
    parser.add_argument("--rounds", type=int, default=11, help="turns of each (%(default)s)")
    parser.add_argument("--seconds", type=float, default=1.5, help="of a turn (%(default)s)")
    parser.add_argument("--folder", type=Path, help="keep the files here, not made anew each time")
    parser.add_argument("--keep", action="store_true", help="leave the results file as it is")
    options = parser.parse_args()
    waited = waiting(min(options.rounds, 5))
    empty = empty_action(options.rounds)
    with tempfile.TemporaryDirectory() as temporary:
        _say("writing the files ...")
        rows = images(
            options.folder or Path(temporary), rounds=options.rounds, seconds=options.seconds
        )
    _table(rows)
    bars = {
        "1,000 items of 2 ms: 8 threads as fast, times, at least 6": round(
            waited["times_as_fast"], 2
        ),
        "an empty action: us a batch, below 5": round(empty["action"] * 1e6, 3),
        "images: the best other's time over ours, at least 1": round(
            min(row["times_ours"] for row in rows if row["name"] != OURS), 2
        ),
    }
    print(f"\na batch without actions: {empty['batch'] * 1e6:.1f} us")
    for bar, value in bars.items():
        print(f"{bar}: {value}")
    if options.keep:
        return 0
    result = {
        "benchmark": "pipelines",
        "unit": "seconds; of images: a batch of 64",
        "rounds": options.rounds,
        "machine": describe(),
        "versions": {name: metadata.version(name) for name in LIBRARIES},
        "bars": bars,
        "waiting": waited,
        "empty_action": empty,
        "images": rows,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "pipelines.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
