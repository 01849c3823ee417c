"""The examples of models in pipelines, run as a user runs them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dovetail.definition.source import execute
from dovetail.run.checkpoint import latest_good

FOLDER = Path(__file__).parents[2] / "examples" / "pipelines"


def ran(name: str, cwd: Path, *words: object) -> str:
    """Run a script; return what it said."""
    done = subprocess.run(
        [sys.executable, "-W", "error", FOLDER / name, *map(str, words)],
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_dynamic_model_is_trained_and_imported_by_an_inference_pipeline(tmp_path: Path):
    said = ran("digits.py", tmp_path, "--device", "cpu", "--save", "saved")
    found = re.search(r"(\d+) of (\d+) digits .*\nIts accuracy is ([\d.]+)\.", said)
    assert found
    right, of, accuracy = found.groups()
    assert float(accuracy) == pytest.approx(int(right) / int(of), abs=1e-4)
    assert float(accuracy) >= 0.94
    first, last = map(float, re.findall(r"(\d\.\d+) at", said))
    assert last < first / 5
    # It can be run again, and gives the same bit for bit.
    assert ran("digits.py", tmp_path, "--device", "cpu", "--save", "again") == said.replace(
        "saved in saved", "saved in again"
    )
    states = [latest_good(tmp_path / name, print).model for name in ("saved", "again")]
    assert all(value.equal(states[1][name]) for name, value in states[0].items())


@pytest.mark.parametrize("name", ["torch_model.py", "keras_model.py"])
def test_a_torch_or_keras_model_may_be_the_descriptor(name: str, tmp_path: Path):
    said = ran(name, tmp_path)
    accuracy = re.search(r"Its accuracy is ([\d.]+)\.", said)
    assert accuracy
    assert float(accuracy[1]) >= 0.94


def test_the_data_set_is_cut_so_that_nothing_is_in_both_parts():
    digits = execute(FOLDER / "data.py").dataset()
    train, test = set(digits.train.indices.tolist()), set(digits.test.indices.tolist())
    assert len(train) + len(test) == len(digits) == 1797
    assert not train & test
