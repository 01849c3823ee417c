"""Keras' optimizers as descriptions: what `keras_optimizers` translates to.

Arguments are those of the Keras class of the name after `Keras`, with its defaults, but for
`clip_each` (Keras' `clipnorm`) and the fields that every description has: `clip_norm` (Keras'
`global_clipnorm`), `clip_value` (Keras' `clipvalue`) and `groups`. They need no Keras.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from dovetail.definition import (
    keras_updates_adafactor,
    keras_updates_adam,
    keras_updates_momentum,
    keras_updates_muon,
    keras_updates_squares,
)
from dovetail.definition.optimizer import Optimizer
from dovetail.definition.param_groups import check_number, check_share
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


@dataclass(frozen=True, eq=False)
class KerasSGD(KerasOptimizer):
    """Keras' SGD. See `keras_updates_momentum.KerasSGD`.

    >>> KerasSGD(0.1, momentum=0.9).nesterov
    False
    """

    learning_rate: float | Schedule = 1e-2
    momentum: float = 0.0
    nesterov: bool = False

    torch_class = keras_updates_momentum.KerasSGD
    at_least_zero = ("weight_decay", "momentum")


@dataclass(frozen=True, eq=False)
class KerasLion(KerasOptimizer):
    """Keras' Lion. See `keras_updates_momentum.KerasLion`.

    >>> KerasLion(1e-4).beta_2
    0.99
    """

    learning_rate: float | Schedule = 1e-3
    beta_1: float = 0.9
    beta_2: float = 0.99

    torch_class = keras_updates_momentum.KerasLion
    at_least_zero = ("weight_decay", "beta_1", "beta_2")


@dataclass(frozen=True, eq=False)
class _OfMeans(KerasOptimizer):
    learning_rate: float | Schedule = 1e-3
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-7

    at_least_zero = ("weight_decay", "epsilon")

    def _check(self) -> None:
        super()._check()
        for name in ("beta_1", "beta_2"):
            check_share(type(self).__name__, name, getattr(self, name))


@dataclass(frozen=True, eq=False)
class KerasAdam(_OfMeans):
    """Keras' Adam, and AdamW with a `weight_decay`. See `keras_updates_adam.KerasAdam`.

    >>> KerasAdam(0.01, weight_decay=0.004).epsilon
    1e-07
    """

    amsgrad: bool = False

    torch_class = keras_updates_adam.KerasAdam


@dataclass(frozen=True, eq=False)
class KerasAdamax(_OfMeans):
    """Keras' Adamax. See `keras_updates_adam.KerasAdamax`.

    >>> KerasAdamax().learning_rate
    0.001
    """

    torch_class = keras_updates_adam.KerasAdamax


@dataclass(frozen=True, eq=False)
class KerasNadam(_OfMeans):
    """Keras' Nadam. See `keras_updates_adam.KerasNadam`.

    >>> KerasNadam().beta_1
    0.9
    """

    torch_class = keras_updates_adam.KerasNadam


@dataclass(frozen=True, eq=False)
class KerasLamb(_OfMeans):
    """Keras' Lamb. See `keras_updates_adam.KerasLamb`.

    >>> KerasLamb().beta_2
    0.999
    """

    torch_class = keras_updates_adam.KerasLamb


@dataclass(frozen=True, eq=False)
class KerasAdafactor(KerasOptimizer):
    """Keras' Adafactor. See `keras_updates_adafactor.KerasAdafactor`.

    Keras' `relative_step` is left out: with and without it the rate is at most 1 / sqrt(t).

    >>> KerasAdafactor().clip_threshold
    1.0
    """

    learning_rate: float | Schedule = 1e-3
    beta_2_decay: float = -0.8
    epsilon_1: float = 1e-30
    epsilon_2: float = 1e-3
    clip_threshold: float = 1.0

    torch_class = keras_updates_adafactor.KerasAdafactor
    at_least_zero = ("weight_decay", "epsilon_1", "epsilon_2", "clip_threshold")


@dataclass(frozen=True, eq=False)
class KerasMuon(KerasOptimizer):
    """Keras' Muon. See `keras_updates_muon.KerasMuon`.

    A group's own `weight_decay` stands for `adam_weight_decay`, too.

    >>> KerasMuon(exclude_layers=["head"]).exclude_layers
    ('head',)
    """

    learning_rate: float | Schedule = 1e-3
    adam_beta_1: float = 0.9
    adam_beta_2: float = 0.999
    adam_weight_decay: float = 0.004
    epsilon: float = 1e-7
    weight_decay: float = field(default=0.004, kw_only=True)
    exclude_layers: tuple[str, ...] = ()
    exclude_embeddings: bool = True
    muon_a: float = 3.4445
    muon_b: float = -4.7750
    muon_c: float = 2.0315
    adam_lr_ratio: float = 1.0
    momentum: float = 0.95
    ns_steps: int = 5
    nesterov: bool = True
    rms_rate: float | None = 0.2

    torch_class = keras_updates_muon.KerasMuon
    at_least_zero = ("weight_decay", "adam_weight_decay", "epsilon", "momentum")

    def __post_init__(self) -> None:
        if isinstance(self.exclude_layers, list):
            object.__setattr__(self, "exclude_layers", tuple(self.exclude_layers))
        super().__post_init__()

    def torch_groups(
        self, named_parameters: Iterable[tuple[str, Tensor]], frozen: Sequence[str] = ()
    ) -> list[dict[str, Any]]:
        torch_groups = super().torch_groups(named_parameters, frozen)
        for torch_group in torch_groups:
            if "weight_decay" in torch_group:
                torch_group["adam_weight_decay"] = torch_group["weight_decay"]
        return torch_groups


@dataclass(frozen=True, eq=False)
class KerasRMSprop(KerasOptimizer):
    """Keras' RMSprop. See `keras_updates_squares.KerasRMSprop`.

    >>> KerasRMSprop(centered=True).rho
    0.9
    """

    learning_rate: float | Schedule = 1e-3
    rho: float = 0.9
    momentum: float = 0.0
    epsilon: float = 1e-7
    centered: bool = False

    torch_class = keras_updates_squares.KerasRMSprop
    at_least_zero = ("weight_decay", "rho", "momentum", "epsilon")


@dataclass(frozen=True, eq=False)
class KerasAdagrad(KerasOptimizer):
    """Keras' Adagrad. See `keras_updates_squares.KerasAdagrad`.

    >>> KerasAdagrad().initial_accumulator_value
    0.1
    """

    learning_rate: float | Schedule = 1e-3
    initial_accumulator_value: float = 0.1
    epsilon: float = 1e-7

    torch_class = keras_updates_squares.KerasAdagrad
    at_least_zero = ("weight_decay", "initial_accumulator_value", "epsilon")


@dataclass(frozen=True, eq=False)
class KerasAdadelta(KerasOptimizer):
    """Keras' Adadelta. See `keras_updates_squares.KerasAdadelta`.

    >>> KerasAdadelta().rho
    0.95
    """

    learning_rate: float | Schedule = 1e-3
    rho: float = 0.95
    epsilon: float = 1e-7

    torch_class = keras_updates_squares.KerasAdadelta
    at_least_zero = ("weight_decay", "rho", "epsilon")


@dataclass(frozen=True, eq=False)
class KerasFtrl(KerasOptimizer):
    """Keras' Ftrl. See `keras_updates_squares.KerasFtrl`.

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

    torch_class = keras_updates_squares.KerasFtrl
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
