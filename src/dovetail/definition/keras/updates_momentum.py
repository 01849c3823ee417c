"""Keras' updates that go by the gradient's direction: SGD with momentum, and Lion."""

# torch keeps its operations on lists of tensors under private names.
# pyright: reportPrivateImportUsage=false

from __future__ import annotations

from typing import Any

import torch

from dovetail.definition.keras.updates import KerasUpdate, Tensors


class KerasSGD(KerasUpdate):
    """Gradient descent whose momentum holds the learning rate of each step.

    Source: `keras/src/optimizers/sgd.py`. torch multiplies the momentum by the rate of the day
    instead, which differs as soon as the rate changes.

        m = momentum m - lr g
        w = w + m; with nesterov w + momentum m - lr g

    >>> weight = torch.nn.Parameter(torch.tensor([1.0]))
    >>> optimizer = KerasSGD([weight], lr=0.5, momentum=0.5, nesterov=False)
    >>> weight.grad = torch.tensor([1.0])
    >>> _ = optimizer.step(), optimizer.step()
    >>> weight.item()
    -0.25
    """

    def needed(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("momentum",) if group["momentum"] else ()

    def update(
        self, weights: Tensors, gradients: Tensors, rate: float, group: dict[str, Any]
    ) -> None:
        share = group["momentum"]
        if not share:
            torch._foreach_add_(weights, gradients, alpha=-rate)
            return
        momenta = self.held(weights, "momentum")
        torch._foreach_mul_(momenta, share)
        torch._foreach_add_(momenta, gradients, alpha=-rate)
        if group["nesterov"]:
            torch._foreach_add_(weights, gradients, alpha=-rate)
            torch._foreach_add_(weights, momenta, alpha=share)
        else:
            torch._foreach_add_(weights, momenta)


class KerasLion(KerasUpdate):
    """Lion: the sign of a mean of gradients.

    Source: `keras/src/optimizers/lion.py`; Chen et al., "Symbolic Discovery of Optimization
    Algorithms" (2023).

        w = w - lr sign(beta_1 m + (1 - beta_1) g)
        m = beta_2 m + (1 - beta_2) g
    """

    slots = ("momentum",)

    def update(
        self, weights: Tensors, gradients: Tensors, rate: float, group: dict[str, Any]
    ) -> None:
        momenta = self.held(weights, "momentum")
        signs = list(torch._foreach_mul(momenta, group["beta_1"]))
        torch._foreach_add_(signs, gradients, alpha=1.0 - group["beta_1"])
        torch._foreach_sign_(signs)
        torch._foreach_add_(weights, signs, alpha=-rate)
        torch._foreach_mul_(momenta, group["beta_2"])
        torch._foreach_add_(momenta, gradients, alpha=1.0 - group["beta_2"])
