"""Activation functions."""

import pytest
import torch

from dovetail import layers

X = torch.linspace(-3, 8, 12, dtype=torch.float64)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (layers.relu, X.clamp(min=0)),
        (layers.relu6, X.clamp(0, 6)),
        (layers.elu, torch.where(X > 0, X, X.exp() - 1)),
        (
            layers.selu,
            1.0507009873554805 * torch.where(X > 0, X, 1.6732632423543772 * (X.exp() - 1)),
        ),
        (layers.leaky_relu, torch.where(X > 0, X, 0.01 * X)),
        (layers.sigmoid, 1 / (1 + (-X).exp())),
        (layers.tanh, (X.exp() - (-X).exp()) / (X.exp() + (-X).exp())),
        (layers.gelu, X * (1 + torch.erf(X / 2**0.5)) / 2),
        (layers.swish, X / (1 + (-X).exp())),
        (layers.softmax, X.exp() / X.exp().sum()),
        (layers.identity, X),
    ],
)
def test_activations_are_their_formulas(function, expected):
    torch.testing.assert_close(function(X), expected)
