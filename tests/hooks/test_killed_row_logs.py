"""Logs of rows of runs that are killed at random moments and started again."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

import dovetail
from dovetail.data.record_writer import RecordWriter


def rows(folder):
    csv_rows = csv.DictReader((folder / "log.csv").read_text().splitlines())
    json_rows = map(json.loads, (folder / "log.jsonl").read_text().splitlines())
    return [
        [{k: v for k, v in row.items() if k != "time"} for row in t] for t in (csv_rows, json_rows)
    ]


def test_the_rows_of_a_run_that_was_killed_are_those_of_one_that_was_not(tmp_path, soak):
    schema = [dovetail.Field("x", (3,), "float32"), dovetail.Field("label", (1,), "float32")]
    generator = np.random.default_rng(0)
    with RecordWriter(tmp_path / "records", dovetail.Schema(schema)) as writer:
        for _ in range(50):
            x = generator.normal(size=3).astype(np.float32)
            writer.append({"x": x, "label": x[:1]})
    words = [Path(__file__).with_name("logged_run.py"), tmp_path / "run", tmp_path / "records"]
    done = subprocess.run(
        [sys.executable, *words, "100" if soak else "2", "0"],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    whole = rows(tmp_path / "run_whole")
    assert [len(table) for table in whole] == [120, 120]
    assert done.stdout
    for trial in done.stdout.split():
        assert rows(Path(trial)) == whole
