"""Layers that draw random numbers: dropout."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from dovetail.errors import DefinitionError
from dovetail.layers.calls import call_site
from dovetail.layers.inputs import require_batch
from dovetail.layers.store import current_frame


def dropout(
    inputs: Tensor,
    keep_prob: float = 0.5,
    *,
    is_training: bool | None = None,
    scope: str | None = None,
) -> Tensor:
    """In training, set values to zero at random and divide the others by `keep_prob`.

    The random numbers are torch's default ones, which a program seeds for each step.

    Args:
      inputs: [batch, ...], floating point.
      keep_prob: probability that a value is kept (torch's `p` is the opposite, 1 - keep_prob).
      is_training: None follows the program's mode; True or False pin it.
      scope: taken so that TensorFlow's code runs; a layer without parameters needs no name.

    Returns:
      The same shape as `inputs`.

    Raises:
      DefinitionError: keep_prob is not above 0 and at most 1.

    Source: Srivastava et al. 2014, https://jmlr.org/papers/v15/srivastava14a.html

    Example:
      >>> import torch
      >>> from dovetail import layers
      >>> with layers.scope():
      ...     layers.dropout(torch.ones(1, 100), 0.25).unique().tolist()
      [0.0, 4.0]
    """
    del scope
    require_batch(inputs, "dropout")
    if not 0 < keep_prob <= 1:
        raise DefinitionError(
            f"{call_site()}: keep_prob of dropout is the probability that a value is kept, above 0 "
            f"and at most 1; it is {keep_prob!r}."
        )
    frame = current_frame()
    training = frame.owner.training if is_training is None else bool(is_training)
    return F.dropout(inputs, 1.0 - keep_prob, True) if training else inputs
