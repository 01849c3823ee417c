"""Residual networks, for small images and for large ones: what the modules named resnet have.

Source: He, Zhang, Ren and Sun 2015, "Deep Residual Learning for Image Recognition",
https://arxiv.org/abs/1512.03385
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor
from torch.nn import functional

from dovetail import layers
from dovetail.nets.net import DataFormat, Outputs, channels_last, he_normal, outputs

Unit = Callable[[Tensor, int, int], Tensor]
"""A residual unit: (inputs, channels, stride) -> outputs, inside a block of its own."""


def for_small_images(
    inputs: Tensor,
    num_classes: int,
    is_training: bool | None,
    data_format: DataFormat,
    *,
    depth: int,
) -> Outputs:
    """The paper's networks of 6n + 2 layers for CIFAR (section 4.2).

    Shortcuts to fewer, wider maps take every second pixel and add channels of zeros (option A), so
    they have no parameters.

    Args:
      inputs, num_classes, is_training, data_format: as `dovetail.nets.net.Net` has them.
      depth: 6n + 2: 20, 32, 44, 56 or 110 in the paper.
    """
    units, left = divmod(depth - 2, 6)
    assert left == 0, depth
    conv, normed = _layers(is_training)

    def unit(x: Tensor, channels: int, stride: int) -> Tensor:
        y = conv(x, channels, 3, stride, normalizer_fn=normed)
        y = conv(y, channels, 3, normalizer_fn=normed, activation_fn=None)
        return functional.relu(y + _narrowed(x, channels, stride))

    x = conv(channels_last(inputs, data_format), 16, 3, normalizer_fn=normed)
    x = _stages(x, unit, channels=(16, 32, 64), units=(units,) * 3)
    logits = layers.fully_connected(x.mean((1, 2)), num_classes, None, scope="logits")
    return outputs(logits)


def for_large_images(
    inputs: Tensor,
    num_classes: int,
    is_training: bool | None,
    data_format: DataFormat,
    *,
    units: Sequence[int],
    bottleneck: bool = False,
) -> Outputs:
    """The paper's networks for ImageNet (table 1), with projections where sizes change (option B).

    Args:
      inputs, num_classes, is_training, data_format: as `dovetail.nets.net.Net` has them.
      units: how many residual units each of the four stages has.
      bottleneck: units of three convolutions, 1x1, 3x3 and 1x1, that quadruple the channels; the
        stride is that of the 3x3, as in later implementations, which changes no count.
    """
    conv, normed = _layers(is_training)
    wider = 4 if bottleneck else 1

    def unit(x: Tensor, channels: int, stride: int) -> Tensor:
        if bottleneck:
            y = conv(x, channels, 1, normalizer_fn=normed)
            y = conv(y, channels, 3, stride, normalizer_fn=normed)
        else:
            y = conv(x, channels, 3, stride, normalizer_fn=normed)
        size = 1 if bottleneck else 3
        y = conv(y, channels * wider, size, normalizer_fn=normed, activation_fn=None)
        if stride != 1 or x.shape[-1] != channels * wider:
            x = conv(
                x,
                channels * wider,
                1,
                stride,
                normalizer_fn=normed,
                activation_fn=None,
                scope="projection",
            )
        return functional.relu(y + x)

    x = conv(channels_last(inputs, data_format), 64, 7, 2, normalizer_fn=normed)
    x = layers.max_pool2d(x, 3, 2, "SAME")
    x = _stages(x, unit, channels=(64, 128, 256, 512), units=units)
    logits = layers.fully_connected(x.mean((1, 2)), num_classes, None, scope="logits")
    return outputs(logits)


def _layers(is_training: bool | None) -> tuple[Callable[..., Tensor], Callable[..., Tensor]]:
    """Return the convolution and the normalisation that all residual networks here use."""
    conv = partial(layers.conv2d, weights_initializer=he_normal)
    normed = partial(
        layers.batch_norm, decay=0.9, scale=True, epsilon=1e-5, is_training=is_training
    )
    return conv, normed


def _stages(x: Tensor, unit: Unit, *, channels: Sequence[int], units: Sequence[int]) -> Tensor:
    """Apply stages of residual units; each stage but the first begins with a stride of 2."""
    for stage, (width, count) in enumerate(zip(channels, units, strict=True), start=1):
        for number in range(1, count + 1):
            stride = 2 if stage > 1 and number == 1 else 1
            x = layers.block(unit, x, width, stride, name=f"stage{stage}_unit{number}")
    return x


def _narrowed(x: Tensor, channels: int, stride: int) -> Tensor:
    """Return every `stride`-th pixel of x, with channels of zeros added up to `channels`."""
    if stride != 1:
        x = x[:, ::stride, ::stride]
    return functional.pad(x, (0, channels - x.shape[-1])) if x.shape[-1] < channels else x
