"""fp16: a loss that is scaled so that small gradients are not lost, and steps that are skipped."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class LossScale(torch.amp.GradScaler):
    """torch's GradScaler, which counts the steps that it skips without waiting for the device.

    A step whose gradients are not finite is skipped: the parameters stay, the scale is halved.
    After 2,000 steps without one it is doubled. A constant scale stays as it is; steps whose
    gradients are not finite are skipped all the same.

    Source: Micikevicius et al. 2018, "Mixed Precision Training".

    Args:
      device: where the gradients are.
      constant: the scale of every step; None: it begins at 65,536 and adapts.
    """

    def __init__(self, device: torch.device, constant: float | None = None) -> None:
        super().__init__(device.type, init_scale=2.0**16 if constant is None else constant)
        self.constant = constant
        self.skipped = torch.zeros((), dtype=torch.int64, device=device)

    def applied(self, optimizer: torch.optim.Optimizer) -> None:
        """Take an optimizer's step, if its gradients, unscaled before, are finite."""
        if _has_gradients(optimizer):
            self.step(optimizer)

    def unscaled(self, optimizer: torch.optim.Optimizer) -> None:
        """Bring an optimizer's gradients back to their own scale."""
        if _has_gradients(optimizer):
            self.unscale_(optimizer)

    def update(self, new_scale: float | Tensor | None = None) -> None:
        """Halve or double the scale as the step went, and count the step if it was skipped."""
        if not self._per_optimizer_states:
            return  # no optimizer had a gradient
        assert self._scale is not None
        before = self._scale.clone()
        super().update(new_scale)
        self.skipped += self._scale < before
        if self.constant is not None:
            self._scale.fill_(self.constant)

    def measures(self) -> dict[str, Tensor]:
        """Return `loss_scale` and `skipped_steps` as they are now, on the device."""
        if self._scale is None:
            return {}  # no loss was scaled yet
        return {"loss_scale": self._scale.clone(), "skipped_steps": self.skipped.clone()}

    def state(self) -> dict[str, Any]:
        """Return plain values that `load` takes."""
        return {**self.state_dict(), "skipped": int(self.skipped)}

    def load(self, saved: dict[str, Any]) -> None:
        """Go on from a saved state."""
        own = {} if self.constant is None else {"scale": self.constant}
        state = {key: value for key, value in saved.items() if key != "skipped"}
        self.load_state_dict({**state, **own})
        self.skipped.fill_(saved["skipped"])


def _has_gradients(optimizer: torch.optim.Optimizer) -> bool:
    return any(p.grad is not None for group in optimizer.param_groups for p in group["params"])
