"""Pooling, compared with windows cut out by hand."""

import math

import pytest
import torch

from dovetail import layers
from dovetail.errors import DefinitionError


def pooled(images, kernel, stride, padding, reduce):
    """Reduce the pixels that lie inside the image of each of TensorFlow's windows."""
    _, height, width, _ = images.shape
    starts = []
    for size, k, s in zip((height, width), kernel, stride, strict=True):
        if padding == "SAME":
            outputs = math.ceil(size / s)
            before = max((outputs - 1) * s + k - size, 0) // 2
        else:
            outputs, before = (size - k) // s + 1, 0
        starts.append([i * s - before for i in range(outputs)])
    rows = []
    for y in starts[0]:
        row = []
        for x in starts[1]:
            window = images[:, max(y, 0) : y + kernel[0], max(x, 0) : x + kernel[1]]
            row.append(reduce(window.flatten(1, 2)))
        rows.append(torch.stack(row, 1))
    return torch.stack(rows, 1)


CASES = [((2, 2), (2, 2)), ((3, 3), (2, 2)), ((3, 2), (1, 3)), ((2, 2), (1, 1)), ((1, 1), (2, 2))]


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize(("kernel", "stride"), CASES)
@pytest.mark.parametrize("size", [(7, 8), (6, 5)])
def test_max_pool2d_is_tensorflows(kernel, stride, padding, size):
    images = torch.randn(2, *size, 3) - 5  # all negative: a padding of zeros would show
    expected = pooled(images, kernel, stride, padding, lambda w: w.amax(1))
    assert torch.equal(layers.max_pool2d(images, kernel, stride, padding), expected)


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize(("kernel", "stride"), CASES)
@pytest.mark.parametrize("size", [(7, 8), (6, 5)])
def test_avg_pool2d_leaves_padding_out(kernel, stride, padding, size):
    images = torch.randn(2, *size, 3, dtype=torch.float64)
    expected = pooled(images, kernel, stride, padding, lambda w: w.mean(1))
    torch.testing.assert_close(layers.avg_pool2d(images, kernel, stride, padding), expected)


@pytest.mark.parametrize("pool", [layers.max_pool2d, layers.avg_pool2d])
def test_pools_default_to_valid_and_stride_two(pool):
    assert pool(torch.zeros(1, 7, 9, 2), 3, scope="pool1").shape == (1, 3, 4, 2)


@pytest.mark.parametrize("pool", [layers.max_pool2d, layers.avg_pool2d])
def test_inputs_smaller_than_the_window_are_refused(pool):
    with pytest.raises(DefinitionError, match=r"at least \[3, 3\]; they have \[2, 8\]"):
        pool(torch.zeros(1, 2, 8, 2), 3)


def test_flatten_keeps_tensorflows_order():
    images = torch.arange(24).reshape(2, 2, 3, 2)
    assert torch.equal(layers.flatten(images), torch.arange(24).reshape(2, 12))


def test_flatten_needs_a_batch():
    with pytest.raises(DefinitionError, match=r"flatten takes a tensor \[batch, \.\.\.\]"):
        layers.flatten(torch.zeros(3))
