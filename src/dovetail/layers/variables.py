"""Single parameters, for what no layer holds."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dovetail.errors import DefinitionError
from dovetail.layers.calls import call_site
from dovetail.layers.layer import find
from dovetail.layers.parameters import Initializer, fill, xavier_uniform, zeros
from dovetail.layers.regularizers import Regularizer, collect


class Variable(nn.Module):
    """A module with one parameter, `value`."""

    def __init__(
        self,
        shape: tuple[int, ...],
        dtype: torch.dtype | None,
        initializer: Initializer | None,
        trainable: bool,
    ) -> None:
        super().__init__()
        if initializer is None:
            initializer = xavier_uniform if len(shape) > 1 else zeros
        self.value = nn.Parameter(torch.empty(shape, dtype=dtype), requires_grad=trainable)
        fill(self.value, initializer)

    def forward(self) -> Tensor:
        return self.value


def get_variable(
    name: str,
    shape: int | Sequence[int],
    dtype: torch.dtype | None = None,
    initializer: Initializer | None = None,
    regularizer: Regularizer | None = None,
    trainable: bool = True,
) -> Tensor:
    """Return the parameter of that name: made at the first call, found again at later ones.

    Args:
      name: its name; the same name gives the same parameter. In checkpoints it is `<name>.value`.
      shape: its shape; [] for a single number.
      dtype: its type, floating point; torch's default type if None.
      initializer: fills it in place; if None, Xavier's uniform, and zeros below two dimensions.
      regularizer: its penalty, see `regularization_loss`.
      trainable: whether it is trained.

    Returns:
      The parameter.

    Raises:
      DefinitionError: the name was used for something else, or the type is not floating point.

    Example:
      >>> from dovetail import layers
      >>> with layers.scope() as store:
      ...     gate = layers.get_variable("gate", [3], initializer=torch.nn.init.ones_)
      >>> dict(store.named_parameters())
      {'gate.value': Parameter containing:
      tensor([1., 1., 1.], requires_grad=True)}
    """
    if dtype is not None and not dtype.is_floating_point:
        raise DefinitionError(
            f"{call_site()}: variable '{name}' is asked for as {dtype}; parameters are floating "
            "point. Keep constants and counters outside the layers, as plain tensors."
        )
    settings = {
        "shape": (shape,) if isinstance(shape, int) else tuple(shape),
        "dtype": dtype,
        "initializer": initializer,
        "trainable": trainable,
    }
    value = find(Variable, (), settings, name, None)()
    if regularizer is not None:
        collect(value, regularizer, name, "value")
    return value
