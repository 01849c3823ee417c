"""The descriptions of Keras' Adam family, and of Muon, which has Adam for what is no matrix.

Arguments and defaults are those of the Keras class of the name after `Keras`; see `kinds`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from dovetail.definition.keras import updates_adam, updates_muon
from dovetail.definition.keras.kind import KerasOptimizer
from dovetail.definition.param_groups import check_share
from dovetail.definition.schedules import Schedule


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
    """Keras' Adam, and AdamW with a `weight_decay`. See `updates_adam.KerasAdam`.

    >>> KerasAdam(0.01, weight_decay=0.004).epsilon
    1e-07
    """

    amsgrad: bool = False

    torch_class = updates_adam.KerasAdam


@dataclass(frozen=True, eq=False)
class KerasAdamax(_OfMeans):
    """Keras' Adamax. See `updates_adam.KerasAdamax`.

    >>> KerasAdamax().learning_rate
    0.001
    """

    torch_class = updates_adam.KerasAdamax


@dataclass(frozen=True, eq=False)
class KerasNadam(_OfMeans):
    """Keras' Nadam. See `updates_adam.KerasNadam`.

    >>> KerasNadam().beta_1
    0.9
    """

    torch_class = updates_adam.KerasNadam


@dataclass(frozen=True, eq=False)
class KerasLamb(_OfMeans):
    """Keras' Lamb. See `updates_adam.KerasLamb`.

    >>> KerasLamb().beta_2
    0.999
    """

    torch_class = updates_adam.KerasLamb


@dataclass(frozen=True, eq=False)
class KerasMuon(KerasOptimizer):
    """Keras' Muon. See `updates_muon.KerasMuon`.

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

    torch_class = updates_muon.KerasMuon
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
