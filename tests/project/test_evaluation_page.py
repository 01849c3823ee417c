"""What docs/evaluation.md shows is run here, on a small model and records of its names."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest

import dovetail
from dovetail.cli.main import main
from dovetail.data.record_writer import RecordWriter
from dovetail.run.summaries import read_scalars

PAGE = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")
MODEL = """
import torch
from torch import nn

from dovetail import metrics, optimizers


def model():
    return nn.Linear(4, 3)


def loss(output, labels):
    return nn.functional.cross_entropy(output, labels)


def optimizer(lr=0.1):
    return optimizers.SGD(learning_rate=lr)


def eval_metrics_fn(predictions, labels):
    return {"accuracy": metrics.accuracy(labels=labels, predictions=predictions.argmax(dim=1))}


def data_schema():
    return [
        {"name": "x", "shape": [4], "dtype": "float32"},
        {"name": "label", "shape": [1], "dtype": "int64"},
    ]
"""


@pytest.fixture
def place(in_tmp: Path) -> Path:
    Path("digits.py").write_text(MODEL)
    generator = np.random.default_rng(0)
    schema = dovetail.load("digits.py").schema
    assert schema is not None
    for split, rows in (("train", 96), ("test", 40)):
        with RecordWriter(in_tmp / "records" / split, schema) as writer:
            for x in generator.normal(size=(rows, 4)).astype(np.float32):
                writer.append({"x": x, "label": np.array([x[:3].argmax()])})
    return in_tmp


def test_every_command_and_the_lines_of_python_run(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commands = re.findall(r"^    dovetail (.*)$", PAGE, re.MULTILINE)
    assert len(commands) == 6
    for command in commands:
        code = main(shlex.split(command))
        assert code == 0, capsys.readouterr().err

    def steps(folder: str) -> list[int]:
        return [step for step, _ in read_scalars(folder)["accuracy"]]

    assert steps("run/eval") == [10, 20, 30, 40, 50]
    assert steps("run/eval_final") == [50]
    assert steps("run/eval_elsewhere") == steps("run/eval")
    assert steps("named/eval_test") == steps("named/eval_train") == [20]
    [code] = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    capsys.readouterr()
    exec(compile(code, "evaluation.md", "exec"), {})
    assert "from_python/export/best/" in capsys.readouterr().out
