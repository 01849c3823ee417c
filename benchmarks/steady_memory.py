"""Whether a long run holds more and more memory: anonymous memory after 50,000 steps and after 500.

A small network trains on records with everything that goes on beside steps: shuffling, summaries
of all kinds, checkpoints, averages of the weights, hooks, two evaluations and exporters. Run with
`make bench`. What is measured is printed and written to benchmarks/results/steady_memory.json.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import describe
from record_memory import anonymous

import dovetail
from dovetail import hooks, layers, metrics, optimizers, summary
from dovetail.data.record_writer import RecordWriter
from dovetail.run.config import RunConfig
from dovetail.run.estimator import Estimator
from dovetail.run.hooks import Hook, Run

RESULTS = Path(__file__).parent / "results"
BAR = 0.02
FIRST = 500
ROWS, BATCH = 2_000, 32
EVERY = 250  # steps from checkpoint to checkpoint: by FIRST, all that recurs has come twice


def model_fn(features: Any, labels: Any, mode: str, params: Any) -> Any:
    """A small classifier with dropout, batch norm, a schedule and every kind of summary."""
    image = features["image"].float() / 255
    summary.image("image", image[:2])
    value = layers.fully_connected(image.flatten(1), 64)
    value = layers.batch_norm(value)
    summary.histogram("hidden", value)
    value = layers.dropout(value, keep_prob=0.8)
    logits = layers.fully_connected(value, 10, activation_fn=None)
    summary.scalar("largest", logits.max())
    loss = torch.nn.functional.cross_entropy(logits, labels)
    schedule = optimizers.schedules.Cosine(1e-3, 60_000)
    return dovetail.EstimatorSpec(
        mode,
        logits,
        loss,
        optimizers.Adam(schedule, clip_norm=1.0).minimize(loss),
        {"accuracy": metrics.accuracy(labels, logits.argmax(1)), "mean": metrics.mean(logits)},
    )


def write(folder: Path) -> Path:
    """Write the records: images uint8 [8, 8, 1] and labels."""
    schema = dovetail.Schema(
        [dovetail.Field("image", (8, 8, 1), "uint8"), dovetail.Field("label", (), "int64")]
    )
    rng = np.random.default_rng(0)
    with RecordWriter(folder / "records", schema) as writer:
        for number in range(ROWS):
            image = rng.integers(0, 256, (8, 8, 1), np.uint8)
            writer.append({"image": image, "label": number % 10})
    return folder / "records"


class Watch(Hook):
    """Notes the anonymous memory at some steps."""

    def __init__(self, every: int) -> None:
        self.every = every
        self.seen: dict[int, int] = {}

    def after_step(self, run: Run, output: dict[str, Any]) -> None:
        if run.step == FIRST or run.step % self.every == 0:
            self.seen[run.step] = anonymous()


def train(folder: Path, steps: int, watch: Watch) -> None:
    """Train for some steps with all that there is."""
    records = str(write(folder))
    config = RunConfig(
        str(folder / "run"),
        device="cpu",
        save_summary_steps=50,
        save_checkpoints_steps=EVERY,
        ema_decay=0.99,
        keep_checkpoint_best=2,
        best_metric="accuracy",
        log_step_count_steps=1000,
    )
    ready = [
        hooks.CsvLog(every_steps=EVERY),
        hooks.JsonLinesLog(every_steps=EVERY),
        hooks.Histograms(every_steps=EVERY),
        hooks.Memory(every_steps=EVERY),
        hooks.StepTimes(every_steps=EVERY),
        hooks.NanWatch(),
        dovetail.EarlyStopping("accuracy", patience=1_000_000),
    ]
    exporters = [dovetail.BestExporter(), dovetail.LatestExporter("latest")]
    dovetail.train_and_evaluate(
        Estimator(model_fn, config=config, params={"batch_size": BATCH}),
        dovetail.TrainSpec(records, max_steps=steps, hooks=[watch, *ready]),
        [
            dovetail.EvalSpec(records, steps=10, exporters=exporters),
            dovetail.EvalSpec(records, steps=3, name="short"),
        ],
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure whether a long run holds more memory.")
    parser.add_argument("--steps", type=int, default=50_000, help="of the run (%(default)s)")
    options = parser.parse_args()
    torch.set_num_threads(1)  # in steps as short as these a second one only waits
    watch = Watch(max(options.steps // 10, 1))
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        train(Path(temporary), options.steps, watch)
    seconds = time.monotonic() - started
    for step, held in watch.seen.items():
        print(f"step {step:>7,}  {held / 2**20:>8.1f} MiB")
    growth = watch.seen[options.steps] / watch.seen[FIRST] - 1
    print(f"\nGrowth from step {FIRST} to {options.steps:,}: {growth:+.2%}; the bar is {BAR:.0%}")
    result = {
        "benchmark": "steady_memory",
        "unit": "bytes of anonymous memory by step",
        "machine": describe(),
        "seconds": round(seconds, 1),
        "bars": {f"growth from step {FIRST} to {options.steps}, below {BAR}": round(growth, 4)},
        "held": {str(step): held for step, held in watch.seen.items()},
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / "steady_memory.json"
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
