"""VGG-16 for images of about 224 x 224 pixels: 138 million parameters.

Source: Simonyan and Zisserman 2014, "Very Deep Convolutional Networks for Large-Scale Image
Recognition", configuration D, https://arxiv.org/abs/1409.1556
"""

from __future__ import annotations

from torch import Tensor

from dovetail import layers
from dovetail.nets.net import DataFormat, Outputs, channels_last, he_normal, outputs

_STAGES = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))


def net(
    inputs: Tensor,
    num_classes: int,
    is_training: bool | None = None,
    data_format: DataFormat = "channels_last",
) -> Outputs:
    """Return logits and predictions; see `dovetail.nets.net.Net`."""
    x = channels_last(inputs, data_format)
    for stage, (convolutions, channels) in enumerate(_STAGES, start=1):
        for number in range(1, convolutions + 1):
            x = layers.conv2d(
                x, channels, 3, weights_initializer=he_normal, scope=f"conv{stage}_{number}"
            )
        x = layers.max_pool2d(x, 2)
    x = layers.flatten(x)
    for name in ("fc6", "fc7"):
        x = layers.fully_connected(x, 4096, scope=name)
        x = layers.dropout(x, 0.5, is_training=is_training)
    return outputs(layers.fully_connected(x, num_classes, None, scope="fc8"))
