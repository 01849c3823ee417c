"""ResNet-44 for images of about 32 x 32 pixels: 0.66 million parameters."""

from __future__ import annotations

from torch import Tensor

from dovetail.nets.net import DataFormat, Outputs
from dovetail.nets.residual import for_small_images


def net(
    inputs: Tensor,
    num_classes: int,
    is_training: bool | None = None,
    data_format: DataFormat = "channels_last",
) -> Outputs:
    """Return logits and predictions; see `dovetail.nets.net.Net`."""
    return for_small_images(inputs, num_classes, is_training, data_format, depth=44)
