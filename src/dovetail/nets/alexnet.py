"""AlexNet for images of 227 x 227 pixels: 61 million parameters.

Source: Krizhevsky, Sutskever and Hinton 2012, "ImageNet Classification with Deep Convolutional
Neural Networks". Its two GPUs are the two groups of the second, fourth and fifth convolution.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from dovetail import layers
from dovetail.nets.net import DataFormat, Outputs, channels_last, outputs


def net(
    inputs: Tensor,
    num_classes: int,
    is_training: bool | None = None,
    data_format: DataFormat = "channels_last",
) -> Outputs:
    """Return logits and predictions; see `dovetail.nets.net.Net`. Smaller images work from 67."""
    x = channels_last(inputs, data_format).permute(0, 3, 1, 2)
    x = _conv("conv1", x, 96, 11, stride=4)
    x = functional.max_pool2d(_normed(x), 3, 2)
    x = _conv("conv2", x, 256, 5, padding=2, groups=2)
    x = functional.max_pool2d(_normed(x), 3, 2)
    x = _conv("conv3", x, 384, 3, padding=1)
    x = _conv("conv4", x, 384, 3, padding=1, groups=2)
    x = _conv("conv5", x, 256, 3, padding=1, groups=2)
    x = functional.max_pool2d(x, 3, 2).flatten(1)
    for name in ("fc6", "fc7"):
        x = layers.dropout(x, 0.5, is_training=is_training)
        x = layers.fully_connected(x, 4096, scope=name)
    return outputs(layers.fully_connected(x, num_classes, None, scope="fc8"))


def _conv(name: str, x: Tensor, channels: int, size: int, **more: int) -> Tensor:
    module = layers.layer(nn.Conv2d, x.shape[1], channels, size, name=name, **more)
    return functional.relu(module(x))


def _normed(x: Tensor) -> Tensor:
    """Normalise over five neighbouring channels; torch divides alpha by their number."""
    return functional.local_response_norm(x, 5, alpha=5 * 1e-4, beta=0.75, k=2.0)
