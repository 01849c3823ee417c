"""One good model file, one good set of records and an Estimator of them, for tests to spoil."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dovetail
from dovetail.data.record_writer import RecordWriter
from dovetail.run.config import RunConfig
from dovetail.run.estimator import Estimator

MODEL = """
import torch
from dovetail import metrics, optimizers

params = {"width": 6, "batch_size": 8, "net": {"rate": 0.3}}

def model(params):
    return torch.nn.Sequential(torch.nn.Linear(5, params.width), torch.nn.Linear(params.width, 3))

def data_schema():
    return [
        {"name": "x", "shape": [5], "dtype": "float32"},
        {"name": "label", "shape": [1], "dtype": "int64"},
    ]

def input_fn(records):
    return records["x"], records["label"].reshape(-1)

def prepare_data_for_a_single_file(filename):
    return [float(word) for word in open(filename).read().split()], 1

def loss(output, labels):
    return torch.nn.functional.cross_entropy(output, labels)

def optimizer(lr=0.05):
    return optimizers.Adam(learning_rate=lr)

def eval_metrics_fn(predictions, labels):
    return {"accuracy": metrics.accuracy(labels, predictions.argmax(1))}
"""


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    path = tmp_path / "model.py"
    path.write_text(MODEL)
    return path


@pytest.fixture
def write_records(tmp_path: Path) -> Callable[..., Path]:
    """Write records of the model file's schema, or of another."""

    def written(
        name: str = "records",
        rows: int = 40,
        fields: tuple[Any, ...] = (("x", (5,), "float32"), ("label", (1,), "int64")),
        labels: Callable[[int], int] = lambda i: i % 3,
    ) -> Path:
        folder = tmp_path / name
        generator = np.random.default_rng(0)
        with RecordWriter(folder, dovetail.Schema([dovetail.Field(*f) for f in fields])) as writer:
            for i in range(rows):
                row: dict[str, Any] = {
                    field: generator.normal(size=shape).astype(dtype)
                    for field, shape, dtype in fields
                    if field != "label"
                }
                if any(field == "label" for field, _, _ in fields):
                    row["label"] = labels(i)
                writer.append(row)
        return folder

    return written


@pytest.fixture
def estimator(model_file: Path, tmp_path: Path) -> Callable[..., Estimator]:
    """Make an Estimator of the model file, which saves at every step."""

    def made(params: dict[str, Any] | None = None, name: str = "run", **config: Any) -> Estimator:
        config = {"device": "cpu", "progress": False, "save_checkpoints_steps": 1, **config}
        return Estimator(model_file, tmp_path / name, RunConfig(**config), params)

    return made
