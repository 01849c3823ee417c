"""Keras' Adafactor, which keeps less than one number for each weight."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from dovetail.definition.keras.updates import KerasUpdate, Tensors


class KerasAdafactor(KerasUpdate):
    """Adafactor: the mean square of a matrix is kept as one of its rows and one of its columns.

    Source: `keras/src/optimizers/adafactor.py`; Shazeer and Stern, "Adafactor: Adaptive Learning
    Rates with Sublinear Memory Cost" (2018). With b = 1 - t^beta_2_decay and s = g^2 + epsilon_1:

        r = b r + (1 - b) mean of s over columns;  c = b c + (1 - b) mean of s over rows
        v = r c / mean(r); with less than two dimensions v = b v + (1 - b) s
        u = g / sqrt(v);  u = u / max(1, rms(u) / clip_threshold)
        w = w - max(epsilon_2, rms(w)) min(lr, 1 / sqrt(t)) u
    """

    def start(self, weight: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        if weight.ndim < 2:
            if "velocity" not in state:
                state["velocity"] = weight.new_zeros(weight.shape)
        elif "rows" not in state:
            state["rows"] = weight.new_zeros(weight.shape[:-1])
            state["columns"] = weight.new_zeros(weight.shape[:-2] + weight.shape[-1:])

    def update(
        self, weights: Tensors, gradients: Tensors, rate: float, group: dict[str, Any]
    ) -> None:
        step = self.steps(weights)
        rate = min(rate, 1.0 / math.sqrt(step))
        share = step ** group["beta_2_decay"]
        for weight, gradient in zip(weights, gradients, strict=True):
            state = self.state[weight]
            squares = gradient.square().add_(group["epsilon_1"])
            if weight.ndim < 2:
                velocity = state["velocity"].lerp_(squares, share)
            else:
                rows = state["rows"].lerp_(squares.mean(dim=-1), share)
                columns = state["columns"].lerp_(squares.mean(dim=-2), share)
                rows = rows / rows.mean(dim=-1, keepdim=True)
                velocity = rows.unsqueeze(-1) * columns.unsqueeze(-2)
            change = gradient / velocity.sqrt()
            length = _rms(weight).clamp_min(group["epsilon_2"])
            excess = (_rms(change) / group["clip_threshold"]).clamp_min(1.0)
            weight.sub_(change.mul_(length / excess * rate))


def _rms(values: Tensor) -> Tensor:
    return values.square().mean().sqrt()
