"""Finding the first loss that is not finite, without waiting for an accelerator at each step."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from dovetail.errors import NanLossError


class LossWatch:
    """Looks at each loss once: on the CPU before its update, elsewhere many of them together.

    On the CPU the loss is there when the gradients are, so a step whose loss is not finite never
    reaches the parameters. Elsewhere a look waits for the device, so it is taken once in a while.

    Args:
      device: where the losses are.
      describe: (position, count) -> which examples these are.
      on: False looks at none.
      every: how many losses of an accelerator are looked at together.
    """

    def __init__(
        self,
        device: torch.device,
        describe: Callable[[int, int], str],
        *,
        on: bool = True,
        every: int = 50,
    ) -> None:
        self._at_once = on and device.type == "cpu"
        self._later = on and not self._at_once
        self._describe = describe
        self._every = every
        self._step, self._start, self._count = 0, 0, 0
        self._seen: list[tuple[int, int, int]] = []
        self._losses: list[Tensor] = []

    def expect(self, step: int, start: int, count: int) -> None:
        """Say which step comes, on `count` examples from position `start` on."""
        self._step, self._start, self._count = step, start, count

    def before_update(self, loss: Tensor) -> None:
        """Take the loss of a step whose gradients are there, but not applied yet.

        Raises:
          NanLossError: it is not finite.
        """
        if self._at_once:
            value = loss.item()
            if not math.isfinite(value):
                raise self._error(value, self._step, self._start, self._count, applied=False)

    def after_update(self, loss: Tensor) -> None:
        """Take the loss of a step that is done.

        Raises:
          NanLossError: it, or one of those before, is not finite.
        """
        if self._later:
            self._seen.append((self._step, self._start, self._count))
            self._losses.append(loss)
            if len(self._seen) >= self._every:
                self.check()

    def check(self) -> None:
        """Look at all losses that were not looked at yet.

        Raises:
          NanLossError: as `after_update`.
        """
        if not self._losses:
            return
        values = torch.stack(self._losses).tolist()
        for value, seen in zip(values, self._seen, strict=True):
            if not math.isfinite(value):
                raise self._error(value, *seen, applied=True)
        self._seen.clear()
        self._losses.clear()

    def _error(
        self, value: float, step: int, start: int, count: int, *, applied: bool
    ) -> NanLossError:
        stopped = (
            "Training stopped."
            if applied
            else "Training stopped before the parameters were changed by it."
        )
        return NanLossError(
            f"The loss is {value} at step {step}, on the batch of {self._describe(start, count)}. "
            f"{stopped} Look at that batch for values that are not finite, lower the learning "
            "rate, or clip gradients (optimizers.Adam(..., clip_norm=1.0)).",
            step,
        )
