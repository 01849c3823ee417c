"""Convolutions, compared with TensorFlow's documented formula written as loops."""

import math

import numpy as np
import pytest
import torch

from dovetail import layers
from dovetail.errors import DefinitionError


def tensorflow_conv2d(images, weights, stride, padding, rate):
    """out[b, i, j, k] = sum of images[b, s*i + r*di - top, s*j + r*dj - left, q] * w[di, dj, q, k].

    `weights` are [height, width, channels, outputs], as in TensorFlow.
    """
    batch, height, width, _ = images.shape
    kh, kw, _, outputs = weights.shape
    window = [(kh - 1) * rate[0] + 1, (kw - 1) * rate[1] + 1]
    if padding == "SAME":
        rows, columns = math.ceil(height / stride[0]), math.ceil(width / stride[1])
        top = max((rows - 1) * stride[0] + window[0] - height, 0) // 2
        left = max((columns - 1) * stride[1] + window[1] - width, 0) // 2
    else:
        rows = math.ceil((height - window[0] + 1) / stride[0])
        columns = math.ceil((width - window[1] + 1) / stride[1])
        top = left = 0
    out = np.zeros((batch, rows, columns, outputs))
    for i in range(rows):
        for j in range(columns):
            for di in range(kh):
                for dj in range(kw):
                    y = stride[0] * i + rate[0] * di - top
                    x = stride[1] * j + rate[1] * dj - left
                    if 0 <= y < height and 0 <= x < width:
                        out[:, i, j] += images[:, y, x] @ weights[di, dj]
    return out


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize(
    ("kernel", "stride", "rate"),
    [
        (3, 1, 1),
        (3, 2, 1),
        (2, 1, 1),
        (2, 2, 1),
        (4, 3, 1),
        ((5, 2), (2, 1), 1),
        ((1, 4), (3, 2), 1),
        (3, 1, 2),
        (2, 1, (1, 3)),
        (1, 2, 1),
    ],
)
@pytest.mark.parametrize("size", [(7, 8), (6, 9)])
def test_conv2d_is_tensorflows(kernel, stride, rate, padding, size):
    rng = np.random.default_rng(0)
    images = rng.normal(size=(2, *size, 3))
    with layers.scope() as store:
        out = layers.conv2d(
            torch.from_numpy(images), 4, kernel, stride, padding, rate=rate, activation_fn=None
        )
    weights = store.conv2d.weight.detach().numpy().transpose(2, 3, 1, 0)
    pair = [v if isinstance(v, tuple) else (v, v) for v in (stride, rate)]
    expected = tensorflow_conv2d(images, weights, pair[0], padding, pair[1])
    np.testing.assert_allclose(out.detach().numpy(), expected, atol=1e-12)


@pytest.mark.parametrize(("length", "kernel", "stride"), [(9, 3, 2), (8, 3, 2), (8, 4, 1)])
@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_conv1d_is_a_conv2d_of_height_one(length, kernel, stride, padding):
    inputs = torch.randn(2, length, 3, dtype=torch.float64)
    with layers.scope() as store:
        out = layers.conv1d(inputs, 4, kernel, stride, padding, activation_fn=None)
    weights = store.conv1d.weight.detach().numpy().transpose(2, 1, 0)[None]
    expected = tensorflow_conv2d(inputs[:, None].numpy(), weights, (1, stride), padding, (1, 1))
    np.testing.assert_allclose(out.detach().numpy(), expected[:, 0], atol=1e-12)


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (2, 2), (5, 3), (4, 1), ((1, 3), (3, 2))])
def test_conv2d_transpose_is_the_gradient_of_conv2d(kernel, stride, padding):
    """<conv(x), y> = <x, conv_transpose(y)> for every x: that is TensorFlow's definition."""
    small = torch.randn(2, 4, 5, 3, dtype=torch.float64)
    with layers.scope() as store:
        grown = layers.conv2d_transpose(small, 2, kernel, stride, padding, activation_fn=None)
    image = torch.randn_like(grown, requires_grad=True)
    with layers.scope():
        back = layers.conv2d(
            image,
            3,
            kernel,
            stride,
            padding,
            activation_fn=None,
            biases_initializer=None,
            weights_initializer=lambda w: w.copy_(store.conv2d_transpose.weight),
        )
    assert back.shape == small.shape
    (gradient,) = torch.autograd.grad((back * small).sum(), image)
    torch.testing.assert_close(gradient, grown)
    if padding == "SAME":
        strides = stride if isinstance(stride, tuple) else (stride, stride)
        assert grown.shape == (2, 4 * strides[0], 5 * strides[1], 2)


