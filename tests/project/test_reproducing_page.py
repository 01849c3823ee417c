"""What docs/reproducing.md shows is run here, on a small model and records of its names."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

import dovetail
from dovetail.cli.main import main
from dovetail.data.record_writer import RecordWriter
from dovetail.run import provenance
from dovetail.run.config import UnpositionedInput
from dovetail.run.held_state import LARGEST

PAGE = (Path(__file__).parents[2] / "docs" / "reproducing.md").read_text(encoding="utf-8")
MODEL = """
from torch import nn

from dovetail import optimizers


def model():
    return nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.2), nn.Linear(8, 3))


def loss(output, labels):
    return nn.functional.cross_entropy(output, labels)


def optimizer(lr=0.1):
    return optimizers.SGD(learning_rate=lr)
"""


@pytest.fixture
def place(in_tmp: Path) -> Path:
    Path("digits.py").write_text(MODEL)
    schema = dovetail.Schema(
        [dovetail.Field("x", (4,), "float32"), dovetail.Field("label", (1,), "int64")]
    )
    generator = np.random.default_rng(0)
    with RecordWriter(in_tmp / "records" / "train", schema) as writer:
        for x in generator.normal(size=(96, 4)).astype(np.float32):
            writer.append({"x": x, "label": np.array([x[:3].argmax()])})
    return in_tmp


def test_every_command_runs_and_finds_the_runs_equal(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commands = re.findall(r"^    dovetail (.*)$", PAGE, re.MULTILINE)
    assert len(commands) == 6
    said = ""
    for command in commands:
        code = main(shlex.split(command))
        printed = capsys.readouterr()
        assert code == 0, printed.err
        said += printed.out
    assert said.count("equal, bit for bit") == 4
    assert "Run 2, steps 0 to 30, is run again in again." in said
    assert "Step 20: all 4 tensors" in said
    (folder,) = Path("first/provenance").iterdir()
    for name in re.findall(r"`(\w+\.(?:json|yaml))`", PAGE):
        assert (folder / name).is_file(), name


def test_the_lines_of_python_resume_exactly(place: Path) -> None:
    def input_fn() -> Iterator[Any]:
        while True:
            x = np.random.normal(size=(8, 4)).astype(np.float32)
            yield {"x": x}, x[:, :3].argmax(1)

    [code] = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    exec(compile(code, "reproducing.md", "exec"), {"input_fn": input_fn})
    whole = dovetail.Estimator("digits.py", "whole").train(input_fn, max_steps=5)
    cut = dovetail.Estimator("digits.py", "from_python")
    for name in whole.get_variable_names():
        one, other = whole.get_variable_value(name), cut.get_variable_value(name)
        assert one.tobytes() == other.tobytes(), name


def test_the_page_names_what_there_is() -> None:
    _, *choices = re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)
    assert tuple(choices) == get_args(UnpositionedInput)
    assert f"{LARGEST >> 20} MiB at most" in PAGE
    for name in provenance.ADDED:
        assert f"`{name}.json`" in PAGE
