"""A learning rate whose boundaries are in epochs: passes over the training examples."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, field
from fractions import Fraction

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

    def first_step(self, epochs: float) -> int | None:
        """Return the first step all of whose examples come after so many epochs; None: not known.

        An epoch is not a whole number of steps where batches cross epochs.
        """
        if self.examples is None or self.batch_size is None:
            return None
        return _first_step(epochs, self.examples, self.batch_size)


@functools.lru_cache
def _first_step(epochs: float, examples: int, batch_size: int) -> int:
    # Of the decimal number that was written: 1.1 * 10 is a little over 11, and a step later.
    return math.ceil(Fraction(str(epochs)) * examples / batch_size)


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
        length = EpochLength(
            self.run.examples if self.num_examples is None else self.num_examples,
            self.batch_size if self.run.batch_size is None else self.run.batch_size,
        )
        for boundary, value in zip(self.boundaries, self.values, strict=False):
            first = length.first_step(boundary)
            if first is None:
                raise ParamsError(
                    f"piecewise_boundaries={list(self.boundaries)} are in epochs, and how many "
                    "steps an epoch has is not known here: the input is not records, whose number "
                    "would tell. Give ModelerConfig(num_examples=...), the number of training "
                    "examples."
                )
            if step < first:
                return float(value)
        return float(self.values[-1])
