"""Keras' updates of the Adam family: Adam, Adamax, Nadam, Lamb."""

# torch keeps its operations on lists of tensors under private names.
# pyright: reportPrivateImportUsage=false

from __future__ import annotations

import math
from typing import Any

import torch

from dovetail.definition.keras.updates import KerasUpdate, Tensors


class KerasAdam(KerasUpdate):
    """Adam whose epsilon is the "epsilon hat" of the paper's section 2.1.

    Source: `keras/src/optimizers/adam.py`; Kingma and Ba (2015). torch adds its epsilon after the
    second mean is corrected for its start, so that tiny gradients move weights differently.

        m = beta_1 m + (1 - beta_1) g;  v = beta_2 v + (1 - beta_2) g^2
        w = w - lr sqrt(1 - beta_2^t) / (1 - beta_1^t) m / (sqrt(v) + epsilon)

    With amsgrad the largest v so far takes its place in the last line.
    """

    def needed(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("momentum", "velocity", *(("velocity_hat",) if group["amsgrad"] else ()))

    def update(
        self, weights: Tensors, gradients: Tensors, rate: float, group: dict[str, Any]
    ) -> None:
        momenta, velocities = _means(self, weights, gradients, group)
        step = self.steps(weights)
        if group["amsgrad"]:
            largest = self.held(weights, "velocity_hat")
            torch._foreach_maximum_(largest, velocities)
            velocities = largest
        left = math.sqrt(1.0 - group["beta_2"] ** step) / (1.0 - group["beta_1"] ** step)
        below = list(torch._foreach_sqrt(velocities))
        torch._foreach_add_(below, group["epsilon"])
        torch._foreach_addcdiv_(weights, momenta, below, value=-rate * left)


class KerasAdamax(KerasUpdate):
    """Adamax, with epsilon beside the norm and not within its maximum, where torch has it.

    Source: `keras/src/optimizers/adamax.py`; Kingma and Ba (2015), section 7.1.

        m = beta_1 m + (1 - beta_1) g;  u = max(beta_2 u, |g|)
        w = w - lr / (1 - beta_1^t) m / (u + epsilon)
    """

    slots = ("momentum", "norm")

    def update(
        self, weights: Tensors, gradients: Tensors, rate: float, group: dict[str, Any]
    ) -> None:
        momenta, norms = (self.held(weights, slot) for slot in self.slots)
        torch._foreach_mul_(momenta, group["beta_1"])
        torch._foreach_add_(momenta, gradients, alpha=1.0 - group["beta_1"])
        torch._foreach_mul_(norms, group["beta_2"])
        torch._foreach_maximum_(norms, torch._foreach_abs(gradients))
        below = list(torch._foreach_add(norms, group["epsilon"]))
        left = 1.0 - group["beta_1"] ** self.steps(weights)
        torch._foreach_addcdiv_(weights, momenta, below, value=-rate / left)


class KerasNadam(KerasUpdate):
    """Adam with Nesterov's momentum; the share of it grows by a schedule of its own.

    Source: `keras/src/optimizers/nadam.py`; Dozat, "Incorporating Nesterov Momentum into Adam"
    (2016). torch's decays by 0.96^(t / 250) instead of 0.96^t.

        s_t = beta_1 (1 - 0.96^t / 2);  p = s_1 s_2 ... s_t
        m = beta_1 m + (1 - beta_1) g;  v = beta_2 v + (1 - beta_2) g^2
        h = s_{t+1} m / (1 - p s_{t+1}) + (1 - s_t) g / (1 - p)
        w = w - lr h / (sqrt(v / (1 - beta_2^t)) + epsilon)
    """

    slots = ("momentum", "velocity")

    def count(self, state: dict[str, Any], group: dict[str, Any]) -> None:
        super().count(state, group)
        share = _nesterov_share(group, state["step"])
        state["share_product"] = state.get("share_product", 1.0) * share

    def update(
        self, weights: Tensors, gradients: Tensors, rate: float, group: dict[str, Any]
    ) -> None:
        momenta, velocities = _means(self, weights, gradients, group)
        step = self.steps(weights)
        product = self.state[weights[0]]["share_product"]
        now, then = _nesterov_share(group, step), _nesterov_share(group, step + 1)
        ahead = list(torch._foreach_mul(momenta, then / (1.0 - product * then)))
        torch._foreach_add_(ahead, gradients, alpha=(1.0 - now) / (1.0 - product))
        below = list(torch._foreach_div(velocities, 1.0 - group["beta_2"] ** step))
        torch._foreach_sqrt_(below)
        torch._foreach_add_(below, group["epsilon"])
        torch._foreach_addcdiv_(weights, ahead, below, value=-rate)


class KerasLamb(KerasUpdate):
    """Adam whose update of each parameter is as long as the parameter, times the rate.

    Source: `keras/src/optimizers/lamb.py`; You et al., "Large Batch Optimization for Deep
    Learning" (2020).

        u = m / (1 - beta_1^t) / (sqrt(v / (1 - beta_2^t)) + epsilon), with Adam's m and v
        w = w - lr |w| / |u| u, the ratio being 1 where either norm is 0
    """

    slots = ("momentum", "velocity")

    def update(
        self, weights: Tensors, gradients: Tensors, rate: float, group: dict[str, Any]
    ) -> None:
        momenta, velocities = _means(self, weights, gradients, group)
        step = self.steps(weights)
        below = list(torch._foreach_div(velocities, 1.0 - group["beta_2"] ** step))
        torch._foreach_sqrt_(below)
        torch._foreach_add_(below, group["epsilon"])
        torch._foreach_mul_(below, 1.0 - group["beta_1"] ** step)
        updates = list(torch._foreach_div(momenta, below))
        norms = zip(torch._foreach_norm(weights), torch._foreach_norm(updates), strict=True)
        ratios = [torch.where((w > 0) & (u > 0), w / u, torch.ones_like(w)) for w, u in norms]
        torch._foreach_mul_(updates, ratios)
        torch._foreach_add_(weights, updates, alpha=-rate)


def _means(
    optimizer: KerasUpdate, weights: Tensors, gradients: Tensors, group: dict[str, Any]
) -> tuple[Tensors, Tensors]:
    """Bring the means of gradients and of their squares up to date, and return both."""
    momenta, velocities = (optimizer.held(weights, slot) for slot in ("momentum", "velocity"))
    torch._foreach_mul_(momenta, group["beta_1"])
    torch._foreach_add_(momenta, gradients, alpha=1.0 - group["beta_1"])
    torch._foreach_mul_(velocities, group["beta_2"])
    torch._foreach_addcmul_(velocities, gradients, gradients, value=1.0 - group["beta_2"])
    return momenta, velocities


def _nesterov_share(group: dict[str, Any], step: int) -> float:
    return group["beta_1"] * (1.0 - 0.5 * 0.96**step)
