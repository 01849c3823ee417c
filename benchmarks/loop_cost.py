"""What a loop with all that belongs to it adds to each step, beside other frameworks' loops.

Logging, a progress bar on a terminal, checkpoints and the check of the loss are on; the cost is
the time of a step in the loop less that of the same step without it, turn by turn. Run with
`make bench`, in the environment that holds the rivals. What is measured is printed and written to
benchmarks/results/loop_cost.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

from loop_cost_loops import LOG_EVERY, SAVE_EVERY
from machine import describe
from turns import Rival, Started

RESULTS = Path(__file__).parent / "results"
BAR = 50e-6  # seconds a step
OURS = "Dovetail"
RIVALS = [(OURS, "dovetail"), ("Lightning", "lightning"), ("Accelerate", "accelerate")]
LIBRARIES = ["torch", "lightning", "accelerate"]


def compare(folder: Path, *, rounds: int, steps: int) -> list[dict[str, Any]]:
    """Return a row for each framework: medians over the rounds, in seconds a step.

    Args:
      folder: for what they write.
      rounds: how many turns each has, one of each after the other.
      steps: of a turn.
    """
    started = [
        Started(Rival(name, f"loop_cost_loops:{function}", {}), folder, terminal=True)
        for name, function in RIVALS
    ]
    turns: dict[str, list[list[float]]] = {one.rival.name: [] for one in started}
    try:
        for one in started:
            one.ask("run", 400)
        for turn in range(rounds):
            # Forwards and backwards in turn: none is always the one after the heaviest.
            for one in started if turn % 2 == 0 else reversed(started):
                seconds = one.ask("run", steps)
                turns[one.rival.name].append([each / steps for each in seconds])
            print(f"round {turn + 1} of {rounds}", file=sys.stderr, flush=True)
    finally:
        for one in started:
            one.close()
    return [_row(name, pairs) for name, pairs in turns.items()]


def _row(name: str, pairs: list[list[float]]) -> dict[str, Any]:
    costs = [loop - bare for loop, bare in pairs]
    return {
        "name": name,
        "bare": statistics.median(bare for _, bare in pairs),
        "in_the_loop": statistics.median(loop for loop, _ in pairs),
        # Turn by turn, since a busy moment slows both sides of a turn.
        "cost": statistics.median(costs),
        "least": min(costs),
        "most": max(costs),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure what a loop adds to each step.")
    parser.add_argument("--rounds", type=int, default=11, help="turns of each (%(default)s)")
    parser.add_argument("--steps", type=int, default=20_000, help="of a turn (%(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        rows = compare(Path(temporary), rounds=options.rounds, steps=options.steps)
    print("\nA small step alone and in a loop with logging, bar, checks and checkpoints (us)")
    print(f"{'':<14}{'bare':>9}{'in loop':>9}{'cost':>9}{'least':>9}{'most':>9}")
    for row in rows:
        values = (row[key] * 1e6 for key in ("bare", "in_the_loop", "cost", "least", "most"))
        print(f"{row['name']:<14}" + "".join(f"{value:>9.1f}" for value in values))
    cost = next(row["cost"] for row in rows if row["name"] == OURS)
    print(f"\nDovetail's cost: {cost * 1e6:.1f} us a step; the bar is {BAR * 1e6:.0f}")
    result = {
        "benchmark": "loop_cost",
        "unit": "seconds a step",
        "rounds": options.rounds,
        "steps": options.steps,
        "log_every": LOG_EVERY,
        "save_every": SAVE_EVERY,
        "machine": describe(),
        "versions": {name: metadata.version(name) for name in LIBRARIES},
        "bars": {"Dovetail's cost in seconds a step, below 50e-6": cost},
        "loops": rows,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "loop_cost.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
