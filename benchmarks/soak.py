"""Run every test with its full counts, and keep what came out.

`make test` runs a seeded subset of the property and fault tests; this runs them in full, and
writes how many passed, failed and were skipped, and how often runs were killed, to
benchmarks/results/soak.json. Paths of tests may be given, to run those alone.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

from machine import describe

RESULTS = Path(__file__).parent / "results"


def main(paths: list[str]) -> int:
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "--soak", "--timeout=3600", *paths]
        code = subprocess.run([*command, f"--junit-xml={report}"], check=False).returncode
        if report.exists():
            write(report, paths)
    return code


def write(report: Path, paths: list[str]) -> None:
    """Write what a report of pytest's says to the results."""
    suite = ElementTree.parse(report).getroot().find("testsuite")
    assert suite is not None
    counts = {key: int(suite.attrib[key]) for key in ("tests", "failures", "errors", "skipped")}
    result = {
        "benchmark": "soak",
        "of": paths or ["all tests"],
        **counts,
        "kills": _kills(suite),
        "seconds": round(float(suite.attrib["time"]), 1),
        "machine": describe(),
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "soak.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def _kills(suite: ElementTree.Element) -> dict[str, int]:
    """Return how many processes the fault tests killed, by what they were killed at."""
    return {
        each.attrib["name"]: int(each.attrib["value"])
        for each in suite.iter("property")
        if each.attrib["name"].startswith("kills")
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
