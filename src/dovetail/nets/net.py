"""What all nets have in common: their signature, the order of dimensions, what they give."""

from __future__ import annotations

from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from dovetail.errors import DefinitionError
from dovetail.layers.calls import call_site

DataFormat = Literal["channels_last", "channels_first"]
Outputs = tuple[Tensor, dict[str, Tensor]]


class Net(Protocol):
    """A net for images, written with `dovetail.layers`: called inside a model_fn, or in a scope.

    Args:
      inputs: [batch, height, width, channels], floating point; or channels first.
      num_classes: how many logits.
      is_training: of dropout and batch normalisation; None follows the program's mode.
      data_format: "channels_last" or "channels_first": how `inputs` are.

    Returns:
      logits: [batch, num_classes].
      predictions: `classes`, [batch] int64, and `probabilities`, [batch, num_classes].
    """

    def __call__(
        self,
        inputs: Tensor,
        num_classes: int,
        is_training: bool | None = None,
        data_format: DataFormat = "channels_last",
    ) -> Outputs: ...


def channels_last(inputs: Tensor, data_format: DataFormat) -> Tensor:
    """Return images as [batch, height, width, channels], without a copy.

    Raises:
      DefinitionError: data_format is unknown.
    """
    if data_format == "channels_last":
        return inputs
    if data_format == "channels_first":
        return inputs.movedim(1, -1)
    raise DefinitionError(
        f"{call_site()}: data_format={data_format!r}; it must be 'channels_last' or "
        "'channels_first'."
    )


def outputs(logits: Tensor) -> Outputs:
    """Return logits [batch, num_classes] with the predictions that follow from them."""
    return logits, {
        "classes": logits.argmax(-1),
        "probabilities": torch.softmax(logits, -1),
    }


def he_normal(weight: Tensor) -> Tensor:
    """Fill a convolution's weight for layers followed by relu.

    Source: He et al. 2015, "Delving Deep into Rectifiers", https://arxiv.org/abs/1502.01852
    """
    return nn.init.kaiming_normal_(weight, mode="fan_out", nonlinearity="relu")
