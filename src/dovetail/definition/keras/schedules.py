"""Keras' learning-rate schedules as functions of the step in Python's floats."""

from __future__ import annotations

import copy
import math
import sys
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dovetail.definition.optimizer import comparable
from dovetail.definition.schedules import (
    Cosine,
    Exponential,
    Linear,
    PiecewiseConstant,
    Polynomial,
    Schedule,
    Sequential,
)
from dovetail.errors import DefinitionError, ParamsError


@dataclass(frozen=True)
class InverseTime:
    """`initial_learning_rate / (1 + decay_rate * step / decay_steps)`.

    Source: `keras.optimizers.schedules.InverseTimeDecay`.

    Args:
      initial_learning_rate: the rate at step 0.
      decay_steps: the steps in which the divisor grows by `decay_rate`.
      decay_rate: how much it grows.
      staircase: divide without remainder, so that the rate falls in stairs.

    >>> InverseTime(1.0, decay_steps=10, decay_rate=0.5)(20)
    0.5
    """

    initial_learning_rate: float
    decay_steps: float
    decay_rate: float
    staircase: bool = False

    def __call__(self, step: int) -> float:
        periods = step / self.decay_steps
        if self.staircase:
            periods = math.floor(periods)
        return self.initial_learning_rate / (1.0 + self.decay_rate * periods)


@dataclass(frozen=True)
class CosineRestarts:
    """Half cosine waves one after the other, each longer and lower than the one before.

    Source: `keras.optimizers.schedules.CosineDecayRestarts`; Loshchilov and Hutter, "SGDR:
    Stochastic Gradient Descent with Warm Restarts" (2017). Waves are counted off one by one, so
    that each begins at its step; Keras takes a logarithm in float32, which may be a step off.

    Args:
      initial_learning_rate: the rate at step 0.
      first_decay_steps: the length of the first wave.
      t_mul: how much longer each wave is than the one before, at least 1.
      m_mul: how much higher it starts.
      alpha: the lowest rate, as a share of the initial one.

    >>> [CosineRestarts(1.0, 10)(step) for step in (0, 10, 20)]
    [1.0, 1.0, 0.5]
    """

    initial_learning_rate: float
    first_decay_steps: float
    t_mul: float = 2.0
    m_mul: float = 1.0
    alpha: float = 0.0

    def __call__(self, step: int) -> float:
        left, length, height = float(step), float(self.first_decay_steps), 1.0
        if self.t_mul == 1.0:
            waves, left = divmod(left, length)
            height = self.m_mul**waves
        while left >= length:
            left, length, height = left - length, length * self.t_mul, height * self.m_mul
        wave = 0.5 * height * (1.0 + math.cos(math.pi * left / length))
        return self.initial_learning_rate * ((1.0 - self.alpha) * wave + self.alpha)


@dataclass(frozen=True)
class AsWritten:
    """A Keras schedule that is asked itself, on the CPU, so that no step waits for the device.

    It counts as equal to another whose class has the same code and whose attributes are equal.

    Args:
      schedule: the `LearningRateSchedule`; tensors among its attributes are copied to the CPU.
    """

    schedule: Any = field(compare=False)
    state: tuple[object, ...] = field(init=False)

    def __post_init__(self) -> None:
        schedule = _on_cpu(self.schedule)
        object.__setattr__(self, "schedule", schedule)
        object.__setattr__(self, "state", _state(schedule))

    def __call__(self, step: int) -> float:
        keras: Any = sys.modules["keras"]
        with torch.no_grad(), keras.device("cpu"):
            return float(self.schedule(torch.tensor(step, device="cpu")))


