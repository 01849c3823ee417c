"""Fully connected layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from dovetail.layers.activations import relu
from dovetail.layers.inputs import require_features
from dovetail.layers.layer import find
from dovetail.layers.normalization import normalize
from dovetail.layers.parameters import (
    First,
    Initializer,
    fill,
    positive,
    xavier_uniform,
    zeros,
)
from dovetail.layers.regularizers import Regularizer, collect


def linear(
    in_features: int,
    num_outputs: int,
    weights_initializer: Initializer,
    biases_initializer: Initializer | None,
    trainable: bool,
    first: First,
) -> nn.Linear:
    """Return a torch linear layer with the given first values."""
    module = nn.Linear(
        in_features,
        positive(num_outputs, "num_outputs of fully_connected"),
        bias=biases_initializer is not None,
        dtype=first.weight_dtype(),
    )
    fill(module.weight, weights_initializer)
    if biases_initializer is not None:
        fill(module.bias, biases_initializer)
    return module.requires_grad_(trainable)


def fully_connected(
    inputs: Tensor,
    num_outputs: int,
    activation_fn: Callable[[Tensor], Tensor] | None = relu,
    normalizer_fn: Callable[..., Tensor] | None = None,
    normalizer_params: Mapping[str, Any] | None = None,
    weights_initializer: Initializer = xavier_uniform,
    weights_regularizer: Regularizer | None = None,
    biases_initializer: Initializer | None = zeros,
    biases_regularizer: Regularizer | None = None,
    *,
    trainable: bool = True,
    scope: str | None = None,
) -> Tensor:
    """Return `activation_fn(inputs @ weight.T + bias)`, over the last dimension.

    Args:
      inputs: [batch, ..., features], floating point. Use `flatten` first for one output per image.
      num_outputs: number of output features.
      activation_fn: applied to the result; None for none (logits).
      normalizer_fn: such as `batch_norm`, applied before the activation; then there is no bias.
      normalizer_params: its keyword arguments.
      weights_initializer: fills the weight, shape [num_outputs, features], in place.
      weights_regularizer: penalty of the weight, see `regularization_loss`.
      biases_initializer: fills the bias, shape [num_outputs]; None for no bias.
      biases_regularizer: penalty of the bias.
      trainable: whether weight and bias are trained.
      scope: name of the layer; the same name twice shares the layer.

    Returns:
      [batch, ..., num_outputs].

    Raises:
      DefinitionError: the inputs have another rank, type or number of features than at first.

    Example:
      >>> import torch
      >>> from dovetail import layers
      >>> with layers.scope():
      ...     layers.fully_connected(torch.ones(8, 3), 10).shape
      torch.Size([8, 10])
    """
    require_features(inputs, "fully_connected")
    settings = {
        "in_features": inputs.shape[-1],
        "num_outputs": num_outputs,
        "weights_initializer": weights_initializer,
        "biases_initializer": biases_initializer if normalizer_fn is None else None,
        "trainable": trainable,
    }
    module = find(linear, (), settings, scope, "fully_connected", inputs)
    outputs = module(inputs)
    if weights_regularizer is not None:
        collect(module.weight, weights_regularizer, scope, "weight")
    if biases_regularizer is not None and module.bias is not None:
        collect(module.bias, biases_regularizer, scope, "bias")
    if normalizer_fn is not None:
        outputs = normalize(outputs, normalizer_fn, normalizer_params, scope)
    return outputs if activation_fn is None else activation_fn(outputs)


dense = fully_connected
