"""What a library's loss counts for is what it divides by."""

import functools
from typing import Any

import keras
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dovetail.definition.loss_counts import counts_of, is_keras_loss, of_library
from dovetail.errors import DefinitionError

LOGITS = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 2, 1, 2, 2])
WEIGHTS = torch.tensor([1.0, 2.0, 4.0])


def weight(loss, output=LOGITS, labels=LABELS, **settings):
    return counts_of(loss, settings, "loss").weight(output, labels)


@pytest.mark.parametrize(
    "settings",
    [{"ignore_index": 2}, {"weight": WEIGHTS}, {"ignore_index": 1, "weight": WEIGHTS}],
)
@pytest.mark.parametrize("name", ["cross_entropy", "nll_loss"])
def test_torch_divides_its_sum_by_what_the_loss_counts_for(name, settings):
    function = getattr(F, name)
    cls = {"cross_entropy": nn.CrossEntropyLoss, "nll_loss": nn.NLLLoss}[name]
    total = function(LOGITS, LABELS, reduction="sum", **settings)
    expected = total / function(LOGITS, LABELS, **settings)
    for given in (
        weight(cls(**settings)),
        weight(functools.partial(function, **settings)),
        weight(functools.partial(functools.partial(function, weight=WEIGHTS), **settings))
        if "weight" in settings
        else expected,
        weight(function, **settings),
    ):
        torch.testing.assert_close(torch.as_tensor(given, dtype=torch.float32), expected)


def test_keras_divides_its_sum_by_what_the_loss_counts_for():
    cls: Any = keras.losses.SparseCategoricalCrossentropy
    total = cls(from_logits=True, ignore_class=2, reduction="sum")(LABELS, LOGITS)
    mean = cls(from_logits=True, ignore_class=2)(LABELS, LOGITS)
    counted = weight(cls(from_logits=True, ignore_class=2))
    torch.testing.assert_close(total / mean, torch.as_tensor(counted, dtype=torch.float32))


@pytest.mark.parametrize(
    "loss",
    [
        F.mse_loss,
        F.cross_entropy,
        nn.CrossEntropyLoss(label_smoothing=0.1),
        nn.HuberLoss(),
        nn.KLDivLoss(reduction="batchmean"),
        keras.losses.SparseCategoricalCrossentropy(),
        keras.losses.MeanSquaredError(reduction="mean_with_sample_weight"),
        lambda output, labels: 0,
        nn.Identity(),
    ],
)
def test_a_mean_counts_for_its_examples(loss):
    assert weight(loss) is None


@pytest.mark.parametrize(
    "loss",
    [
        nn.HuberLoss(reduction="sum"),
        nn.CrossEntropyLoss(reduction="sum", ignore_index=1),
        functools.partial(F.mse_loss, reduction="sum"),
        keras.losses.Huber(reduction="sum"),
    ],
)
def test_sums_add_up(loss):
    assert weight(loss) == "sum"


def test_a_setting_of_params_counts():
    assert weight(F.mse_loss, reduction="sum") == "sum"


def test_labels_per_step_that_torch_leaves_out_are_not_counted():
    labels = torch.tensor([[0, -100], [2, 1]])
    assert weight(nn.CrossEntropyLoss(), torch.zeros(2, 3, 2), labels) == 3


def test_probabilities_of_classes_count_for_their_examples():
    assert weight(nn.CrossEntropyLoss(weight=WEIGHTS), labels=LOGITS.softmax(1)) is None


@pytest.mark.parametrize(
    "loss", [nn.MSELoss(reduction="none"), keras.losses.Huber(reduction="none")]
)
def test_a_loss_per_example_is_refused(loss):
    with pytest.raises(DefinitionError, match=f"loss: {type(loss).__name__} has reduction='none'"):
        counts_of(loss, {}, "loss")


def test_whose_loss_it_is():
    class Own(keras.losses.Loss):
        pass

    assert is_keras_loss(Own())
    assert not is_keras_loss(Own)
    assert not is_keras_loss(keras.losses.huber)
    for loss in (F.mse_loss, nn.MSELoss(), keras.losses.Huber(), keras.losses.huber):
        assert of_library(loss)
        assert of_library(functools.partial(loss))
    assert not of_library(Own())
    assert not of_library(lambda output, labels: 0)
