"""What saving a state of 400 MB every 50 steps of 200 ms costs a training on all cores.

Rounds of two turns of 50 steps, one without a save and one with a save at its beginning, the
order changing; after each round the same state is saved by torch.save, with the training standing
still. What is measured is printed and written to benchmarks/results/saving.json. It takes about
two and a half minutes, and wants a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from machine import describe
from torch import nn

import dovetail
from dovetail.program.program import Program
from dovetail.run.config import RunConfig
from dovetail.run.saver import Saver

RESULTS = Path(__file__).parent / "results"
STATE = 400_000_000  # bytes of parameters and of Adam's two moments
LAYERS = 4
STEP = 0.2  # seconds
SLOWER, WAITS = 0.05, 0.2  # the bars


class Training:
    """A network whose state has the size asked for, and batches that take a step's time."""

    def __init__(self, folder: Path) -> None:
        self.width = width = round((STATE / 12 / LAYERS) ** 0.5)

        def model_fn(features: Any, labels: Any, mode: str) -> dovetail.EstimatorSpec:
            body = dovetail.layers.layer(_network, width)
            loss = torch.mean((body(features) - labels) ** 2)
            train_op = dovetail.optimizers.Adam(1e-5).minimize(loss)
            return dovetail.EstimatorSpec(mode, features, loss, train_op)

        torch.manual_seed(0)
        self.batch = torch.randn(16, width)
        self.program: Program = dovetail.build(
            model_fn, example=(self.batch, self.batch), device="cpu"
        )
        self.saver = Saver(self.program, folder, RunConfig(keep_checkpoint_max=1))
        self.waited = 0.0
        self.program.before_update = self._settle
        self.file = folder / "torch.pt"

    def steps(self, count: int, *, save: bool = False) -> float:
        """Take steps, the first of them after a save, and return the seconds."""
        started = time.perf_counter()
        for number in range(count):
            if save and number == 0:
                self.saver.save(self.program.global_step)
                self.waited += time.perf_counter() - started
            self.program.train_step(self.batch, self.batch, summary=False)
            self.saver.saved()
        return time.perf_counter() - started

    def saved_by_torch(self) -> tuple[float, float]:
        """Save by torch.save; return the seconds without and with waiting for the disk."""
        started = time.perf_counter()
        state = {"model": self.program.state(), "adam": self.program.optimizer.state_dict()}
        torch.save(state, self.file)
        returned = time.perf_counter()
        handle = os.open(self.file, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)
        ended = time.perf_counter()
        self.file.unlink()
        return returned - started, ended - started

    def fit(self) -> None:
        """Choose the batch such that a step takes about 200 ms."""
        for _ in range(4):
            self.steps(1)
            took = statistics.median(self.steps(1) for _ in range(5))
            rows = max(1, round(len(self.batch) * STEP / took))
            self.batch = torch.randn(min(rows, 4 * len(self.batch)), self.width)

    def _settle(self, loss: torch.Tensor) -> None:
        started = time.perf_counter()
        self.saver.settle()
        self.waited += time.perf_counter() - started


def _network(width: int) -> nn.Module:
    layers = [nn.Linear(width, width, bias=False) for _ in range(LAYERS)]
    return nn.Sequential(*(part for layer in layers for part in (layer, nn.ReLU())))


def measure(training: Training, rounds: int, count: int) -> list[dict[str, float]]:
    """Return the seconds of each round's turns and pauses."""
    found = []
    for number in range(rounds):
        row: dict[str, float] = {}
        for save in (number % 2 == 0, number % 2 == 1):
            training.waited = 0.0
            row["saving" if save else "plain"] = training.steps(count, save=save)
            if save:
                row["waited"] = training.waited
                training.saver.wait()
        row["torch_save"], row["torch_save_synced"] = training.saved_by_torch()
        found.append(row)
        print(
            f"round {number + 1} of {rounds}: {row['plain'] / count * 1e3:.0f} ms a step; saving "
            f"{row['saving'] / row['plain'] - 1:+.1%}, {row['waited'] * 1e3:.0f} ms waited; "
            f"torch.save {row['torch_save'] * 1e3:.0f} ms",
            file=sys.stderr,
            flush=True,
        )
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure what saving costs a training.")
    parser.add_argument("--rounds", type=int, default=6, help="of two turns each (%(default)s)")
    parser.add_argument("--steps", type=int, default=50, help="of a turn (%(default)s)")
    parser.add_argument("--folder", type=Path, help="on the disk to save to (a temporary one)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
        training = Training(Path(temporary))
        training.saver.save(0, wait=True)  # the buffers are made
        training.fit()
        rows = measure(training, options.rounds, options.steps)

    def median(name: str) -> float:
        return statistics.median(row[name] for row in rows)

    slower = statistics.median(row["saving"] / row["plain"] for row in rows) - 1
    waits = statistics.median(row["waited"] / row["torch_save"] for row in rows)
    bars = {
        f"training slower by, below {SLOWER}": round(slower, 4),
        f"the step's wait over torch.save's pause, at most {WAITS}": round(waits, 4),
    }
    result = {
        "benchmark": "saving",
        "unit": "seconds",
        "rounds": options.rounds,
        "steps": options.steps,
        "state_bytes": STATE,
        "machine": describe(),
        "bars": bars,
        "medians": {
            "step": median("plain") / options.steps,
            **{name: median(name) for name in ("waited", "torch_save", "torch_save_synced")},
        },
        "rows": rows,
    }
    for name, value in bars.items():
        print(f"{name}: {value}")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "saving.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0 if slower < SLOWER and waits <= WAITS else 1


if __name__ == "__main__":
    sys.exit(main())
