"""Keras' Muon: orthogonal updates of matrices, and Adam for the rest."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any

from torch import Tensor

from dovetail.definition.keras.updates import Tensors
from dovetail.definition.keras.updates_adam import KerasAdam


class KerasMuon(KerasAdam):
    """An update of each matrix all of whose singular values are near 1.

    Source: `keras/src/optimizers/muon.py`; Jordan et al., "Muon: An optimizer for hidden layers"
    (2024); the length is that of Liu et al., "Muon is Scalable for LLM Training" (2025).

        m = momentum m + g;  X = m, with nesterov g + momentum m, divided by its norm
        ns_steps times: A = X X^T;  X = muon_a X + (muon_b A + muon_c A A) X
        w = w - lr rms_rate sqrt(max(rows, columns)) X

    A parameter counts as a matrix if it has two dimensions, and its name has no "embedding" in it
    (with `exclude_embeddings`) and nothing that `exclude_layers` look for: regular expressions on
    names with "/" in place of ".", like Keras' paths. The others have Keras' Adam, with
    `adam_weight_decay` and the rate times `adam_lr_ratio`.
    """

    def __init__(self, params: Iterable[Any], lr: float = 1e-3, **settings: Any) -> None:
        adam = {"beta_1": settings.pop("adam_beta_1"), "beta_2": settings.pop("adam_beta_2")}
        super().__init__(params, lr, **adam, amsgrad=False, **settings)

    def is_other(self, weight: Tensor, group: dict[str, Any]) -> bool:
        """Whether a parameter is no matrix; kept in the state, being asked at every step."""
        state = self.state[weight]
        if "is_other" not in state:
            named = zip(group["params"], group["param_names"], strict=True)
            (name,) = (name for parameter, name in named if parameter is weight)
            state["is_other"] = not _is_matrix(name, weight, group)
        return state["is_other"]

    def decay(self, weights: Tensors, group: dict[str, Any]) -> float:
        other = self.is_other(weights[0], group)
        return group["adam_weight_decay" if other else "weight_decay"]

    def needed(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("momentum",)

    def start(self, weight: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        super().start(weight, state, group)
        if "velocity" not in state and self.is_other(weight, group):
            state["velocity"] = weight.new_zeros(weight.shape)

    def update(
        self, weights: Tensors, gradients: Tensors, rate: float, group: dict[str, Any]
    ) -> None:
        if self.is_other(weights[0], group):
            super().update(weights, gradients, rate * group["adam_lr_ratio"], group)
            return
        for weight, gradient in zip(weights, gradients, strict=True):
            momentum = self.state[weight]["momentum"].mul_(group["momentum"]).add_(gradient)
            ahead = momentum
            if group["nesterov"]:
                ahead = gradient.add(momentum, alpha=group["momentum"])
            length = 1.0
            if group["rms_rate"] is not None:
                length = math.sqrt(max(weight.shape)) * group["rms_rate"]
            weight.sub_(_near_orthogonal(ahead, group), alpha=rate * length)


def _is_matrix(name: str, weight: Tensor, group: dict[str, Any]) -> bool:
    path = name.replace(".", "/")
    if weight.ndim != 2 or (group["exclude_embeddings"] and "embedding" in path.lower()):
        return False
    return not any(re.search(words, path) for words in group["exclude_layers"])


def _near_orthogonal(matrix: Tensor, group: dict[str, Any]) -> Tensor:
    """Return the matrix with its singular values brought near 1, by Newton and Schulz' steps."""
    tall = matrix.shape[-2] > matrix.shape[-1]
    found = matrix.mT if tall else matrix
    found = found / (found.norm() + 1e-7)
    for _ in range(group["ns_steps"]):
        square = found @ found.mT
        square = group["muon_b"] * square + group["muon_c"] * square @ square
        found = group["muon_a"] * found + square @ found
    return found.mT if tall else found
