"""A learning rate whose boundaries are in epochs: passes over the training examples."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from dovetail.errors import ParamsError


@dataclass(eq=False)
class EpochLength:
    """How long an epoch is, as far as it is known by now; each program has one.

    Attributes:
      examples: the training examples that there are.
      batch_size: how many of them a step takes.
    """

    examples: int | None = None
    batch_size: int | None = None

    @property
    def steps(self) -> float | None:
        """Steps in an epoch; not a whole number where batches cross epochs. None: not known."""
        if self.examples is None or self.batch_size is None:
            return None
        return self.examples / self.batch_size


@dataclass(frozen=True)
class PiecewiseEpochs:
    """`values[0]` for the first `boundaries[0]` epochs, then `values[1]`, and so on.

    A boundary takes effect at the first step all of whose examples come after it.

    Args:
      boundaries: rising numbers of epochs, whole or not.
      values: one rate more than there are boundaries.
      num_examples: how many training examples the definition says there are; None: the run's.
      batch_size: the definition's; where the run knows its own, that counts.
      run: what the run knows.

    Example:
      >>> schedule = PiecewiseEpochs((1.0, 2.0), (0.1, 0.01, 0.001), 100, 32)
      >>> [schedule(step) for step in (3, 4, 6, 7)]  # 3.125 steps are an epoch
      [0.1, 0.01, 0.01, 0.001]
    """

    boundaries: tuple[float, ...]
    values: tuple[float, ...]
    num_examples: int | None = None
    batch_size: int | None = None
    run: EpochLength = field(default_factory=EpochLength, compare=False, repr=False)

    def __call__(self, step: int) -> float:
        steps = EpochLength(
            self.run.examples if self.num_examples is None else self.num_examples,
            self.batch_size if self.run.batch_size is None else self.run.batch_size,
        ).steps
        if steps is None:
            raise ParamsError(
                f"piecewise_boundaries={list(self.boundaries)} are in epochs, and how many steps "
                "an epoch has is not known here: the input is not records, whose number would "
                "tell. Give ModelerConfig(num_examples=...), the number of training examples."
            )
        for boundary, value in zip(self.boundaries, self.values, strict=False):
            if step < math.ceil(boundary * steps):
                return float(value)
        return float(self.values[-1])
