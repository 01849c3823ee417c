"""Pooling over windows of images, and flattening."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from dovetail.layers.inputs import require_batch, require_images, too_small
from dovetail.layers.padding import is_same, same_padding
from dovetail.layers.parameters import sizes


def max_pool2d(
    inputs: Tensor,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] = 2,
    padding: str = "VALID",
    *,
    scope: str | None = None,
) -> Tensor:
    """Return the largest value in each window of images.

    Args:
      inputs: [batch, height, width, channels], floating point.
      kernel_size: height and width of the window, in pixels; one number for both.
      stride: pixels from one window to the next; one number for both directions.
      padding: 'VALID' (no padding) or 'SAME' (TensorFlow's; padding is never the largest).
      scope: taken so that TensorFlow's code runs; a layer without parameters needs no name.

    Returns:
      [batch, new height, new width, channels].

    Raises:
      DefinitionError: the inputs have another rank or type, or are smaller than the window.

    Example:
      >>> max_pool2d(torch.arange(16.0).reshape(1, 4, 4, 1), 2).flatten().tolist()
      [5.0, 7.0, 13.0, 15.0]
    """
    del scope
    require_images(inputs, "max_pool2d")
    x, kernel, strides, pads = _windows(inputs, kernel_size, stride, padding, "max_pool2d")
    if pads is None:
        y = F.max_pool2d(x, kernel, strides)
    elif pads[0] == pads[1] and pads[2] == pads[3]:
        y = F.max_pool2d(x, kernel, strides, (pads[2], pads[0]))
    else:
        y = F.max_pool2d(F.pad(x, pads, value=float("-inf")), kernel, strides)
    return y.permute(0, 2, 3, 1)


def avg_pool2d(
    inputs: Tensor,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] = 2,
    padding: str = "VALID",
    *,
    scope: str | None = None,
) -> Tensor:
    """Return the mean of each window of images; padding does not count, as in TensorFlow.

    Args:
      inputs: [batch, height, width, channels], floating point.
      kernel_size: height and width of the window, in pixels; one number for both.
      stride: pixels from one window to the next; one number for both directions.
      padding: 'VALID' (no padding) or 'SAME' (TensorFlow's).
      scope: taken so that TensorFlow's code runs; a layer without parameters needs no name.

    Returns:
      [batch, new height, new width, channels].

    Raises:
      DefinitionError: the inputs have another rank or type, or are smaller than the window.

    Example:
      >>> avg_pool2d(torch.ones(1, 3, 3, 1), 2, padding="SAME").flatten().tolist()
      [1.0, 1.0, 1.0, 1.0]
    """
    del scope
    require_images(inputs, "avg_pool2d")
    x, kernel, strides, pads = _windows(inputs, kernel_size, stride, padding, "avg_pool2d")
    if pads is None:
        y = F.avg_pool2d(x, kernel, strides)
    elif pads[0] == pads[1] and pads[2] == pads[3]:
        y = F.avg_pool2d(x, kernel, strides, (pads[2], pads[0]), count_include_pad=False)
    else:
        y = F.avg_pool2d(F.pad(x, pads), kernel, strides)
        ones = torch.ones((1, 1, *x.shape[2:]), dtype=x.dtype, device=x.device)
        y = y / F.avg_pool2d(F.pad(ones, pads), kernel, strides)  # the share that is no padding
    return y.permute(0, 2, 3, 1)


def flatten(inputs: Tensor, *, scope: str | None = None) -> Tensor:
    """Return [batch, everything else] of a tensor [batch, ...].

    Args:
      inputs: at least two dimensions; images are read in the order height, width, channels.
      scope: taken so that TensorFlow's code runs; a layer without parameters needs no name.

    Raises:
      DefinitionError: the inputs have fewer than two dimensions.

    Example:
      >>> flatten(torch.zeros(2, 8, 8, 3)).shape
      torch.Size([2, 192])
    """
    del scope
    require_batch(inputs, "flatten")
    return inputs.flatten(1)


def _windows(
    inputs: Tensor,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int],
    padding: str,
    function: str,
) -> tuple[Tensor, tuple[int, ...], tuple[int, ...], tuple[int, int, int, int] | None]:
    """Return inputs with channels second, kernel, strides and (left, right, top, bottom)."""
    kernel = sizes(kernel_size, 2, "kernel_size")
    strides = sizes(stride, 2, "stride")
    height, width = inputs.shape[1], inputs.shape[2]
    if is_same(padding):
        pads = (
            *same_padding(width, kernel[1], strides[1]),
            *same_padding(height, kernel[0], strides[0]),
        )
    else:
        if height < kernel[0] or width < kernel[1]:
            raise too_small(inputs.shape, kernel, function)
        pads = None
    return inputs.permute(0, 3, 1, 2), kernel, strides, pads
