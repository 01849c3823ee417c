"""What the descriptions of Keras' optimizers share."""

from __future__ import annotations

from dataclasses import dataclass, field

from dovetail.definition.optimizer import Optimizer
from dovetail.definition.param_groups import check_number
from dovetail.definition.schedules import Schedule
from dovetail.errors import DefinitionError


@dataclass(frozen=True, eq=False)
class KerasOptimizer(Optimizer):
    """What the descriptions of Keras' optimizers share.

    Args:
      weight_decay: before each update a weight is multiplied by `1 - learning_rate * weight_decay`.
      clip_each: clip the gradient of each parameter to this norm.
    """

    learning_rate: float | Schedule = field(default=1e-3, kw_only=True)
    weight_decay: float = field(default=0.0, kw_only=True)
    clip_each: float | None = field(default=None, kw_only=True)

    clip_slack = 0.0
    at_least_zero = ("weight_decay",)

    def _check(self) -> None:
        super()._check()
        owner = type(self).__name__
        if self.clip_each is None:
            return
        check_number(owner, "clip_each", self.clip_each)
        for name in ("clip_norm", "clip_value"):
            if getattr(self, name) is not None:
                raise DefinitionError(
                    f"{owner}: both clip_each={self.clip_each!r} and "
                    f"{name}={getattr(self, name)!r} were given. Gradients are clipped in one "
                    "way: drop the other."
                )
