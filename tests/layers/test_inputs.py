"""What is said about inputs that do not fit."""

import warnings

import pytest
import torch

from dovetail import layers
from dovetail.errors import DefinitionError

IMAGES = torch.zeros(2, 8, 8, 3)


@pytest.mark.parametrize(
    ("call", "inputs", "expected"),
    [
        (lambda x: layers.conv2d(x, 2, 3), torch.zeros(2, 8, 8), r"shape \[2, 8, 8\].*unsqueeze"),
        (lambda x: layers.conv2d(x, 2, 3), torch.zeros(2, 8), r"shape \[2, 8\].*reshape"),
        (lambda x: layers.conv2d(x, 2, 3), IMAGES.byte(), "torch.uint8.*inputs.float"),
        (lambda x: layers.conv2d(x, 2, 3), {"image": IMAGES}, "a dict. Pass one.*'image'"),
        (lambda x: layers.conv2d(x, 2, 3), IMAGES.numpy(), "it got an ndarray"),
        (lambda x: layers.conv1d(x, 2, 3), torch.zeros(2, 8), r"\[batch, length, channels\]"),
        (lambda x: layers.max_pool2d(x, 2), IMAGES.byte(), "max_pool2d computes with floating"),
        (lambda x: layers.dense(x, 2), torch.zeros(8), r"fully_connected takes.*shape \[8\]"),
        (lambda x: layers.dense(x, 2), torch.zeros(8, 2).int(), "torch.int32"),
        (layers.batch_norm, torch.zeros(8), "batch_norm takes"),
        (lambda x: layers.embedding(x, 9, 2), torch.zeros(8), r"embedding takes integers.*long"),
        (lambda x: layers.embedding(x, 9, 2), [1, 2], "it got a list"),
        (layers.dropout, 3.0, "dropout takes.*it got a float"),
    ],
)
def test_inputs_that_do_not_fit_are_refused_with_line_and_cure(call, inputs, expected):
    with pytest.raises(DefinitionError, match=expected) as caught, layers.scope():
        call(inputs)
    assert "test_inputs.py:" in str(caught.value)


@pytest.mark.parametrize("shape", [(2, 3, 32, 48), (2, 1, 28, 28)])
def test_channels_that_seem_to_come_first_are_warned_about_once(shape):
    with layers.scope() as store, pytest.warns(UserWarning, match=r"permute\(0, 2, 3, 1\)"):
        layers.conv2d(torch.zeros(shape), 2, 3)
    with layers.scope(store), warnings.catch_warnings():
        warnings.simplefilter("error")
        layers.conv2d(torch.zeros(shape), 2, 3)


@pytest.mark.parametrize("shape", [(2, 28, 28, 1), (2, 3, 3, 64), (2, 1, 1, 64), (2, 1, 100, 64)])
def test_small_feature_maps_are_not_warned_about(shape):
    with layers.scope(), warnings.catch_warnings():
        warnings.simplefilter("error")
        layers.conv2d(torch.zeros(shape), 2, 3)


def test_a_window_too_large_hints_at_channels_first():
    with pytest.raises(DefinitionError, match="channels seem to come first"):
        layers.max_pool2d(torch.zeros(2, 3, 32, 32), 5)
