"""Any torch optimizer, described by the function that makes it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from dovetail.definition.optimizer import Optimizer
from dovetail.definition.schedules import Schedule
from dovetail.errors import DefinitionError, a_kind


@dataclass(frozen=True, eq=False)
class Custom(Optimizer):
    """Any torch optimizer, made by the user's own function.

    Args:
      factory: a function from parameters to a torch optimizer; it gets pairs of (name,
        parameter) instead if its argument is called `named_parameters`, and a list of torch's
        group dictionaries if `groups` are given. Two functions are equal if their code is.
      learning_rate: replaces the rate of each torch group at each step, a number or a schedule;
        None leaves the rates as the factory sets them.

    >>> optimizer = Custom(lambda parameters: torch.optim.NAdam(parameters, lr=0.1))
    >>> type(optimizer.build(torch.nn.Linear(2, 1).named_parameters())).__name__
    'NAdam'
    """

    factory: Callable[..., torch.optim.Optimizer]
    learning_rate: float | Schedule | None = field(default=None, kw_only=True)

    rate_needed = False

    def _check(self) -> None:
        super()._check()
        if not callable(self.factory) or isinstance(self.factory, torch.optim.Optimizer):
            raise DefinitionError(
                f"Custom: factory must be a function from parameters to a torch optimizer, but "
                f"{a_kind(self.factory)} arrived. Write Custom(lambda parameters: ...)."
            )
        for group in self.groups:
            unknown_rate = self.learning_rate is None and group.learning_rate is None
            if unknown_rate and group.learning_rate_scale != 1.0:
                raise DefinitionError(
                    f"Custom: ParamGroup({group.pattern!r}) scales a learning rate that only "
                    "the factory knows. Give Custom(..., learning_rate=...), too."
                )

    def build(
        self, named_parameters: Iterable[tuple[str, Tensor]], frozen: Sequence[str] = ()
    ) -> torch.optim.Optimizer:
        """Call the factory with these parameters.

        Args:
          named_parameters: pairs of (dotted name, parameter).
          frozen: names of parameters that are not trained, which a group's pattern may match.

        Returns:
          The torch optimizer that the factory made, its groups holding `param_names`.

        Raises:
          DefinitionError: the factory gives no torch optimizer, or one of other parameters.
        """
        named = list(named_parameters)
        groups = self.torch_groups(named, frozen)
        arguments = inspect.signature(self.factory).parameters
        by_name = "named_parameters" in arguments
        if self.groups:
            given: list[Any] = groups if by_name else [_nameless(group) for group in groups]
        else:
            given = named if by_name else [parameter for _, parameter in named]
        torch_optimizer = self.factory(named_parameters=given) if by_name else self.factory(given)
        if not isinstance(torch_optimizer, torch.optim.Optimizer):
            raise DefinitionError(
                f"The optimizer factory {_shown(self.factory)} must return a "
                f"torch.optim.Optimizer, but {a_kind(torch_optimizer)} arrived."
            )
        self._name_groups(torch_optimizer, named)
        return torch_optimizer

    def _name_groups(
        self, torch_optimizer: torch.optim.Optimizer, named: list[tuple[str, Tensor]]
    ) -> None:
        names = {id(parameter): name for name, parameter in named}
        for group in torch_optimizer.param_groups:
            if any(id(parameter) not in names for parameter in group["params"]):
                raise DefinitionError(
                    f"The optimizer factory {_shown(self.factory)} returned an optimizer of other "
                    "parameters than it was given. Make the optimizer from its argument alone, "
                    "anew at each call."
                )
            group["param_names"] = [names[id(parameter)] for parameter in group["params"]]


def _nameless(group: dict[str, Any]) -> dict[str, Any]:
    return {**group, "params": [parameter for _, parameter in group["params"]]}


def _shown(factory: object) -> str:
    name = getattr(factory, "__qualname__", None) or repr(factory)
    code = getattr(factory, "__code__", None)
    return f"{name} ({code.co_filename}:{code.co_firstlineno})" if code is not None else name
