"""What pipelines cost and what working ahead gains.

- An empty action, in microseconds a batch: a pass with ten of them, less one with none, by ten.
- 1,000 items with an action that sleeps 2 ms: no prefetching against 8 threads.
- Batches of 64 images of 32x32x3 bytes out of a worker process, in MB/s: what sending costs.

Each is the best of several turns. What is measured is printed and written to
benchmarks/results/pipelines.json; the exit code is 1 if a bar is missed. It takes about 20 s.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any, Self

import numpy as np
from machine import describe

from dovetail.data.actions import action
from dovetail.data.batch import Batch
from dovetail.data.dataset import Dataset

RESULTS = Path(__file__).parent / "results"
MOST_MICROSECONDS, LEAST_GAIN = 5.0, 6.0  # the bars
ITEMS, NAP, THREADS = 1000, 0.002, 8


class Measured(Batch):
    """Rows with an action for each thing that is measured."""

    components = ("x",)

    @action
    def nothing(self) -> Self:
        """Do nothing."""
        return self

    @action
    def nap(self) -> Self:
        """Wait, as for a disk."""
        time.sleep(NAP)
        return self

    @action
    def touch(self) -> Self:
        """Read the data and change it."""
        self.x = self.x + 1
        return self


def seconds(pipeline: Any, batch_size: int, **options: Any) -> float:
    """Return how long a pass takes."""
    began = time.perf_counter()
    pipeline.run(batch_size, **options)
    return time.perf_counter() - began


def empty_action(turns: int) -> float:
    """Return what an empty action costs, in microseconds a batch."""
    plain = Dataset(20_000, Measured).p
    without = min(seconds(plain, 1) for _ in range(turns))
    ten = min(seconds(plain.nothing() * 10, 1) for _ in range(turns))
    return (ten - without) / 10 / 20_000 * 1e6


def gain(turns: int) -> tuple[float, float]:
    """Return the seconds without prefetching, and with threads."""
    pipeline = Dataset(ITEMS, Measured).p.nap()
    alone = min(seconds(pipeline, 1) for _ in range(turns))
    return alone, min(seconds(pipeline, 1, prefetch=THREADS) for _ in range(turns))


def sent(turns: int) -> float:
    """Return the MB/s of arrays that come out of one worker process, after it has started."""
    rows = np.zeros((64 * 200, 32, 32, 3), np.uint8)
    pipeline = Dataset(len(rows), Measured, preloaded=(rows,)).p.touch()
    rates = []
    for _ in range(turns):
        batches = pipeline.gen_batch(64, prefetch=4, target="processes")
        for _ in range(20):
            next(batches)
        began, count = time.perf_counter(), 0
        for batch in batches:
            count += batch.x.nbytes
        rates.append(count / 1e6 / (time.perf_counter() - began))
    return max(rates)


def main() -> int:
    """Measure, print, write, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=5)
    turns = parser.parse_args().turns
    microseconds = empty_action(turns)
    alone, ahead = gain(min(turns, 3))
    results = {
        "machine": describe(),
        "empty_action_microseconds": round(microseconds, 2),
        "naps": {
            "alone_seconds": round(alone, 3),
            "threads_seconds": round(ahead, 3),
            "gain": round(alone / ahead, 2),
        },
        "worker_processes_mb_per_second": round(sent(min(turns, 3))),
    }
    print(json.dumps(results, indent=2))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "pipelines.json").write_text(json.dumps(results, indent=2) + "\n")
    met = microseconds < MOST_MICROSECONDS and alone / ahead >= LEAST_GAIN
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
