"""A file with a modeler on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import dovetail
from dovetail.cli.main import app
from dovetail.data.record_writer import RecordWriter

FILE = """
from dovetail import ImageClassificationModelerConfig, ModelerConfig
from dovetail.nets.convnet import net
from dovetail.tasks import image_classification

config = ModelerConfig("infer", 4, 2, "momentum", 0.05)
modeler = image_classification.build(ImageClassificationModelerConfig(config, num_classes=2), net)


def data_schema():
    return [
        {"name": "image", "shape": [4, 4, 1], "dtype": "float32"},
        {"name": "label", "shape": [1], "dtype": "int64"},
    ]
"""


@pytest.fixture
def folder(in_tmp: Path) -> Path:
    Path("classes.py").write_text(FILE)
    schema = dovetail.load("classes.py").schema
    assert schema is not None
    with RecordWriter(in_tmp / "records", schema) as writer:
        for number in range(20):
            writer.append((np.full((4, 4, 1), number % 2, np.float32), number % 2))
    return in_tmp


def done(*words: str) -> str:
    result = CliRunner().invoke(app, list(words))
    assert result.exit_code == 0, result.output
    return result.output


def test_it_is_inspected(folder: Path) -> None:
    said = done("inspect", "classes.py")
    assert "modeler 'classes'" in said
    assert "batch_size_per_gpu" in said
    assert "logits" in said


def test_it_is_tried_trained_evaluated_and_predicted_with(folder: Path) -> None:
    given = ("classes.py", "--data", "records", "--device", "cpu")
    assert "1 batch of 8" in done("train", *given, "--fast-dev-run")
    done("train", *given, "--model-dir", "run", "--epochs", "8", "--set", "learning_rate=0.1")
    assert "accuracy" in done("evaluate", *given, "--model-dir", "run")
    done("predict", *given, "--model-dir", "run", "--output", "out.jsonl")
    rows = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
    assert [row["classes"] for row in rows] == [number % 2 for number in range(20)]


def test_a_setting_that_is_wrong_is_one_message(folder: Path) -> None:
    words = ["train", "classes.py", "--data", "records", "--set", "learning_rte=1"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 1
    assert "Did you mean 'learning_rate'" in result.output
