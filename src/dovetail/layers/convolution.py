"""Convolutions over sequences and images, with TensorFlow's padding.

Tensors are channels-last. A permuted view of a contiguous [batch, height, width, channels] tensor
is what torch calls its channels_last format, so nothing is copied on the way in or out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from dovetail.layers.activations import relu
from dovetail.layers.inputs import require_images, require_sequences, warn_if_channels_first
from dovetail.layers.layer import find
from dovetail.layers.normalization import normalize
from dovetail.layers.padding import is_same
from dovetail.layers.parameters import (
    First,
    Initializer,
    fill,
    positive,
    sizes,
    xavier_uniform,
    zeros,
)
from dovetail.layers.regularizers import Regularizer, collect
from dovetail.layers.windows import Convolution1d, Convolution2d, ConvolutionTranspose2d

Size = int | Sequence[int]


def conv2d(
    inputs: Tensor,
    num_outputs: int,
    kernel_size: Size,
    stride: Size = 1,
    padding: str = "SAME",
    *,
    rate: Size = 1,
    activation_fn: Callable[[Tensor], Tensor] | None = relu,
    normalizer_fn: Callable[..., Tensor] | None = None,
    normalizer_params: Mapping[str, Any] | None = None,
    weights_initializer: Initializer = xavier_uniform,
    weights_regularizer: Regularizer | None = None,
    biases_initializer: Initializer | None = zeros,
    biases_regularizer: Regularizer | None = None,
    trainable: bool = True,
    scope: str | None = None,
) -> Tensor:
    """Convolve images.

    Args:
      inputs: [batch, height, width, channels], floating point.
      num_outputs: number of output channels.
      kernel_size: height and width of the window, in weights; one number for both.
      stride: pixels from one window to the next; one number for both directions.
      padding: 'SAME' (ceil(size / stride) outputs, padded as TensorFlow does) or 'VALID' (none).
      rate: pixels from one weight of a window to the next; one number for both directions.
      activation_fn: applied to the result; None for none.
      normalizer_fn: such as `batch_norm`, applied before the activation; then there is no bias.
      normalizer_params: its keyword arguments.
      weights_initializer: fills the weight, [num_outputs, channels, height, width], in place.
      weights_regularizer: penalty of the weight, see `regularization_loss`.
      biases_initializer: fills the bias, shape [num_outputs]; None for no bias.
      biases_regularizer: penalty of the bias.
      trainable: whether weight and bias are trained.
      scope: name of the layer; the same name twice shares the layer.

    Returns:
      [batch, new height, new width, num_outputs].

    Raises:
      DefinitionError: the inputs have another rank, type or number of channels than at first, or
        are smaller than an unpadded window.

    Example:
      >>> import torch
      >>> from dovetail import layers
      >>> with layers.scope():
      ...     layers.conv2d(torch.ones(8, 28, 28, 1), 32, 3, stride=2).shape
      torch.Size([8, 14, 14, 32])
    """
    require_images(inputs, "conv2d")
    return _convolve(
        "conv2d",
        inputs,
        num_outputs,
        kernel_size,
        stride,
        padding,
        rate,
        activation_fn,
        normalizer_fn,
        normalizer_params,
        weights_initializer,
        weights_regularizer,
        biases_initializer,
        biases_regularizer,
        trainable,
        scope,
    )


def conv1d(
    inputs: Tensor,
    num_outputs: int,
    kernel_size: int,
    stride: int = 1,
    padding: str = "SAME",
    *,
    rate: int = 1,
    activation_fn: Callable[[Tensor], Tensor] | None = relu,
    normalizer_fn: Callable[..., Tensor] | None = None,
    normalizer_params: Mapping[str, Any] | None = None,
    weights_initializer: Initializer = xavier_uniform,
    weights_regularizer: Regularizer | None = None,
    biases_initializer: Initializer | None = zeros,
    biases_regularizer: Regularizer | None = None,
    trainable: bool = True,
    scope: str | None = None,
) -> Tensor:
    """Convolve sequences; as `conv2d`, with one dimension of positions.

    Args:
      inputs: [batch, length, channels], floating point.
      num_outputs: number of output channels.
      kernel_size: length of the window, in weights.
      stride: positions from one window to the next.
      padding: 'SAME' or 'VALID'.
      rate: positions from one weight of a window to the next.
      activation_fn: applied to the result; None for none.
      normalizer_fn: such as `batch_norm`, applied before the activation; then there is no bias.
      normalizer_params: its keyword arguments.
      weights_initializer: fills the weight, shape [num_outputs, channels, length], in place.
      weights_regularizer: penalty of the weight.
      biases_initializer: fills the bias, shape [num_outputs]; None for no bias.
      biases_regularizer: penalty of the bias.
      trainable: whether weight and bias are trained.
      scope: name of the layer; the same name twice shares the layer.

    Returns:
      [batch, new length, num_outputs].

    Raises:
      DefinitionError: as `conv2d`.

    Example:
      >>> import torch
      >>> from dovetail import layers
      >>> with layers.scope():
      ...     layers.conv1d(torch.ones(8, 100, 4), 16, 5, padding="VALID").shape
      torch.Size([8, 96, 16])
    """
    require_sequences(inputs, "conv1d")
    return _convolve(
        "conv1d",
        inputs,
        num_outputs,
        kernel_size,
        stride,
        padding,
        rate,
        activation_fn,
        normalizer_fn,
        normalizer_params,
        weights_initializer,
        weights_regularizer,
        biases_initializer,
        biases_regularizer,
        trainable,
        scope,
    )


def conv2d_transpose(
    inputs: Tensor,
    num_outputs: int,
    kernel_size: Size,
    stride: Size = 1,
    padding: str = "SAME",
    *,
    activation_fn: Callable[[Tensor], Tensor] | None = relu,
    normalizer_fn: Callable[..., Tensor] | None = None,
    normalizer_params: Mapping[str, Any] | None = None,
    weights_initializer: Initializer = xavier_uniform,
    weights_regularizer: Regularizer | None = None,
    biases_initializer: Initializer | None = zeros,
    biases_regularizer: Regularizer | None = None,
    trainable: bool = True,
    scope: str | None = None,
) -> Tensor:
    """Grow images: the gradient of `conv2d` by its inputs, used as a layer.

    Args:
      inputs: [batch, height, width, channels], floating point.
      num_outputs: number of output channels.
      kernel_size: height and width of the window, in weights; one number for both.
      stride: output pixels for each input pixel; one number for both directions.
      padding: 'SAME' (size * stride outputs) or 'VALID' (whole windows).
      activation_fn: applied to the result; None for none.
      normalizer_fn: such as `batch_norm`, applied before the activation; then there is no bias.
      normalizer_params: its keyword arguments.
      weights_initializer: fills the weight, [channels, num_outputs, height, width], in place.
      weights_regularizer: penalty of the weight.
      biases_initializer: fills the bias, shape [num_outputs]; None for no bias.
      biases_regularizer: penalty of the bias.
      trainable: whether weight and bias are trained.
      scope: name of the layer; the same name twice shares the layer.

    Returns:
      [batch, new height, new width, num_outputs].

    Raises:
      DefinitionError: as `conv2d`.

    Example:
      >>> import torch
      >>> from dovetail import layers
      >>> with layers.scope():
      ...     layers.conv2d_transpose(torch.ones(8, 7, 7, 16), 4, 3, stride=2).shape
      torch.Size([8, 14, 14, 4])
    """
    require_images(inputs, "conv2d_transpose")
    return _convolve(
        "conv2d_transpose",
        inputs,
        num_outputs,
        kernel_size,
        stride,
        padding,
        1,
        activation_fn,
        normalizer_fn,
        normalizer_params,
        weights_initializer,
        weights_regularizer,
        biases_initializer,
        biases_regularizer,
        trainable,
        scope,
    )


# kind -> the module, its dimensions of positions, the way to torch's order of dimensions, and back
_KINDS: dict[str, tuple[Any, int, tuple[int, ...], tuple[int, ...]]] = {
    "conv1d": (Convolution1d, 1, (0, 2, 1), (0, 2, 1)),
    "conv2d": (Convolution2d, 2, (0, 3, 1, 2), (0, 2, 3, 1)),
    "conv2d_transpose": (ConvolutionTranspose2d, 2, (0, 3, 1, 2), (0, 2, 3, 1)),
}


def convolution(
    kind: str,
    in_channels: int,
    num_outputs: int,
    kernel_size: Size,
    stride: Size,
    padding: str,
    rate: Size,
    weights_initializer: Initializer,
    biases_initializer: Initializer | None,
    trainable: bool,
    first: First,
) -> nn.Module:
    """Return a convolution module with the given first values."""
    module_class, rank, _, _ = _KINDS[kind]
    warn_if_channels_first(first.shape)
    module = module_class(
        in_channels,
        positive(num_outputs, f"num_outputs of {kind}"),
        sizes(kernel_size, rank, f"kernel_size of {kind}"),
        stride=sizes(stride, rank, f"stride of {kind}"),
        dilation=sizes(rate, rank, f"rate of {kind}"),
        bias=biases_initializer is not None,
        dtype=first.weight_dtype(),
    )
    module.same = is_same(padding)
    fill(module.weight, weights_initializer)
    if biases_initializer is not None:
        fill(module.bias, biases_initializer)
    return module.requires_grad_(trainable)


def _convolve(
    kind: str,
    inputs: Tensor,
    num_outputs: int,
    kernel_size: Size,
    stride: Size,
    padding: str,
    rate: Size,
    activation_fn: Callable[[Tensor], Tensor] | None,
    normalizer_fn: Callable[..., Tensor] | None,
    normalizer_params: Mapping[str, Any] | None,
    weights_initializer: Initializer,
    weights_regularizer: Regularizer | None,
    biases_initializer: Initializer | None,
    biases_regularizer: Regularizer | None,
    trainable: bool,
    scope: str | None,
) -> Tensor:
    settings = {
        "kind": kind,
        "in_channels": inputs.shape[-1],
        "num_outputs": num_outputs,
        "kernel_size": kernel_size,
        "stride": stride,
        "padding": padding,
        "rate": rate,
        "weights_initializer": weights_initializer,
        "biases_initializer": biases_initializer if normalizer_fn is None else None,
        "trainable": trainable,
    }
    module = find(convolution, (), settings, scope, kind, inputs)
    _, _, to_torch, back = _KINDS[kind]
    outputs = module(inputs.permute(to_torch)).permute(back)
    if weights_regularizer is not None:
        collect(module.weight, weights_regularizer, scope, "weight")
    if biases_regularizer is not None and module.bias is not None:
        collect(module.bias, biases_regularizer, scope, "bias")
    if normalizer_fn is not None:
        outputs = normalize(outputs, normalizer_fn, normalizer_params, scope)
    return outputs if activation_fn is None else activation_fn(outputs)
