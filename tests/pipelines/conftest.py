"""A small program and data that it learns, for what pipelines do with programs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dovetail import Batch, Dataset

MODEL = """
import torch
import dovetail
from dovetail import layers, metrics, optimizers

params = {"width": 8}


def model_fn(features, labels, mode, params):
    hidden = layers.fully_connected(features["x"], params["width"])
    logits = layers.fully_connected(hidden, 3, activation_fn=None)
    predictions = {"classes": logits.argmax(1), "probabilities": logits.softmax(1)}
    if mode == dovetail.ModeKeys.PREDICT:
        return dovetail.EstimatorSpec(mode, predictions)
    loss = torch.nn.functional.cross_entropy(logits, labels)
    accuracy = metrics.accuracy(labels, predictions["classes"])
    recall = metrics.auc(labels == 1, predictions["probabilities"][:, 1])
    train_op = optimizers.Adam(0.02).minimize(loss)
    return dovetail.EstimatorSpec(
        mode, predictions, loss, train_op, {"accuracy": accuracy, "auc": recall}
    )
"""


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    """A model file of one function, whose params have a width."""
    path = tmp_path / "model.py"
    path.write_text(MODEL)
    return path


class Flowers(Batch):
    """Items of three kinds."""

    components = "x", "y", "predicted"


@pytest.fixture
def flowers() -> Dataset:
    """50 of them."""
    random = np.random.default_rng(0)
    y = random.integers(0, 3, 50)
    x = (np.eye(4)[y] + random.normal(size=(50, 4)) * 0.3).astype("float32")
    return Dataset(50, Flowers, preloaded={"x": x, "y": y})
