"""Keras' optimizers as descriptions: what `optimizers` translates to.

Arguments are those of the Keras class of the name after `Keras`, with its defaults, but for
`clip_each` (Keras' `clipnorm`) and the fields that every description has: `clip_norm` (Keras'
`global_clipnorm`), `clip_value` (Keras' `clipvalue`) and `groups`. They need no Keras.
"""

from __future__ import annotations

from dataclasses import dataclass

from dovetail.definition.keras import updates_adafactor, updates_momentum, updates_squares
from dovetail.definition.keras.kind import KerasOptimizer
from dovetail.definition.keras.kinds_adam import (
    KerasAdam,
    KerasAdamax,
    KerasLamb,
    KerasMuon,
    KerasNadam,
)
from dovetail.definition.schedules import Schedule


@dataclass(frozen=True, eq=False)
class KerasSGD(KerasOptimizer):
    """Keras' SGD. See `updates_momentum.KerasSGD`.

    >>> KerasSGD(0.1, momentum=0.9).nesterov
    False
    """

    learning_rate: float | Schedule = 1e-2
    momentum: float = 0.0
    nesterov: bool = False

    torch_class = updates_momentum.KerasSGD
    at_least_zero = ("weight_decay", "momentum")


@dataclass(frozen=True, eq=False)
class KerasLion(KerasOptimizer):
    """Keras' Lion. See `updates_momentum.KerasLion`.

    >>> KerasLion(1e-4).beta_2
    0.99
    """

    learning_rate: float | Schedule = 1e-3
    beta_1: float = 0.9
    beta_2: float = 0.99

    torch_class = updates_momentum.KerasLion
    at_least_zero = ("weight_decay", "beta_1", "beta_2")


@dataclass(frozen=True, eq=False)
class KerasAdafactor(KerasOptimizer):
    """Keras' Adafactor. See `updates_adafactor.KerasAdafactor`.

    Keras' `relative_step` is left out: with and without it the rate is at most 1 / sqrt(t).

    >>> KerasAdafactor().clip_threshold
    1.0
    """

    learning_rate: float | Schedule = 1e-3
    beta_2_decay: float = -0.8
    epsilon_1: float = 1e-30
    epsilon_2: float = 1e-3
    clip_threshold: float = 1.0

    torch_class = updates_adafactor.KerasAdafactor
    at_least_zero = ("weight_decay", "epsilon_1", "epsilon_2", "clip_threshold")


@dataclass(frozen=True, eq=False)
class KerasRMSprop(KerasOptimizer):
    """Keras' RMSprop. See `updates_squares.KerasRMSprop`.

    >>> KerasRMSprop(centered=True).rho
    0.9
    """

    learning_rate: float | Schedule = 1e-3
    rho: float = 0.9
    momentum: float = 0.0
    epsilon: float = 1e-7
    centered: bool = False

    torch_class = updates_squares.KerasRMSprop
    at_least_zero = ("weight_decay", "rho", "momentum", "epsilon")


@dataclass(frozen=True, eq=False)
class KerasAdagrad(KerasOptimizer):
    """Keras' Adagrad. See `updates_squares.KerasAdagrad`.

    >>> KerasAdagrad().initial_accumulator_value
    0.1
    """

    learning_rate: float | Schedule = 1e-3
    initial_accumulator_value: float = 0.1
    epsilon: float = 1e-7

    torch_class = updates_squares.KerasAdagrad
    at_least_zero = ("weight_decay", "initial_accumulator_value", "epsilon")


@dataclass(frozen=True, eq=False)
class KerasAdadelta(KerasOptimizer):
    """Keras' Adadelta. See `updates_squares.KerasAdadelta`.

    >>> KerasAdadelta().rho
    0.95
    """

    learning_rate: float | Schedule = 1e-3
    rho: float = 0.95
    epsilon: float = 1e-7

    torch_class = updates_squares.KerasAdadelta
    at_least_zero = ("weight_decay", "rho", "epsilon")


@dataclass(frozen=True, eq=False)
class KerasFtrl(KerasOptimizer):
    """Keras' Ftrl. See `updates_squares.KerasFtrl`.

    >>> KerasFtrl().learning_rate_power
    -0.5
    """

    learning_rate: float | Schedule = 1e-3
    learning_rate_power: float = -0.5
    initial_accumulator_value: float = 0.1
    l1_regularization_strength: float = 0.0
    l2_regularization_strength: float = 0.0
    l2_shrinkage_regularization_strength: float = 0.0
    beta: float = 0.0

    torch_class = updates_squares.KerasFtrl
    at_least_zero = (
        "weight_decay",
        "initial_accumulator_value",
        "l1_regularization_strength",
        "l2_regularization_strength",
        "l2_shrinkage_regularization_strength",
        "beta",
    )


KINDS: dict[str, type[KerasOptimizer]] = {
    kind.__name__.removeprefix("Keras"): kind
    for kind in (
        KerasSGD,
        KerasAdam,
        KerasRMSprop,
        KerasAdagrad,
        KerasAdadelta,
        KerasAdamax,
        KerasNadam,
        KerasFtrl,
        KerasLion,
        KerasLamb,
        KerasAdafactor,
        KerasMuon,
    )
}
