"""What a training loop adds to a small step, beside other frameworks' loops.

Run with `make bench`, in the environment that holds the rivals. What is measured is printed and
written to benchmarks/results/overhead.json.
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

import overhead_loops
from machine import describe
from turns import Rival, Started, measured, summary

RESULTS = Path(__file__).parent / "results"
OURS = "Dovetail"
TOLERANCE = 2e-4  # of the loss after the checked steps: float32, summed in other orders

RIVALS: list[tuple[str, str, dict[str, Any]]] = [
    (OURS, "dovetail", {}),
    ("torch, DataLoader", "plain", {}),
    ("torch, DataLoader, 2 workers", "plain", {"workers": 2}),
    ("Lightning", "lightning", {}),
    ("Accelerate", "accelerate", {}),
    ("Ignite", "ignite", {}),
    ("Keras on TensorFlow, tf.data", "keras", {"arrays": False}),
    ("Keras on TensorFlow, arrays", "keras", {"arrays": True}),
]
LIBRARIES = ["torch", "lightning", "accelerate", "pytorch-ignite", "keras", "tensorflow-cpu"]


def compare(folder: Path, *, shown: bool, rounds: int, seconds: float) -> list[dict[str, Any]]:
    """Measure all loops in turn, after all have shown that they train alike.

    Args:
      shown: with logging and a progress bar, on a terminal.
    """
    rivals = [
        Rival(name, f"overhead_loops:{function}", {"shown": shown, **options})
        for name, function, options in RIVALS
    ]
    started = [Started(rival, folder, terminal=shown) for rival in rivals]
    try:
        if not shown:
            _same({one.rival.name: one.ask("check") for one in started})
        return summary(measured(started, rounds=rounds, seconds=seconds, say=_say), OURS)
    finally:
        for one in started:
            one.close()


def _same(losses: dict[str, float]) -> None:
    """Refuse results of loops that do not end with the same loss from the same beginning."""
    for name, loss in losses.items():
        if abs(loss / losses[OURS] - 1) > TOLERANCE:
            raise SystemExit(f"{name} trains otherwise than {OURS}: losses {losses}")
    _say(f"losses of the check: {losses}")


def _table(title: str, rows: Sequence[dict[str, Any]]) -> None:
    print(f"\n{title}")
    print(f"{'':<32}{'us a step':>12}{'fastest':>10}{'slowest':>10}{'of our time':>13}")
    for row in rows:
        print(
            f"{row['name']:<32}{row['median'] * 1e6:>12.1f}{row['fastest'] * 1e6:>10.1f}"
            f"{row['slowest'] * 1e6:>10.1f}{row['times_ours']:>12.2f}x"
        )


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure what a loop adds to a small step.")
    parser.add_argument("--rounds", type=int, default=11, help="turns of each (%(default)s)")
    parser.add_argument("--seconds", type=float, default=1.0, help="of a turn (%(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        overhead_loops.write(folder)
        rows = {
            name: compare(folder, shown=shown, rounds=options.rounds, seconds=options.seconds)
            for name, shown in (("quiet", False), ("shown", True))
        }
    _table("MLP 784-256-128-10, batch 64: a step", rows["quiet"])
    _table("The same with logging and a progress bar", rows["shown"])
    bars = {
        f"{name}: the best other's time over ours, above 1": round(
            min(row["times_ours"] for row in found if row["name"] != OURS), 3
        )
        for name, found in rows.items()
    }
    print()
    for bar, value in bars.items():
        print(f"{bar}: {value}")
    result = {
        "benchmark": "overhead",
        "unit": "seconds a step",
        "rounds": options.rounds,
        "machine": describe(),
        "versions": {name: metadata.version(name) for name in LIBRARIES},
        "bars": bars,
        **rows,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "overhead.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
