"""A small model with all that a resume must put back: the faults strike runs of this one."""

import random

import numpy as np
from torch import nn

from dovetail import metrics, optimizers


def model(width: int = 16):
    return nn.Sequential(
        nn.Linear(16, width),
        nn.BatchNorm1d(width),
        nn.ReLU(),
        nn.Dropout(0.3),
        nn.Linear(width, 4),
    )


def data_schema():
    return [
        {"name": "x", "shape": [16], "dtype": "float32"},
        {"name": "label", "shape": [1], "dtype": "int64"},
    ]


def prepare_data_for_a_single_file(filename):
    raise AssertionError("the records are written by the test")


def input_fn(records):
    noise = np.random.normal(0, 0.1, records["x"].shape).astype("float32")
    return {"input": records["x"] * random.uniform(0.9, 1.1) + noise}, records["label"].reshape(-1)


def loss(output, labels):
    return nn.functional.cross_entropy(output, labels)


def optimizer(lr=0.02):
    schedules = optimizers.schedules
    return optimizers.Adam(schedules.WarmUp(schedules.Cosine(lr, 60), 5), clip_norm=1.0)


def eval_metrics_fn(predictions, labels):
    return {"accuracy": metrics.accuracy(labels, predictions.argmax(1))}