def as_schedule(schedule: Any) -> Schedule:
    """Return the schedule that gives a Keras schedule's rates.

    Args:
      schedule: a `keras.optimizers.schedules.LearningRateSchedule`.

    Raises:
      DefinitionError: its arguments make no schedule.
    """
    kind = type(schedule)
    translate = _TRANSLATIONS.get(kind.__name__)
    if translate is None or not kind.__module__.startswith("keras."):
        return AsWritten(schedule)
    try:
        return translate(schedule) or AsWritten(schedule)
    except ParamsError as error:
        raise DefinitionError(f"keras.optimizers.schedules.{kind.__name__}: {error}") from None


def _exponential(given: Any) -> Schedule | None:
    steps = _whole(given.decay_steps)
    if steps is None:
        return None
    first, rate = float(given.initial_learning_rate), float(given.decay_rate)
    return Exponential(first, steps, rate, staircase=bool(given.staircase))


def _piecewise(given: Any) -> Schedule | None:
    # Keras compares with <=, and with whole steps.
    boundaries = [int(boundary) + 1 for boundary in given.boundaries]
    return PiecewiseConstant(boundaries, [float(value) for value in given.values])


def _polynomial(given: Any) -> Schedule | None:
    steps = _whole(given.decay_steps)
    if steps is None:
        return None
    first, last = float(given.initial_learning_rate), float(given.end_learning_rate)
    return Polynomial(first, steps, last, float(given.power), bool(given.cycle))


def _inverse_time(given: Any) -> Schedule | None:
    first, rate = float(given.initial_learning_rate), float(given.decay_rate)
    return InverseTime(first, float(given.decay_steps), rate, bool(given.staircase))


def _cosine(given: Any) -> Schedule | None:
    steps, warmup = _whole(given.decay_steps), given.warmup_steps
    if steps is None or warmup != int(warmup):
        return None
    first, alpha = float(given.initial_learning_rate), float(given.alpha)
    if given.warmup_target is None:
        return Cosine(first, steps, alpha * first)
    top = float(given.warmup_target)
    cosine = Cosine(top, steps, alpha * top)
    if warmup <= 0:
        return cosine
    return Sequential([(Linear(first, int(warmup), top), int(warmup)), (cosine, None)])


def _cosine_restarts(given: Any) -> Schedule | None:
    if given._t_mul < 1.0:
        return None
    first, length = float(given.initial_learning_rate), float(given.first_decay_steps)
    return CosineRestarts(
        first, length, float(given._t_mul), float(given._m_mul), float(given.alpha)
    )


_TRANSLATIONS = {
    "ExponentialDecay": _exponential,
    "PiecewiseConstantDecay": _piecewise,
    "PolynomialDecay": _polynomial,
    "InverseTimeDecay": _inverse_time,
    "CosineDecay": _cosine,
    "CosineDecayRestarts": _cosine_restarts,
}


def _whole(steps: Any) -> int | None:
    return int(steps) if steps == int(steps) else None


def _on_cpu(value: Any) -> Any:
    """Return a schedule, or a value that it holds, with its tensors on the CPU."""
    if isinstance(value, Tensor):
        return value.detach().cpu()
    if type(value) in (list, tuple):
        return type(value)(_on_cpu(item) for item in value)
    if not _is_schedule(value):
        return value
    copied = copy.copy(value)
    for name, item in vars(value).items():
        object.__setattr__(copied, name, _on_cpu(item))  # it may be a frozen dataclass
    return copied


def _is_schedule(value: object) -> bool:
    return any(kind.__name__ == "LearningRateSchedule" for kind in type(value).__mro__)


def _state(value: Any) -> Any:
    """Return what a schedule's value depends on, to be compared and hashed."""
    if isinstance(value, (Tensor, np.ndarray)):
        return _state(value.tolist())
    if isinstance(value, (list, tuple)):
        return tuple(_state(item) for item in value)
    if isinstance(value, dict):
        return tuple((key, _state(item)) for key, item in sorted(value.items(), key=repr))
    if _is_schedule(value):
        kind = type(value)
        return (kind.__qualname__, comparable(kind.__call__), _state(vars(value)))
    return comparable(value)
