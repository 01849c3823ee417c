"""What a train step is to do with its loss: frozen descriptions that the program reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from torch import Tensor

from dovetail.errors import DefinitionError

if TYPE_CHECKING:
    from dovetail.definition.optimizer import Optimizer

GradientPairs = tuple[tuple[Tensor | None, Tensor], ...]


@dataclass(frozen=True, eq=False)
class Gradients:
    """Stands for the gradients of a loss, which the program takes in its own backward pass.

    Args:
      loss: the scalar whose gradients are meant.
      var_list: which parameters, as names, patterns or parameters; None for all.
    """

    loss: Tensor
    var_list: tuple[str | Tensor, ...] | None = None

    def __iter__(self) -> Iterator[Any]:
        self._refuse()

    def __getitem__(self, key: object) -> Any:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise DefinitionError(
            "compute_gradients gives a token, not values: the program fills it after its own "
            "backward pass. Pass it to apply_gradients as it is; to clip, give the optimizer "
            "clip_norm or clip_value; for the values, use torch.autograd.grad and pass the "
            "result to apply_gradients."
        )


@dataclass(frozen=True, eq=False)
class TrainOp:
    """One update of the parameters: by which optimizer, and from what.

    Args:
      optimizer: the description of the optimizer.
      loss: the scalar to take gradients of, or None where `grads` are given.
      grads: the user's own gradients: a mapping from parameter names, or pairs of
        (gradient, parameter).
      var_list: which parameters are updated; None for all.
    """

    optimizer: Optimizer
    loss: Tensor | None = None
    grads: Mapping[str, Tensor] | GradientPairs | None = None
    var_list: tuple[str | Tensor, ...] | None = None


def as_var_list(
    var_list: Sequence[str | Tensor] | str | Tensor | None,
) -> tuple[str | Tensor, ...] | None:
    """Return `var_list` as a tuple; one name or parameter stands for itself alone."""
    if var_list is None:
        return None
    if isinstance(var_list, (str, Tensor)):
        return (var_list,)
    return tuple(var_list)
