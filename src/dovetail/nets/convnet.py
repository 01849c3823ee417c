"""A small convolutional net, for images of 28 x 28 pixels or so and for trying things out."""

from __future__ import annotations

from torch import Tensor

from dovetail import layers
from dovetail.nets.net import DataFormat, Outputs, channels_last, he_normal, outputs


def net(
    inputs: Tensor,
    num_classes: int,
    is_training: bool | None = None,
    data_format: DataFormat = "channels_last",
) -> Outputs:
    """Return logits and predictions; see `dovetail.nets.net.Net`."""
    x = channels_last(inputs, data_format)
    for channels in (32, 64):
        x = layers.conv2d(x, channels, 3, weights_initializer=he_normal)
        x = layers.max_pool2d(x, 2)
    x = layers.fully_connected(layers.flatten(x), 128)
    x = layers.dropout(x, 0.5, is_training=is_training)
    return outputs(layers.fully_connected(x, num_classes, None, scope="logits"))
