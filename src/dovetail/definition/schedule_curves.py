"""The curves that a learning rate may follow: frozen values that map a step to a rate."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from dovetail.errors import ParamsError


class Schedule(Protocol):
    """Anything that gives the learning rate of a step."""

    def __call__(self, step: int, /) -> float: ...


@dataclass(frozen=True)
class Constant:
    """The same learning rate at every step.

    Args:
      learning_rate: the rate.

    >>> Constant(0.1)(7)
    0.1
    """

    learning_rate: float

    def __post_init__(self) -> None:
        check_rate("Constant", "learning_rate", self.learning_rate)

    def __call__(self, step: int) -> float:
        return float(self.learning_rate)


@dataclass(frozen=True)
class Exponential:
    """`initial_learning_rate * decay_rate ** (step / decay_steps)`.

    Args:
      initial_learning_rate: the rate at step 0.
      decay_steps: how many steps multiply the rate by `decay_rate` once.
      decay_rate: the factor, above 0.
      staircase: divide without remainder, so that the rate falls in stairs.

    >>> Exponential(0.8, decay_steps=10, decay_rate=0.5)(20)
    0.2
    """

    initial_learning_rate: float
    decay_steps: int
    decay_rate: float
    staircase: bool = False

    def __post_init__(self) -> None:
        check_rate("Exponential", "initial_learning_rate", self.initial_learning_rate)
        check_steps("Exponential", "decay_steps", self.decay_steps)
        check_above_0("Exponential", "decay_rate", self.decay_rate)

    def __call__(self, step: int) -> float:
        power = step // self.decay_steps if self.staircase else step / self.decay_steps
        return self.initial_learning_rate * self.decay_rate**power


@dataclass(frozen=True)
class PiecewiseConstant:
    """`values[0]` for the first `boundaries[0]` steps, then `values[1]`, and so on.

    A boundary is the first step of the next value, as in `torch.optim.lr_scheduler.MultiStepLR`
    (TensorFlow's function of this name switches one step later).

    Args:
      boundaries: rising steps at which the rate changes.
      values: one rate more than there are boundaries.

    >>> schedule = PiecewiseConstant([100, 200], [0.1, 0.01, 0.001])
    >>> schedule(99), schedule(100), schedule(200)
    (0.1, 0.01, 0.001)
    """

    boundaries: tuple[int, ...]
    values: tuple[float, ...]

    def __init__(self, boundaries: Iterable[int], values: Iterable[float]) -> None:
        object.__setattr__(self, "boundaries", tuple(boundaries))
        object.__setattr__(self, "values", tuple(values))
        for boundary in self.boundaries:
            check_steps("PiecewiseConstant", "boundaries", boundary)
        for value in self.values:
            check_rate("PiecewiseConstant", "values", value)
        if len(self.values) != len(self.boundaries) + 1:
            raise ParamsError(
                f"PiecewiseConstant: {len(self.boundaries)} boundaries need "
                f"{len(self.boundaries) + 1} values, but {len(self.values)} arrived. "
                "Give one value before the first boundary and one after each."
            )
        if list(self.boundaries) != sorted(set(self.boundaries)):
            raise ParamsError(
                f"PiecewiseConstant: boundaries must rise, but {list(self.boundaries)} arrived. "
                "Sort them, each once."
            )

    def __call__(self, step: int) -> float:
        for boundary, value in zip(self.boundaries, self.values, strict=False):
            if step < boundary:
                return float(value)
        return float(self.values[-1])


@dataclass(frozen=True)
class Polynomial:
    """From the initial to the end rate along `(1 - step / decay_steps) ** power`, then level.

    Args:
      initial_learning_rate: the rate at step 0.
      decay_steps: the step at which the end rate is reached.
      end_learning_rate: the rate from `decay_steps` on.
      power: above 0; 1 is a straight line; above 1 falls faster at first.
      cycle: start again over a period that is twice, three times, ... as long, not level.

    >>> Polynomial(1.0, decay_steps=10, power=2.0)(5)
    0.25
    """

    initial_learning_rate: float
    decay_steps: int
    end_learning_rate: float = 0.0
    power: float = 1.0
    cycle: bool = False

    def __post_init__(self) -> None:
        check_rate("Polynomial", "initial_learning_rate", self.initial_learning_rate)
        check_steps("Polynomial", "decay_steps", self.decay_steps)
        check_rate("Polynomial", "end_learning_rate", self.end_learning_rate)
        check_above_0("Polynomial", "power", self.power)

    def __call__(self, step: int) -> float:
        period = self.decay_steps
        if self.cycle:
            period *= max(1, -(-step // self.decay_steps))
        left = 1.0 - min(step, period) / period
        return _between(self.end_learning_rate, self.initial_learning_rate, left**self.power)


@dataclass(frozen=True)
class Linear:
    """From the initial to the end rate along a straight line, then level; it may also rise.

    Args:
      initial_learning_rate: the rate at step 0.
      decay_steps: the step at which the end rate is reached.
      end_learning_rate: the rate from `decay_steps` on.

    >>> Linear(1.0, decay_steps=10, end_learning_rate=0.5)(5)
    0.75
    """

    initial_learning_rate: float
    decay_steps: int
    end_learning_rate: float = 0.0

    def __post_init__(self) -> None:
        check_rate("Linear", "initial_learning_rate", self.initial_learning_rate)
        check_steps("Linear", "decay_steps", self.decay_steps)
        check_rate("Linear", "end_learning_rate", self.end_learning_rate)

    def __call__(self, step: int) -> float:
        left = 1.0 - min(step, self.decay_steps) / self.decay_steps
        return _between(self.end_learning_rate, self.initial_learning_rate, left)


@dataclass(frozen=True)
class Cosine:
    """From the initial to the end rate along half a cosine wave, then level.

    Source: Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts"
    (2017), equation 5, without restarts.

    Args:
      initial_learning_rate: the rate at step 0.
      decay_steps: the step at which the end rate is reached.
      end_learning_rate: the rate from `decay_steps` on.

    >>> round(Cosine(1.0, decay_steps=10)(5), 12)
    0.5
    """

    initial_learning_rate: float
    decay_steps: int
    end_learning_rate: float = 0.0

    def __post_init__(self) -> None:
        check_rate("Cosine", "initial_learning_rate", self.initial_learning_rate)
        check_steps("Cosine", "decay_steps", self.decay_steps)
        check_rate("Cosine", "end_learning_rate", self.end_learning_rate)

    def __call__(self, step: int) -> float:
        done = min(step, self.decay_steps) / self.decay_steps
        left = 0.5 * (1.0 + math.cos(math.pi * done))
        return _between(self.end_learning_rate, self.initial_learning_rate, left)


def _between(low: float, high: float, share: float) -> float:
    """Return `low + (high - low) * share`, and exactly the ends at shares of 0 and 1."""
    return low * (1.0 - share) + high * share


def check_rate(owner: str, name: str, value: object) -> None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not 0.0 <= value < math.inf:  # pyright: ignore[reportOperatorIssue]
        raise ParamsError(
            f"{owner}: {name} must be a finite number of at least 0, but {value!r} arrived."
            + (" In YAML write 1.0e-3, not 1e-3, for a number." if isinstance(value, str) else "")
        )


def check_above_0(owner: str, name: str, value: float) -> None:
    check_rate(owner, name, value)
    if value == 0:
        raise ParamsError(f"{owner}: {name} must be above 0, but {value!r} arrived.")


def check_steps(owner: str, name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ParamsError(
            f"{owner}: {name} must be a whole number of steps, at least 1, but {value!r} arrived."
        )
