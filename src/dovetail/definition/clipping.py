"""Clipping of gradients, by their global norm or each by its value."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from dovetail.definition.optimizer import Optimizer


def clip_gradients(description: Optimizer, parameters: Iterable[Tensor]) -> Tensor | None:
    """Clip the parameters' `.grad` in place as the description says; do nothing where it doesn't.

    Source: `torch.nn.utils.clip_grad_norm_` (the norm over all parameters together) and
    `torch.nn.utils.clip_grad_value_`. torch adds 1e-6 to the norm; descriptions of Keras'
    optimizers don't (`clip_slack`).

    Args:
      description: the optimizer, with `clip_norm`, `clip_value` or neither.
      parameters: all parameters of the update.

    Returns:
      The global norm before clipping, a scalar that is not waited for, with `clip_norm`; else None.
    """
    if description.clip_norm is not None:
        if description.clip_slack == 0.0:
            return _clip_norm_exactly(parameters, description.clip_norm)
        return torch.nn.utils.clip_grad_norm_(parameters, description.clip_norm)
    if description.clip_value is not None:
        torch.nn.utils.clip_grad_value_(parameters, description.clip_value)
    return None


def _clip_norm_exactly(parameters: Iterable[Tensor], largest: float) -> Tensor:
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    share = (largest / norm).clamp_max(1.0)
    by_device: dict[torch.device, list[Tensor]] = {}
    for gradient in gradients:
        by_device.setdefault(gradient.device, []).append(gradient)
    for device, together in by_device.items():
        torch._foreach_mul_(together, share.to(device))  # pyright: ignore[reportPrivateImportUsage]
    return norm
