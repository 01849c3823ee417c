"""Finding the first loss that is not finite, without waiting for an accelerator at each step."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from dovetail.errors import NanLossError


class LossWatch:
    """Looks at each loss once: on the CPU at once, elsewhere many of them together.

    Args:
      device: where the losses are.
      describe: (position, count) -> which examples these are.
      every: how many losses of an accelerator are looked at together.
    """

    def __init__(
        self, device: torch.device, describe: Callable[[int, int], str], every: int = 50
    ) -> None:
        self.at_once = device.type == "cpu"
        self.describe = describe
        self.every = every
        self.seen: list[tuple[int, int, int]] = []
        self.losses: list[Tensor] = []

    def add(self, step: int, start: int, count: int, loss: Tensor, newest: Path | None) -> None:
        """Take the loss of a step, on `count` examples from position `start` on.

        Raises:
          NanLossError: it, or one of those before, is not finite; `newest` is named as kept.
        """
        if self.at_once:
            value = loss.item()
            if not math.isfinite(value):
                raise self._error(value, step, start, count, newest)
            return
        self.seen.append((step, start, count))
        self.losses.append(loss)
        if len(self.seen) >= self.every:
            self.check(newest)

    def check(self, newest: Path | None) -> None:
        """Look at all losses that were not looked at yet.

        Raises:
          NanLossError: as `add`.
        """
        if not self.losses:
            return
        values = torch.stack(self.losses).tolist()
        for value, seen in zip(values, self.seen, strict=True):
            if not math.isfinite(value):
                raise self._error(value, *seen, newest)
        self.seen.clear()
        self.losses.clear()

    def _error(
        self, value: float, step: int, start: int, count: int, newest: Path | None
    ) -> NanLossError:
        kept = f" The last good checkpoint is {newest}." if newest is not None else ""
        return NanLossError(
            f"The loss is {value} at step {step}, on the batch of {self.describe(start, count)}. "
            f"Training stopped.{kept} Look at that batch for values that are not finite, lower "
            "the learning rate, or clip gradients (optimizers.Adam(..., clip_norm=1.0)).",
            step,
        )
