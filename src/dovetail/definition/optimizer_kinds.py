"""The optimizers that torch has, and FTRL: one frozen description each.

Arguments and defaults are those of the torch class of the same name, but for `learning_rate`.
Left out are torch's settings of how an update is computed (foreach, fused, capturable,
differentiable), which are the program's business, and `maximize`: negate the loss instead.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dovetail.definition.ftrl import FtrlProximal
from dovetail.definition.optimizer import Optimizer
from dovetail.definition.param_groups import check_share
from dovetail.definition.schedules import Schedule
from dovetail.errors import DefinitionError


@dataclass(frozen=True, eq=False)
class Adam(Optimizer):
    """Adam; Kingma and Ba, "Adam: A Method for Stochastic Optimization" (2015).

    Args:
      learning_rate: a number or a schedule.
      betas: decay of the running means of the gradient and of its square, each in [0, 1).
      eps: added to the root of the mean square.
      weight_decay: L2 penalty, added to the gradient.
      amsgrad: use the largest mean square so far.

    >>> Adam(learning_rate=0.01) == Adam(0.01)
    True
    """

    learning_rate: float | Schedule = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    amsgrad: bool = False

    torch_class = torch.optim.Adam
    at_least_zero = ("eps", "weight_decay")

    def __post_init__(self) -> None:
        if isinstance(self.betas, list):
            object.__setattr__(self, "betas", tuple(self.betas))
        super().__post_init__()

    def _check(self) -> None:
        super()._check()
        if not isinstance(self.betas, tuple) or len(self.betas) != 2:
            raise DefinitionError(
                f"{type(self).__name__}: betas must be two numbers, but {self.betas!r} arrived."
            )
        for beta in self.betas:
            check_share(type(self).__name__, "betas", beta)


@dataclass(frozen=True, eq=False)
class AdamW(Adam):
    """Adam with decoupled weight decay; Loshchilov and Hutter (2019).

    Args:
      learning_rate: a number or a schedule.
      betas: decay of the running means of the gradient and of its square, each in [0, 1).
      eps: added to the root of the mean square.
      weight_decay: the share of each weight taken off, times the learning rate.
      amsgrad: use the largest mean square so far.

    >>> from dovetail.definition.param_groups import no_decay
    >>> AdamW(groups=no_decay()).weight_decay
    0.01
    """

    weight_decay: float = 0.01

    torch_class = torch.optim.AdamW


@dataclass(frozen=True, eq=False)
class SGD(Optimizer):
    """Stochastic gradient descent, with momentum if asked for.

    Args:
      learning_rate: a number or a schedule.
      momentum: the share of the last update that is kept.
      dampening: the share of the gradient that momentum leaves out.
      weight_decay: L2 penalty, added to the gradient.
      nesterov: Nesterov's momentum; needs momentum above 0 and no dampening.

    >>> SGD(0.1).momentum
    0.0
    """

    learning_rate: float | Schedule = 1e-3
    momentum: float = 0.0
    dampening: float = 0.0
    weight_decay: float = 0.0
    nesterov: bool = False

    torch_class = torch.optim.SGD
    at_least_zero = ("momentum", "weight_decay")

    def _check(self) -> None:
        super()._check()
        if self.nesterov and (self.momentum <= 0 or self.dampening != 0):
            raise DefinitionError(
                f"{type(self).__name__}: nesterov needs momentum above 0 and dampening 0, but "
                f"momentum={self.momentum!r} and dampening={self.dampening!r} arrived."
            )


@dataclass(frozen=True, eq=False)
class Momentum(SGD):
    """SGD with a momentum of 0.9 unless another is given.

    Args:
      learning_rate: a number or a schedule.
      momentum: the share of the last update that is kept.
      dampening: the share of the gradient that momentum leaves out.
      weight_decay: L2 penalty, added to the gradient.
      nesterov: Nesterov's momentum.

    >>> Momentum(0.1, nesterov=True).momentum
    0.9
    """

    momentum: float = 0.9


@dataclass(frozen=True, eq=False)
class RMSProp(Optimizer):
    """RMSProp; Hinton, "Neural Networks for Machine Learning", lecture 6 (2012).

    Args:
      learning_rate: a number or a schedule.
      alpha: decay of the running mean square.
      eps: added to the root of the mean square.
      weight_decay: L2 penalty, added to the gradient.
      momentum: the share of the last update that is kept.
      centered: divide by the variance instead of the mean square.

    >>> RMSProp(momentum=0.9).learning_rate
    0.01
    """

    learning_rate: float | Schedule = 1e-2
    alpha: float = 0.99
    eps: float = 1e-8
    weight_decay: float = 0.0
    momentum: float = 0.0
    centered: bool = False

    torch_class = torch.optim.RMSprop
    at_least_zero = ("alpha", "eps", "weight_decay", "momentum")


@dataclass(frozen=True, eq=False)
class Adagrad(Optimizer):
    """Adagrad; Duchi, Hazan and Singer (2011).

    Args:
      learning_rate: a number or a schedule.
      lr_decay: divides the rate by 1 + updates * lr_decay.
      weight_decay: L2 penalty, added to the gradient.
      initial_accumulator_value: where the sum of squares starts.
      eps: added to the root of the sum of squares.

    >>> Adagrad().learning_rate
    0.01
    """

    learning_rate: float | Schedule = 1e-2
    lr_decay: float = 0.0
    weight_decay: float = 0.0
    initial_accumulator_value: float = 0.0
    eps: float = 1e-10

    torch_class = torch.optim.Adagrad
    at_least_zero = ("lr_decay", "weight_decay", "initial_accumulator_value", "eps")


@dataclass(frozen=True, eq=False)
class Adadelta(Optimizer):
    """Adadelta; Zeiler, "ADADELTA: An Adaptive Learning Rate Method" (2012).

    Args:
      learning_rate: a number or a schedule; the paper's method has 1.0.
      rho: decay of the running means of squares, in [0, 1].
      eps: added under the roots.
      weight_decay: L2 penalty, added to the gradient.

    >>> Adadelta().rho
    0.9
    """

    learning_rate: float | Schedule = 1.0
    rho: float = 0.9
    eps: float = 1e-6
    weight_decay: float = 0.0

    torch_class = torch.optim.Adadelta
    at_least_zero = ("eps", "weight_decay")

    def _check(self) -> None:
        super()._check()
        check_share(type(self).__name__, "rho", self.rho, top=True)


@dataclass(frozen=True, eq=False)
class Ftrl(Optimizer):
    """FTRL-Proximal; McMahan et al., "Ad Click Prediction" (2013). See `ftrl.FtrlProximal`.

    Args:
      learning_rate: a number or a schedule; the paper's alpha.
      beta: the paper's beta, added to the root of the sum of squares.
      initial_accumulator_value: where the sum of squares starts.
      l1_regularization_strength: above 0 it makes weights exactly 0.
      l2_regularization_strength: pulls weights to 0; a group's `weight_decay` replaces it.

    >>> Ftrl(0.1, l1_regularization_strength=0.5).l2_regularization_strength
    0.0
    """

    learning_rate: float | Schedule = 1e-3
    beta: float = 0.0
    initial_accumulator_value: float = 0.1
    l1_regularization_strength: float = 0.0
    l2_regularization_strength: float = 0.0

    torch_class = FtrlProximal
    decay_argument = "l2_regularization_strength"
    at_least_zero = (
        "beta",
        "initial_accumulator_value",
        "l1_regularization_strength",
        "l2_regularization_strength",
    )