def test_gradients_are_the_numeric_ones():
    with layers.scope() as store:
        layers.conv2d(torch.randn(1, 5, 4, 2, dtype=torch.float64), 2, 2, 2)

        def function(inputs):
            with layers.scope(store):
                return layers.conv2d(inputs, 2, 2, 2)

        inputs = torch.randn(1, 5, 4, 2, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(function, (inputs,))


def test_defaults_are_those_of_contrib():
    torch.manual_seed(0)
    with layers.scope() as store:
        out = layers.conv2d(torch.randn(2, 8, 8, 3), 16, 3)
    assert out.shape == (2, 8, 8, 16)  # SAME, stride 1
    assert out.min() == 0  # relu
    assert not store.conv2d.bias.any()
    limit = math.sqrt(6 / (3 * 9 + 16 * 9))  # Xavier
    weight = store.conv2d.weight
    assert weight.abs().max() <= limit
    assert weight.std().item() == pytest.approx(limit / math.sqrt(3), rel=0.1)


def test_nothing_is_copied_around_a_convolution():
    inputs = torch.randn(2, 8, 8, 4)
    seen = []
    with layers.scope() as store:
        layers.conv2d(inputs, 8, 3)
        store.conv2d.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    with layers.scope(store):
        out = layers.conv2d(inputs, 8, 3)
    assert seen[0].data_ptr() == inputs.data_ptr()
    assert seen[0].is_contiguous(memory_format=torch.channels_last)
    assert out.is_contiguous()


def test_normalizer_replaces_the_bias_and_precedes_the_activation():
    calls = []

    def normalizer(x, shift):
        calls.append((x, shift))
        return x + shift

    with layers.scope() as store:
        out = layers.conv2d(
            torch.randn(1, 4, 4, 2),
            3,
            1,
            normalizer_fn=normalizer,
            normalizer_params={"shift": 2.0},
        )
    assert store.conv2d.bias is None
    torch.testing.assert_close(out, torch.relu(calls[0][0] + 2))


def test_layers_shared_by_name_share_their_normalizer():
    with layers.scope() as store:
        for _ in range(2):
            layers.conv2d(torch.randn(2, 4, 4, 2), 2, 1, normalizer_fn=layers.batch_norm, scope="a")
        layers.conv2d(torch.randn(2, 4, 4, 2), 2, 1, normalizer_fn=layers.batch_norm)
    assert [name for name, _ in store.named_children()] == [
        "a",
        "a_batch_norm",
        "conv2d",
        "batch_norm",
    ]


def test_frozen_layers_are_not_trained():
    with layers.scope() as store:
        layers.conv2d(torch.randn(1, 4, 4, 2), 2, 3, trainable=False)
    assert [p.requires_grad for p in store.parameters()] == [False, False]


def test_no_bias_where_its_initializer_is_none():
    with layers.scope() as store:
        layers.conv2d(torch.randn(1, 4, 4, 2), 2, 3, biases_initializer=None)
    assert [name for name, _ in store.named_parameters()] == ["conv2d.weight"]


def test_other_number_of_channels_names_both_calls():
    with layers.scope() as store:
        layers.conv2d(torch.randn(1, 4, 4, 2), 2, 3)
    with pytest.raises(DefinitionError) as caught, layers.scope(store):
        layers.conv2d(torch.randn(1, 4, 4, 3), 2, 3)
    message = str(caught.value)
    assert "in_channels=2" in message
    assert "in_channels=3" in message
    assert message.count("test_convolution.py:") == 2


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"num_outputs": 0, "kernel_size": 3}, "num_outputs of conv2d must be a positive integer"),
        ({"num_outputs": 2, "kernel_size": (3, 3, 3)}, "kernel_size of conv2d must be one integer"),
        ({"num_outputs": 2, "kernel_size": 3, "stride": 0}, "stride of conv2d must be a positive"),
        ({"num_outputs": 2, "kernel_size": 3, "rate": 1.5}, "rate of conv2d must be a positive"),
        ({"num_outputs": 2, "kernel_size": 3, "padding": "reflect"}, "padding must be"),
    ],
)
def test_senseless_arguments_are_refused_with_the_line(arguments, expected):
    with pytest.raises(DefinitionError, match=expected) as caught, layers.scope():
        layers.conv2d(torch.randn(1, 4, 4, 2), **arguments)
    assert "test_convolution.py:" in str(caught.value)


@pytest.mark.parametrize(
    ("function", "shape"), [(layers.conv2d, (2, 2, 5, 3)), (layers.conv1d, (2, 2, 3))]
)
def test_inputs_smaller_than_a_valid_window_are_refused(function, shape):
    with pytest.raises(DefinitionError, match="needs inputs of at least") as caught, layers.scope():
        function(torch.randn(shape), 4, 3, padding="VALID")
    assert f"(shape {list(shape)})" in str(caught.value)
