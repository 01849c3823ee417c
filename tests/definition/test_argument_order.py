"""Labels before predictions or after, as the names of a function's arguments say."""

import functools

import keras
import pytest
import torch
import torchmetrics
from torch.nn import functional as F

from dovetail import metrics
from dovetail.definition.argument_order import called, first_two, labels_first


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (keras.losses.mean_squared_error, True),
        (keras.metrics.sparse_categorical_accuracy, True),
        (keras.losses.MeanSquaredError(), True),
        (keras.metrics.AUC(), True),
        (metrics.auc, True),
        (F.cross_entropy, False),
        (functools.partial(F.cross_entropy, ignore_index=0), False),
        (torch.nn.CrossEntropyLoss(), False),
        (torchmetrics.MeanSquaredError(), False),
        (torchmetrics.functional.mean_squared_error, False),
        (torch.nn.CosineEmbeddingLoss(), None),
        (torchmetrics.MetricCollection([]), None),
        (lambda output, labels, mode: 0, False),
        (lambda labels, predictions: 0, True),
        (lambda *both: 0, None),
        (lambda labels: 0, None),
        (lambda *, labels, predictions: 0, None),
        (max, None),
        (dict.fromkeys, None),
    ],
)
def test_names_decide_and_else_the_answer_given(function, expected):
    for otherwise in (True, False):
        answer = labels_first(function, otherwise)
        assert answer is (otherwise if expected is None else expected)


def test_what_says_the_arguments_of_an_object():
    module, metric = torch.nn.MSELoss(), keras.metrics.AUC()
    assert called(module) == module.forward
    assert called(metric) == metric.update_state
    assert called(torchmetrics.MeanMetric) is torchmetrics.MeanMetric
    assert first_two(module) == ("input", "target")
    assert first_two(keras.metrics.Mean()) == ("values", "sample_weight")
