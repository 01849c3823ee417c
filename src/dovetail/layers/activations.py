"""Activation functions under the names of `tf.nn`; each is torch's own, with torch's defaults.

`leaky_relu` so has a slope of 0.01 (TensorFlow's is 0.2): pass `functools.partial(leaky_relu,
negative_slope=0.2)` for the latter. `softmax` is taken over the last dimension, as in TensorFlow.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import elu, gelu, leaky_relu, relu, relu6, selu, sigmoid, tanh
from torch.nn.functional import silu as swish

__all__ = [
    "elu",
    "gelu",
    "identity",
    "leaky_relu",
    "relu",
    "relu6",
    "selu",
    "sigmoid",
    "softmax",
    "swish",
    "tanh",
]


def softmax(logits: Tensor, axis: int = -1) -> Tensor:
    """Return `exp(logits) / sum(exp(logits))` along `axis`; same shape as `logits`.

    Example:
      >>> import torch
      >>> softmax(torch.zeros(1, 4))
      tensor([[0.2500, 0.2500, 0.2500, 0.2500]])
    """
    return logits.softmax(axis)


def identity(inputs: Tensor) -> Tensor:
    """Return `inputs` as they are."""
    return inputs
