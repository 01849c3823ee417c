"""Keras' updates that divide by the root of squared gradients: RMSprop, Adagrad, Adadelta, Ftrl."""

# torch keeps its operations on lists of tensors under private names.
# pyright: reportPrivateImportUsage=false

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dovetail.definition.keras.updates import KerasUpdate, Tensors


class KerasRMSprop(KerasUpdate):
    """RMSprop with epsilon under the root, which torch has outside it.

    Source: `keras/src/optimizers/rmsprop.py`.

        v = rho v + (1 - rho) g^2;  a = rho a + (1 - rho) g
        u = lr g / sqrt(v + epsilon);  with centered lr g / sqrt(v - a^2 + epsilon)
        w = w - u;  with momentum m = momentum m + u and w = w - m

    A variance that rounding makes negative counts as 0; Keras' step is nan there.
    """

    def needed(self, group: dict[str, Any]) -> tuple[str, ...]:
        momentum = ("momentum",) if group["momentum"] > 0 else ()
        return ("velocity", *momentum, *(("average_gradient",) if group["centered"] else ()))

    def update(
        self, weights: Tensors, gradients: Tensors, rate: float, group: dict[str, Any]
    ) -> None:
        rho, epsilon = group["rho"], group["epsilon"]
        velocities = self.held(weights, "velocity")
        _average_squares(velocities, gradients, rho)
        if group["centered"]:
            averages = self.held(weights, "average_gradient")
            torch._foreach_mul_(averages, rho)
            torch._foreach_add_(averages, gradients, alpha=1.0 - rho)
            below = list(torch._foreach_addcmul(velocities, averages, averages, value=-1.0))
            torch._foreach_clamp_min_(below, 0.0)
            torch._foreach_add_(below, epsilon)
        else:
            below = list(torch._foreach_add(velocities, epsilon))
        torch._foreach_sqrt_(below)
        updates = list(torch._foreach_mul(gradients, rate))
        torch._foreach_div_(updates, below)
        if group["momentum"] > 0:
            momenta = self.held(weights, "momentum")
            torch._foreach_mul_(momenta, group["momentum"])
            torch._foreach_add_(momenta, updates)
            updates = momenta
        torch._foreach_sub_(weights, updates)


class KerasAdagrad(KerasUpdate):
    """Adagrad with epsilon under the root, which torch has outside it.

    Source: `keras/src/optimizers/adagrad.py`.

        a = a + g^2;  w = w - lr g / sqrt(a + epsilon)
    """

    def start(self, weight: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        if "accumulator" not in state:
            state["accumulator"] = torch.full_like(weight, group["initial_accumulator_value"])

    def update(
        self, weights: Tensors, gradients: Tensors, rate: float, group: dict[str, Any]
    ) -> None:
        sums = self.held(weights, "accumulator")
        torch._foreach_addcmul_(sums, gradients, gradients)
        below = list(torch._foreach_add(sums, group["epsilon"]))
        torch._foreach_sqrt_(below)
        updates = list(torch._foreach_mul(gradients, rate))
        torch._foreach_div_(updates, below)
        torch._foreach_sub_(weights, updates)


class KerasAdadelta(KerasUpdate):
    """Adadelta, which is torch's but for decoupled weight decay and clipping.

    Source: `keras/src/optimizers/adadelta.py`.

        a = rho a + (1 - rho) g^2;  u = g sqrt(d + epsilon) / sqrt(a + epsilon)
        d = rho d + (1 - rho) u^2;  w = w - lr u
    """

    slots = ("accumulated_grad", "accumulated_delta_var")

    def update(
        self, weights: Tensors, gradients: Tensors, rate: float, group: dict[str, Any]
    ) -> None:
        rho, epsilon = group["rho"], group["epsilon"]
        squares, moved = (self.held(weights, slot) for slot in self.slots)
        _average_squares(squares, gradients, rho)
        updates = list(torch._foreach_add(moved, epsilon))
        torch._foreach_sqrt_(updates)
        torch._foreach_mul_(updates, gradients)
        below = list(torch._foreach_add(squares, epsilon))
        torch._foreach_sqrt_(below)
        torch._foreach_div_(updates, below)
        _average_squares(moved, updates, rho)
        torch._foreach_add_(weights, updates, alpha=-rate)


class KerasFtrl(KerasUpdate):
    """FTRL as Keras has it; `ftrl.FtrlProximal` is the paper's, which keeps the initial weights.

    Source: `keras/src/optimizers/ftrl.py`; with p = -learning_rate_power:

        n' = n + g^2
        z = z + g + 2 shrinkage w - (n'^p - n^p) / lr w
        q = n'^p / lr + 2 (l2 + beta / (2 lr))
        w = (clip(z, -l1, l1) - z) / q

    A learning rate of 0 moves nothing and keeps the linear part; Keras' weights are nan there.
    """

    def start(self, weight: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        if "accumulator" not in state:
            state["accumulator"] = torch.full_like(weight, group["initial_accumulator_value"])
            state["linear"] = torch.zeros_like(weight)

    def update(
        self, weights: Tensors, gradients: Tensors, rate: float, group: dict[str, Any]
    ) -> None:
        sums, linear = self.held(weights, "accumulator"), self.held(weights, "linear")
        before = _powers(sums, -group["learning_rate_power"])
        torch._foreach_addcmul_(sums, gradients, gradients)
        if rate == 0.0:
            return
        after = _powers(sums, -group["learning_rate_power"])
        l1 = group["l1_regularization_strength"]
        l2 = group["l2_regularization_strength"] + group["beta"] / (2.0 * rate)
        shrinkage = group["l2_shrinkage_regularization_strength"]
        torch._foreach_add_(linear, gradients)
        torch._foreach_add_(linear, weights, alpha=2.0 * shrinkage)
        change = list(torch._foreach_sub(after, before))
        torch._foreach_div_(change, rate)
        torch._foreach_addcmul_(linear, change, weights, value=-1.0)
        torch._foreach_div_(after, rate)
        torch._foreach_add_(after, 2.0 * l2)
        leaders = list(torch._foreach_clamp_max(linear, l1))
        torch._foreach_clamp_min_(leaders, -l1)
        torch._foreach_sub_(leaders, linear)
        torch._foreach_div_(leaders, after)
        torch._foreach_copy_(weights, leaders)


def _average_squares(averages: Tensors, values: Tensors, rho: float) -> None:
    """Bring running means of squares up to date, in place."""
    torch._foreach_mul_(averages, rho)
    torch._foreach_addcmul_(averages, values, values, value=1.0 - rho)


def _powers(values: Tensors, power: float) -> Tensors:
    if power == 0.5:
        return list(torch._foreach_sqrt(values))
    return list(torch._foreach_pow(values, power))
