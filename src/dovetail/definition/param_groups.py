"""Parameter groups: which parameters have a learning rate or weight decay of their own."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from torch import Tensor

from dovetail.definition.schedules import Schedule
from dovetail.errors import DefinitionError, nearest

Named = list[tuple[str, Tensor]]


@dataclass(frozen=True)
class ParamGroup:
    """Settings for the parameters whose dotted names match a pattern.

    The first group that matches a parameter has it; what matches none keeps the optimizer's
    own settings.

    Args:
      pattern: a shell pattern on the dotted name, such as `"encoder.*"` or `"*.bias"`.
      learning_rate: the group's own rate, a number or a schedule; None: the optimizer's.
      learning_rate_scale: a factor on the rate.
      weight_decay: the group's own weight decay; None: the optimizer's.
      max_dim: match only parameters with at most this many dimensions.

    >>> ParamGroup("*.bias", weight_decay=0.0).pattern
    '*.bias'
    """

    pattern: str = "*"
    learning_rate: float | Schedule | None = None
    learning_rate_scale: float = 1.0
    weight_decay: float | None = None
    max_dim: int | None = None

    def __post_init__(self) -> None:
        where = f"ParamGroup({self.pattern!r})"
        if not isinstance(self.pattern, str) or not self.pattern:
            raise DefinitionError(
                f"ParamGroup: pattern must be a name pattern such as '*.bias', "
                f"but {self.pattern!r} arrived."
            )
        if self.learning_rate is not None:
            check_learning_rate(where, self.learning_rate)
        check_number(where, "learning_rate_scale", self.learning_rate_scale)
        if self.weight_decay is not None:
            check_number(where, "weight_decay", self.weight_decay)

    def matches(self, name: str, parameter: Tensor) -> bool:
        """Return whether a parameter of this dotted name belongs to the group."""
        small = self.max_dim is None or parameter.ndim <= self.max_dim
        return small and fnmatchcase(name, self.pattern)


def no_decay() -> tuple[ParamGroup, ...]:
    """Return the groups that keep biases and norm weights (at most one dimension) from decay.

    >>> no_decay()[0].weight_decay
    0.0
    """
    return (ParamGroup("*", weight_decay=0.0, max_dim=1),)


def layerwise_decay(
    patterns: Sequence[str], decay: float, *, no_decay: bool = False
) -> tuple[ParamGroup, ...]:
    """Return groups whose learning rates fall from layer to layer: rate x decay^position.

    Source: Howard and Ruder, "Universal Language Model Fine-tuning for Text Classification" (2018).

    Args:
      patterns: of parameter names, from the output, which has the full rate, to the input; end
        with "*" for all the rest.
      decay: the factor from one to the next, above 0.
      no_decay: keep biases and norm weights (at most one dimension) from weight decay, too.

    Raises:
      DefinitionError: there is no pattern, or decay is not above 0.

    >>> [g.learning_rate_scale for g in layerwise_decay(["head.*", "block_1.*", "*"], 0.5)]
    [1.0, 0.5, 0.25]
    """
    check_number("layerwise_decay", "decay", decay)
    if isinstance(patterns, str) or not patterns or decay == 0:
        raise DefinitionError(
            "layerwise_decay takes a list of patterns from the output to the input and a factor "
            f"above 0, such as (['head.*', 'block_1.*', '*'], 0.8); it got {patterns!r}, {decay!r}."
        )
    groups: list[ParamGroup] = []
    for position, pattern in enumerate(patterns):
        scale = float(decay) ** position
        if no_decay:
            groups.append(
                ParamGroup(pattern, learning_rate_scale=scale, weight_decay=0.0, max_dim=1)
            )
        groups.append(ParamGroup(pattern, learning_rate_scale=scale))
    return tuple(groups)


def assign(
    named_parameters: Sequence[tuple[str, Tensor]],
    groups: Sequence[ParamGroup],
    frozen: Sequence[str] = (),
) -> list[tuple[int, Named]]:
    """Share out the parameters: a list of (index into `groups`, or -1 for none; parameters).

    Groups keep their order after the parameters that no group has; empty ones are left out.
    `frozen` names parameters that exist but are not trained: a pattern may match these alone.

    Raises:
      DefinitionError: a pattern matches no parameter at all.
    """
    shares: list[Named] = [[] for _ in range(len(groups) + 1)]
    for name, parameter in named_parameters:
        matching = (i for i, group in enumerate(groups) if group.matches(name, parameter))
        shares[next(matching, -1) + 1].append((name, parameter))
    for group in groups:
        known = (*(name for name, _ in named_parameters), *frozen)
        if not any(fnmatchcase(name, group.pattern) for name in known):
            raise DefinitionError(
                f"ParamGroup({group.pattern!r}) matches no parameter."
                f"{_known(group.pattern, named_parameters)}"
            )
    return [(i - 1, share) for i, share in enumerate(shares) if share]


def select(
    named_parameters: Iterable[tuple[str, Tensor]], var_list: Sequence[str | Tensor] | None
) -> Named:
    """Return the named parameters that `minimize(var_list=...)` asks for, in the model's order.

    Args:
      named_parameters: all parameters of the model.
      var_list: name patterns, or the parameters themselves; None stands for all.

    Raises:
      DefinitionError: an entry is no parameter of the model.
    """
    named = list(named_parameters)
    if var_list is None:
        return named
    chosen: set[int] = set()
    for entry in var_list:
        if isinstance(entry, str):
            found = [id(p) for name, p in named if fnmatchcase(name, entry)]
        else:
            found = [id(p) for _, p in named if p is entry]
        if not found:
            shown = repr(entry) if isinstance(entry, str) else f"a {tuple(entry.shape)} tensor"
            known = _known(entry, named) if isinstance(entry, str) else ""
            raise DefinitionError(
                f"var_list: {shown} is no parameter of the model.{known} "
                "Give dotted names, name patterns or parameters."
            )
        chosen.update(found)
    return [(name, p) for name, p in named if id(p) in chosen]


def check_number(owner: str, name: str, value: object) -> None:
    """Refuse a setting that is not a finite number of at least 0."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not 0.0 <= value < math.inf:  # pyright: ignore[reportOperatorIssue]
        raise DefinitionError(
            f"{owner}: {name} must be a finite number of at least 0, but {value!r} arrived."
        )


def check_share(owner: str, name: str, value: object, *, top: bool = False) -> None:
    """Refuse a setting that is not in [0, 1), or in [0, 1] with `top`."""
    check_number(owner, name, value)
    if value > 1 or (value == 1 and not top):  # pyright: ignore[reportOperatorIssue] (a number)
        raise DefinitionError(f"{owner}: {name} must be below 1, but {value!r} arrived.")


def check_learning_rate(owner: str, value: object) -> None:
    """Refuse a learning rate that is neither a number nor a function of the step."""
    if callable(value):
        return
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < math.inf:
        return
    cure = "Give a number of at least 0, or one of dovetail.optimizers.schedules."
    if isinstance(value, (dict, list)):
        cure = "Wrap it in dovetail.optimizers.schedules.get(...)."
    elif isinstance(value, str):
        cure = "Give a number; in YAML write 1.0e-3, not 1e-3."
    elif hasattr(value, "get_last_lr"):
        cure = "A torch scheduler holds an optimizer: use one of dovetail.optimizers.schedules."
    raise DefinitionError(f"{owner}: learning_rate can't be {value!r}. {cure}")


def _known(pattern: str, named: Sequence[tuple[str, Tensor]]) -> str:
    names = [name for name, _ in named]
    shown = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
    return f"{nearest(pattern.replace('*', ''), names)} The parameters are {shown}."
