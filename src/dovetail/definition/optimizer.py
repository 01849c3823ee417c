"""What every optimizer description shares: checks, equality, `minimize`, and the way to torch."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from types import FunctionType
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from dovetail.definition.param_groups import (
    ParamGroup,
    assign,
    check_learning_rate,
    check_number,
)
from dovetail.definition.schedules import Schedule
from dovetail.definition.train_op import Gradients, TrainOp, as_var_list
from dovetail.errors import DefinitionError, a_kind

# The key of a torch group that says which of `groups` it came from; -1 is none of them.
RULE = "rule"


@dataclass(frozen=True, eq=False)
class Optimizer:
    """A description of an optimizer: a frozen value, made into torch's by the program.

    Args:
      learning_rate: a number, or a schedule of the global step.
      clip_norm: clip gradients to this global norm before each update.
      clip_value: clip each entry of the gradients to [-clip_value, clip_value].
      groups: settings for parameters by name; the first pattern that matches wins.
    """

    learning_rate: float | Schedule | None = field(default=None, kw_only=True)
    clip_norm: float | None = field(default=None, kw_only=True)
    clip_value: float | None = field(default=None, kw_only=True)
    groups: tuple[ParamGroup, ...] = field(default=(), kw_only=True)

    torch_class: ClassVar[Callable[..., torch.optim.Optimizer]]
    decay_argument: ClassVar[str] = "weight_decay"
    at_least_zero: ClassVar[tuple[str, ...]] = ()
    rate_needed: ClassVar[bool] = True
    # Added to the norm that `clip_norm` divides by, as torch does.
    clip_slack: ClassVar[float] = 1e-6

    def __post_init__(self) -> None:
        if not isinstance(self.groups, tuple):
            object.__setattr__(self, "groups", tuple(self.groups))
        # The first, uncompiled call has checked these values already.
        if not torch.compiler.is_compiling():
            self._check()

    def _check(self) -> None:
        owner = type(self).__name__
        if self.rate_needed or self.learning_rate is not None:
            check_learning_rate(owner, self.learning_rate)
        for name in self.at_least_zero:
            check_number(owner, name, getattr(self, name))
        if self.clip_norm is not None and self.clip_value is not None:
            raise DefinitionError(
                f"{owner}: both clip_norm={self.clip_norm!r} and clip_value={self.clip_value!r} "
                "were given. Gradients are clipped by one of them: drop the other."
            )
        for name in ("clip_norm", "clip_value"):
            if getattr(self, name) is not None:
                check_number(owner, name, getattr(self, name))
        for group in self.groups:
            if not isinstance(group, ParamGroup):
                raise DefinitionError(
                    f"{owner}: groups must hold ParamGroup values, but {group!r} arrived. "
                    "Write groups=[ParamGroup('*.bias', weight_decay=0.0)], or groups=no_decay()."
                )

    def minimize(
        self,
        loss: Tensor,
        global_step: object = None,
        var_list: Sequence[str | Tensor] | None = None,
    ) -> TrainOp:
        """Describe an update that lowers a loss. Nothing is computed here.

        Args:
          loss: a scalar tensor; the program takes its gradients.
          global_step: taken for the reference's sake; the program counts steps itself.
          var_list: update only these: dotted names, name patterns or parameters.

        Returns:
          What EstimatorSpec takes as `train_op`.

        Raises:
          DefinitionError: the loss is not a tensor.

        >>> from dovetail.definition.optimizers import Adam
        >>> Adam(0.1).minimize(torch.tensor(2.0)).optimizer.learning_rate
        0.1
        """
        return TrainOp(self, loss=_check_loss("minimize", loss), var_list=as_var_list(var_list))

    def compute_gradients(
        self, loss: Tensor, var_list: Sequence[str | Tensor] | None = None
    ) -> Gradients:
        """Return a token for the gradients of a loss, to be passed to `apply_gradients`.

        Args:
          loss: a scalar tensor.
          var_list: only of these: dotted names, name patterns or parameters.

        Raises:
          DefinitionError: the loss is not a tensor.

        >>> from dovetail.definition.optimizers import SGD
        >>> token = SGD(0.1).compute_gradients(torch.tensor(2.0))
        >>> SGD(0.1).apply_gradients(token).loss
        tensor(2.)
        """
        return Gradients(_check_loss("compute_gradients", loss), as_var_list(var_list))

    def apply_gradients(
        self,
        grads: Gradients | Mapping[str, Tensor] | Iterable[tuple[Tensor | None, Tensor]],
        global_step: object = None,
    ) -> TrainOp:
        """Describe an update from gradients. Nothing is computed here.

        Args:
          grads: the token of `compute_gradients`; a mapping from parameter names to gradients of
            the parameters' shapes; or pairs of (gradient, parameter).
          global_step: taken for the reference's sake; the program counts steps itself.

        Returns:
          What EstimatorSpec takes as `train_op`.

        Raises:
          DefinitionError: `grads` is none of these.

        >>> from dovetail.definition.optimizers import SGD
        >>> SGD(0.1).apply_gradients({"w": torch.ones(2)}).grads
        {'w': tensor([1., 1.])}
        """
        if isinstance(grads, Gradients):
            return TrainOp(self, loss=grads.loss, var_list=grads.var_list)
        if isinstance(grads, Mapping):
            return TrainOp(self, grads=dict(cast(Mapping[str, Tensor], grads)))
        pairs = () if isinstance(grads, Tensor) else tuple(grads)
        if not pairs or not all(
            isinstance(pair, (tuple, list)) and len(pair) == 2 for pair in pairs
        ):
            raise DefinitionError(
                "apply_gradients: expected the result of compute_gradients, a mapping from "
                f"parameter names to gradients, or pairs of (gradient, parameter), but "
                f"{a_kind(grads)} without such pairs arrived. Write "
                "zip(torch.autograd.grad(loss, parameters), parameters)."
            )
        return TrainOp(self, grads=tuple((gradient, parameter) for gradient, parameter in pairs))

    def build(
        self, named_parameters: Iterable[tuple[str, Tensor]], frozen: Sequence[str] = ()
    ) -> torch.optim.Optimizer:
        """Make torch's optimizer for these parameters.

        Args:
          named_parameters: pairs of (dotted name, parameter).
          frozen: names of parameters that are not trained, which a group's pattern may match.

        Returns:
          A torch optimizer whose groups hold `param_names`, `initial_lr` (the rate at step 0)
          and `rule` (which of `groups` they are; -1 for none).

        Raises:
          DefinitionError: there are no parameters, or a group's pattern matches none.

        >>> from dovetail.definition.optimizers import SGD
        >>> type(SGD(0.1).build(torch.nn.Linear(2, 1).named_parameters()))
        <class 'torch.optim.sgd.SGD'>
        """
        groups = self.torch_groups(named_parameters, frozen)
        return type(self).torch_class(groups, **self.torch_arguments())

    def torch_arguments(self) -> dict[str, Any]:
        """Return the arguments of torch's class, its `lr` being the rate at step 0."""
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _COMMON}
        return {"lr": rate_at(self.learning_rate, 0), **own}

    def torch_groups(
        self, named_parameters: Iterable[tuple[str, Tensor]], frozen: Sequence[str] = ()
    ) -> list[dict[str, Any]]:
        """Return the parameter groups that torch's class is to be given."""
        named = list(named_parameters)
        if not named:
            raise DefinitionError(
                f"{type(self).__name__}: there are no parameters to train. Make layers inside "
                "model_fn with dovetail.layers, or give a model that has parameters."
            )
        torch_groups: list[dict[str, Any]] = []
        for index, share in assign(named, self.groups, frozen):
            torch_group: dict[str, Any] = {"params": share, RULE: index}
            rule = self.groups[index] if index >= 0 else None
            rate = group_rate(self, rule, 0)
            if rate is not None:
                torch_group |= {"lr": rate, "initial_lr": rate}
            if rule is not None and rule.weight_decay is not None:
                torch_group[self.decay_argument] = rule.weight_decay
            torch_groups.append(torch_group)
        return torch_groups

    def _key(self) -> tuple[object, ...]:
        return (type(self), *(comparable(getattr(self, f.name)) for f in fields(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Optimizer):
            return False
        # Compared at every step: what is equal as it stands needs no key.
        if type(self) is type(other) and vars(self) == vars(other):
            return True
        return self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())


_COMMON = {f.name for f in fields(Optimizer)}


def set_learning_rates(
    description: Optimizer, torch_optimizer: torch.optim.Optimizer, step: int
) -> float:
    """Give each group of a torch optimizer its learning rate for a step.

    Args:
      description: what the torch optimizer was built from.
      torch_optimizer: the result of `description.build`.
      step: the global step before the update, counted from 0.

    Returns:
      The base learning rate of the step.
    """
    rate = rate_at(description.learning_rate, step)
    for torch_group in torch_optimizer.param_groups:
        own = rate
        if description.groups and torch_group.get(RULE, -1) >= 0:
            own = group_rate(description, description.groups[torch_group[RULE]], step)
        if own is None:
            continue
        if torch_group["lr"].__class__ is float:
            torch_group["lr"] = own
        else:
            _set_rate(torch_group, own)
    return float(torch_optimizer.param_groups[0]["lr"]) if rate is None else rate


def rate_at(rate: float | Schedule | None, step: int) -> float | None:
    """Return the number that a learning rate stands for at a step; None stays None."""
    if rate is None:
        return None
    return float(rate(step)) if callable(rate) else float(rate)


def group_rate(description: Optimizer, rule: ParamGroup | None, step: int) -> float | None:
    """Return the learning rate of a group at a step."""
    if rule is None:
        return rate_at(description.learning_rate, step)
    own = rule.learning_rate if rule.learning_rate is not None else description.learning_rate
    rate = rate_at(own, step)
    return None if rate is None else rate * rule.learning_rate_scale


def comparable(value: object) -> object:
    """Return what equality and hashing go by: functions count by their code, not as objects.

    A model_fn runs at every step, and a function written inside it is a new object each time.
    """
    if isinstance(value, partial):
        arguments = (*value.args, *sorted(value.keywords.items()))
        return (partial, comparable(value.func), *(comparable(a) for a in arguments))
    if isinstance(value, (tuple, list)):
        return tuple(comparable(v) for v in value)
    if not isinstance(value, FunctionType):
        return value
    seen = [*(value.__defaults__ or ()), *inspect.getclosurevars(value).nonlocals.values()]
    plain = (int, float, str, bytes, type(None))
    return (value.__code__, *(v for v in seen if isinstance(v, plain)))


def _check_loss(verb: str, loss: object) -> Tensor:
    if isinstance(loss, Tensor):
        return loss
    raise DefinitionError(
        f"{verb}: loss must be a scalar tensor, but {a_kind(loss)} arrived. "
        "Give the tensor that the loss function returns, without .item() or .numpy()."
    )


def _set_rate(torch_group: dict[str, Any], rate: float) -> None:
    if isinstance(torch_group["lr"], Tensor):
        torch_group["lr"].fill_(rate)
    else:
        torch_group["lr"] = rate
