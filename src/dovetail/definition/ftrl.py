"""FTRL-Proximal as a torch optimizer, which torch itself does not have."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class FtrlProximal(torch.optim.Optimizer):
    """Follow the (proximally) regularised leader, with a learning rate for each coordinate.

    Source: McMahan et al., "Ad Click Prediction: a View from the Trenches" (2013), algorithm 1.
    With sigma_{1:t} = 1 / eta_t and 1 / eta_t = (beta + sqrt(n_t)) / learning_rate:

        z_t = z_{t-1} + g_t - (1 / eta_t - 1 / eta_{t-1}) w_t
        w_{t+1} = 0 where |z_t| <= l1, else -(z_t - sign(z_t) l1) / (1 / eta_t + l2)

    The paper starts at w = 0. Here the first sigma is the whole of 1 / eta_1, so any initial
    weights are the centre of the first step and are kept (TensorFlow's version pulls them to 0
    at once); and 1 / eta is stored, so that a learning rate that changes does not rescale the
    weights. A step with a learning rate of 0 moves nothing.

    Args:
      params: parameters, named parameters or groups of them.
      lr: the paper's alpha.
      beta: added to the root of the sum of squared gradients.
      initial_accumulator_value: where the sum of squared gradients starts.
      l1_regularization_strength: the paper's lambda_1; above 0 it makes weights exactly 0.
      l2_regularization_strength: the paper's lambda_2.

    >>> weight = torch.nn.Parameter(torch.tensor([1.0]))
    >>> optimizer = FtrlProximal([weight], lr=0.5, initial_accumulator_value=0.0)
    >>> weight.grad = torch.tensor([2.0])
    >>> _ = optimizer.step()
    >>> weight.item()
    0.5
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        beta: float = 0.0,
        initial_accumulator_value: float = 0.1,
        l1_regularization_strength: float = 0.0,
        l2_regularization_strength: float = 0.0,
    ) -> None:
        defaults = {
            "lr": lr,
            "beta": beta,
            "initial_accumulator_value": initial_accumulator_value,
            "l1_regularization_strength": l1_regularization_strength,
            "l2_regularization_strength": l2_regularization_strength,
        }
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Update every parameter that has a gradient.

        Args:
          closure: computes the loss anew, with gradients, and returns it.

        Returns:
          The closure's loss, or None.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group)
        return loss

    def _update(self, weight: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        if gradient.is_sparse:
            raise RuntimeError("FtrlProximal takes dense gradients; use sparse=False")
        state = self.state[weight]
        if not state:
            start = group["initial_accumulator_value"]
            state["accumulator"] = torch.full_like(weight, start)
            state["linear"] = torch.zeros_like(weight)
            state["inverse_rate"] = torch.zeros_like(weight)
        accumulator, linear = state["accumulator"], state["linear"]
        accumulator.addcmul_(gradient, gradient)
        if float(group["lr"]) == 0.0:
            return
        inverse_rate = (accumulator.sqrt() + group["beta"]) / group["lr"]
        sigma = inverse_rate - state["inverse_rate"]
        linear.add_(gradient).sub_(sigma * weight)
        state["inverse_rate"].copy_(inverse_rate)
        l1 = group["l1_regularization_strength"]
        leader = -torch.sign(linear) * (linear.abs() - l1).clamp_min(0.0)
        curvature = inverse_rate + group["l2_regularization_strength"]
        # Without any gradient yet and nothing added to it, there is no step to take.
        weight.copy_(torch.where(curvature > 0, leader / curvature, weight))
