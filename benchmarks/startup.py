"""How long a user waits before anything happens: `dovetail --help` and `import dovetail`.

Both are to import no torch, and to take under 0.3 s and 0.1 s on 2 cores. Run with `make bench`;
the result is printed and written to benchmarks/results/startup.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from machine import describe

RESULTS = Path(__file__).parent / "results"

# Runs the first argument as a program would run it, then says whether torch came in with it.
_PROBE = """
import atexit, sys
atexit.register(lambda: print("TORCH" if "torch" in sys.modules else "NO TORCH"))
"""
_HELP = "from dovetail.cli.main import main\nsys.argv = ['dovetail', '--help']\nmain()"


@dataclass(frozen=True)
class Case:
    """Something that is started, and the seconds that it may take."""

    name: str
    command: list[str]
    code: str
    limit: float | None


@dataclass(frozen=True)
class Row:
    """What was measured of a case, in seconds."""

    name: str
    median: float
    fastest: float
    slowest: float
    limit: float | None
    imports_torch: bool


def cases() -> list[Case]:
    """The starts to measure, with a bare Python first for comparison."""
    command = str(Path(sys.executable).with_name("dovetail"))
    return [
        Case("python -c pass", [sys.executable, "-c", "pass"], "pass", None),
        Case(
            "import dovetail",
            [sys.executable, "-c", "import dovetail"],
            "import dovetail",
            0.1,
        ),
        Case("dovetail --help", [command, "--help"], _HELP, 0.3),
    ]


def seconds(command: list[str]) -> float:
    """Start `command`, wait for its end, and return the seconds it took.

    Raises:
      subprocess.CalledProcessError: it failed.
    """
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def imports_torch(code: str) -> bool:
    """Whether torch is among the modules after `code` ran in a process of its own."""
    command = [sys.executable, "-c", _PROBE + code]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return output.splitlines()[-1] == "TORCH"


def measure(rounds: int) -> list[Row]:
    """Measure each case `rounds` times, in turn, so that a busy moment hits all alike."""
    measured = cases()
    for case in measured:  # once unmeasured: bytecode is compiled, files are in memory
        seconds(case.command)
    times: dict[str, list[float]] = {case.name: [] for case in measured}
    for _ in range(rounds):
        for case in measured:
            times[case.name].append(seconds(case.command))
    return [
        Row(
            case.name,
            median=round(statistics.median(times[case.name]), 4),
            fastest=round(min(times[case.name]), 4),
            slowest=round(max(times[case.name]), 4),
            limit=case.limit,
            imports_torch=imports_torch(case.code),
        )
        for case in measured
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure how quickly Dovetail starts.")
    parser.add_argument("--rounds", type=int, default=21, help="starts of each case (%(default)s)")
    rounds = parser.parse_args().rounds
    rows = measure(rounds)

    print(f"{'':<18}{'median':>9}{'fastest':>9}{'slowest':>9}{'limit':>9}  torch")
    for row in rows:
        limit = f"{row.limit:.3f}" if row.limit else "-"
        torch = "imported" if row.imports_torch else "not imported"
        print(
            f"{row.name:<18}{row.median:>9.3f}{row.fastest:>9.3f}{row.slowest:>9.3f}"
            f"{limit:>9}  {torch}"
        )
    result = {
        "benchmark": "startup",
        "unit": "seconds",
        "rounds": rounds,
        "machine": describe(),
        "rows": [asdict(row) for row in rows],
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "startup.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")

    failed = [r for r in rows if r.imports_torch or (r.limit is not None and r.median > r.limit)]
    for row in failed:
        reason = "imports torch" if row.imports_torch else f"took over {row.limit} s"
        print(f"{row.name}: {reason}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
