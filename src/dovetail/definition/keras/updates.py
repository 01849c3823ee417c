"""What every update by Keras' formulas shares, as torch optimizers compute it.

Keras' optimizers and torch's of the same names differ: in where epsilon and the learning rate
stand, in decoupled weight decay for all of them, and in clipping each gradient by its own norm.
The formulas here and in `keras_updates_*` are those of Keras 3 (`keras/src/optimizers`), in
torch's `_foreach_` form, without waiting for the device.
"""

# torch keeps its operations on lists of tensors under private names.
# pyright: reportPrivateImportUsage=false

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor

Tensors = list[Tensor]


class KerasUpdate(torch.optim.Optimizer):
    """One step in Keras' order: clip each gradient, decay the weights, then the formula.

    Steps are counted for every parameter, with or without a gradient, as Keras' `iterations` are;
    factors that depend on the count alone are Python's floats.

    Args:
      params: parameters, named parameters or groups of them.
      lr: the learning rate.
      weight_decay: each weight is first multiplied by `1 - lr * weight_decay`.
      clip_each: the largest norm of each parameter's gradient; None for no limit.
      **settings: those of the formula, kept in each group.
    """

    # Entries of a parameter's state that start as zeros of its shape.
    slots: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        weight_decay: float = 0.0,
        clip_each: float | None = None,
        **settings: Any,
    ) -> None:
        shared = {"lr": lr, "weight_decay": weight_decay, "clip_each": clip_each}
        super().__init__(params, shared | settings)

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
                self.count(self.state[parameter], group)
            for weights in self._alike(group):
                self._step_together(weights, group)
        return loss

    def _alike(self, group: dict[str, Any]) -> Iterable[Tensors]:
        """Yield those that have a gradient, together where device, type, step and formula agree."""
        found: dict[tuple[object, ...], Tensors] = {}
        for weight in group["params"]:
            if weight.grad is not None:
                step, other = self.state[weight]["step"], self.is_other(weight, group)
                found.setdefault((weight.device, weight.dtype, step, other), []).append(weight)
        return found.values()

    def _step_together(self, weights: Tensors, group: dict[str, Any]) -> None:
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        if any(gradient.is_sparse for gradient in gradients):
            raise RuntimeError(f"{type(self).__name__} takes dense gradients; use sparse=False")
        for weight in weights:
            self.start(weight, self.state[weight], group)
        if group["clip_each"] is not None:
            gradients = clipped_each(gradients, group["clip_each"])
        rate = float(group["lr"])
        decay = self.decay(weights, group)
        if decay:
            torch._foreach_mul_(weights, 1.0 - rate * decay)
        self.update(weights, gradients, rate, group)

    def count(self, state: dict[str, Any], group: dict[str, Any]) -> None:
        """Count a step in a parameter's state."""
        state["step"] = state.get("step", 0) + 1

    def is_other(self, weight: Tensor, group: dict[str, Any]) -> bool:
        """Return whether a parameter has another formula than the first, where there are two."""
        return False

    def decay(self, weights: Tensors, group: dict[str, Any]) -> float:
        """Return the weight decay of parameters of one formula."""
        return group["weight_decay"]

    def start(self, weight: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        """Make what is not yet in a parameter's state, at its first gradient."""
        for slot in self.needed(group):
            if slot not in state:
                state[slot] = torch.zeros_like(weight, memory_format=torch.preserve_format)

    def needed(self, group: dict[str, Any]) -> tuple[str, ...]:
        """Return which entries of zeros a group's parameters need."""
        return self.slots

    def update(
        self, weights: Tensors, gradients: Tensors, rate: float, group: dict[str, Any]
    ) -> None:
        """Apply the formula, in place, to parameters of one device and type."""
        raise NotImplementedError

    def held(self, weights: Tensors, entry: str) -> Tensors:
        """Return an entry of the state of each of these parameters."""
        return [self.state[weight][entry] for weight in weights]

    def steps(self, weights: Tensors) -> int:
        """Return which step this is, counted from 1: the same for all that step together."""
        return self.state[weights[0]]["step"]


def clipped_each(gradients: Tensors, largest: float) -> Tensors:
    """Return the gradients, each scaled down to a norm of at most `largest`.

    >>> clipped_each([torch.tensor([3.0, 4.0]), torch.tensor([0.3, 0.4])], 1.0)
    [tensor([0.6000, 0.8000]), tensor([0.3000, 0.4000])]
    """
    norms = list(torch._foreach_norm(gradients))
    torch._foreach_maximum_(norms, largest)
    return list(torch._foreach_div(torch._foreach_mul(gradients, largest), norms))
